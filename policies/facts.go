package policies

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/stsguard/stsguard/inventory"
)

// The input of a rule is built as OPA's own terms, without a detour through Go
// maps or JSON. Facts are total: whatever is absent is there with an empty
// value, so that no reference in a rule can be undefined.

// What stands in nearly every input is made once for all of them; OPA allows
// that at initialization only.
func init() {
	ast.InternStringTerm(
		"CREATE", "UPDATE", "DELETE", "Service", "StatefulSet", "ClusterIP", inventory.None, "TCP", "OrderedReady",
		"ref", "name", "selected",
	)
}

// facts are what a rule sees of a T: tables that the whole input is built from,
// or a single fact of it.
type facts[T any] []fact[T]

type fact[T any] struct {
	name *ast.Term
	term func(T) *ast.Term
	// find looks below the fact without building all of it; it may be nil.
	find func(T, ast.Ref) ast.Value
}

// is is a fact in a table.
func is[T any](name string, term func(T) *ast.Term) fact[T] {
	return fact[T]{name: ast.StringTerm(name), term: term}
}

// are is a fact in a table that has facts of its own: those about what of finds.
func are[T, U any](name string, of func(T) U, term func(U) *ast.Term, below facts[U]) fact[T] {
	return fact[T]{
		name: ast.StringTerm(name),
		term: func(x T) *ast.Term { return term(of(x)) },
		find: func(x T, path ast.Ref) ast.Value { return below.find(of(x), path) },
	}
}

// term is all facts about x.
func (all facts[T]) term(x T) *ast.Term {
	items := make([][2]*ast.Term, len(all))
	for i, f := range all {
		items[i] = [2]*ast.Term{f.name, f.term(x)}
	}
	return ast.ObjectTerm(items...)
}

// find is the fact about x at the path, nil if there is none.
func (all facts[T]) find(x T, path ast.Ref) ast.Value {
	for _, f := range all {
		switch {
		case f.name.Value.Compare(path[0].Value) != 0:
			continue
		case len(path) == 1:
			return f.term(x).Value
		case f.find != nil:
			return f.find(x, path[1:])
		}
		return at(f.term(x).Value, path[1:])
	}
	return nil
}

// at is what a value has at the path, nil if that is nothing.
func at(v ast.Value, path ast.Ref) ast.Value {
	found, err := v.Find(path)
	if err != nil {
		return nil // which is all that it can say
	}
	return found
}

// relation is one that is judged.
type relation struct {
	*inventory.Relation
	candidates *ast.Term // nil until it is asked for
}

func (r *relation) governing() seen {
	if len(r.Candidates) == 0 {
		return see(nil, nil)
	}
	return see(r.Candidates[0], []*inventory.StatefulSet{r.StatefulSet})
}

func (r *relation) candidatesTerm() *ast.Term {
	if r.candidates == nil {
		r.candidates = servicesTerm(r.Candidates, r.StatefulSet)
	}
	return r.candidates
}

var relationFacts = facts[*relation]{
	are("statefulSet", func(r *relation) *inventory.StatefulSet { return r.StatefulSet }, statefulSetTerm, statefulSetFacts),
	{
		name: ast.StringTerm("governing"),
		term: func(r *relation) *ast.Term {
			if len(r.Candidates) == 0 {
				return noServiceTerm
			}
			return r.candidatesTerm().Value.(*ast.Array).Elem(0)
		},
		find: func(r *relation, path ast.Ref) ast.Value { return serviceFacts.find(r.governing(), path) },
	},
	is("candidates", (*relation).candidatesTerm),
	is("nearMisses", func(r *relation) *ast.Term { return servicesTerm(r.NearMisses, r.StatefulSet) }),
	is("elsewhere", func(r *relation) *ast.Term { return list(r.Elsewhere, text) }),
	is("services", func(r *relation) *ast.Term { return servicesTerm(r.Services, r.StatefulSet) }),
	is("siblings", func(r *relation) *ast.Term {
		return list(r.Siblings, func(s *inventory.StatefulSet) *ast.Term { return text(s.Name) })
	}),
	is("workloads", func(r *relation) *ast.Term { return list(others(r.Relation), selectedFacts.term) }),
}

var governanceFacts = facts[*inventory.Governance]{
	are("service", func(g *inventory.Governance) seen { return see(g.Service, g.StatefulSets) }, serviceTerm, serviceFacts),
	is("statefulSets", func(g *inventory.Governance) *ast.Term { return referencesTerm(g.StatefulSets, g.Service) }),
	is("beside", func(g *inventory.Governance) *ast.Term {
		return list(g.Beside, func(s *inventory.Service) *ast.Term { return text(s.Name) })
	}),
	is("others", func(g *inventory.Governance) *ast.Term { return list(g.Others, selectedFacts.term) }),
}

// others are what the governing Service selects and doesn't govern.
func others(r *inventory.Relation) []inventory.Selected {
	var out []inventory.Selected
	for _, s := range r.Selected {
		if !slices.Contains(r.Siblings, s) {
			out = append(out, inventory.Selected{Ref: s.Ref(), Kind: inventory.KindStatefulSet, Name: s.Name})
		}
	}
	for _, w := range r.Workloads {
		out = append(out, inventory.Selected{Ref: w.Ref(), Kind: w.Kind, Name: w.Name})
	}
	return out
}

var selectedFacts = facts[inventory.Selected]{
	is("ref", func(s inventory.Selected) *ast.Term { return text(string(s.Ref)) }),
	is("kind", func(s inventory.Selected) *ast.Term { return text(string(s.Kind)) }),
	is("name", func(s inventory.Selected) *ast.Term { return text(s.Name) }),
}

func operationOf(c *inventory.Change) string {
	switch {
	case c.ServiceBefore == nil && c.StatefulSetBefore == nil:
		return "CREATE"
	case c.ServiceAfter == nil && c.StatefulSetAfter == nil:
		return "DELETE"
	}
	return "UPDATE"
}

var changeFacts = facts[*inventory.Change]{
	is("operation", func(c *inventory.Change) *ast.Term { return text(operationOf(c)) }),
	is("kind", func(c *inventory.Change) *ast.Term {
		if c.StatefulSetBefore != nil || c.StatefulSetAfter != nil {
			return text(string(inventory.KindStatefulSet))
		}
		return text(string(inventory.KindService))
	}),
	are("before", func(c *inventory.Change) side {
		return sideOf(c.ServiceBefore, c.StatefulSetBefore, c)
	}, sideFacts.term, sideFacts),
	are("after", func(c *inventory.Change) side {
		return sideOf(c.ServiceAfter, c.StatefulSetAfter, c)
	}, sideFacts.term, sideFacts),
	is("statefulSets", func(c *inventory.Change) *ast.Term { return referencesTerm(c.StatefulSets, c.ServiceBefore) }),
}

// side is what there is before a change, or after it.
type side struct {
	service     seen
	statefulSet *inventory.StatefulSet
}

func sideOf(s *inventory.Service, set *inventory.StatefulSet, c *inventory.Change) side {
	if set == nil {
		set = noStatefulSet
	}
	return side{see(s, c.StatefulSets), set}
}

var sideFacts = facts[side]{
	are("service", func(s side) seen { return s.service }, serviceTerm, serviceFacts),
	are("statefulSet", func(s side) *inventory.StatefulSet { return s.statefulSet }, statefulSetTerm, statefulSetFacts),
}

// What stands for an object that isn't there.
var (
	noService         = &inventory.Service{}
	noServiceTerm     = serviceFacts.term(seen{Service: noService})
	noStatefulSet     = &inventory.StatefulSet{}
	noStatefulSetTerm = statefulSetFacts.term(noStatefulSet)
)

func statefulSetTerm(s *inventory.StatefulSet) *ast.Term {
	if s == noStatefulSet {
		return noStatefulSetTerm
	}
	return statefulSetFacts.term(s)
}

var statefulSetFacts = facts[*inventory.StatefulSet]{
	is("found", func(s *inventory.StatefulSet) *ast.Term { return truth(s != noStatefulSet) }),
	is("ref", func(s *inventory.StatefulSet) *ast.Term {
		if s == noStatefulSet {
			return text("")
		}
		return text(string(s.Ref()))
	}),
	is("name", func(s *inventory.StatefulSet) *ast.Term { return text(s.Name) }),
	is("namespace", func(s *inventory.StatefulSet) *ast.Term { return text(s.Namespace) }),
	is("labels", func(s *inventory.StatefulSet) *ast.Term { return pairs(s.Labels) }),
	is("annotations", func(s *inventory.StatefulSet) *ast.Term { return pairs(s.Annotations) }),
	is("serviceName", func(s *inventory.StatefulSet) *ast.Term { return text(s.ServiceName) }),
	is("selector", func(s *inventory.StatefulSet) *ast.Term { return pairs(s.Selector) }),
	is("podLabels", func(s *inventory.StatefulSet) *ast.Term { return pairs(s.PodLabels) }),
	is("replicas", func(s *inventory.StatefulSet) *ast.Term { return number(s.Replicas) }),
	is("ordinalsStart", func(s *inventory.StatefulSet) *ast.Term { return number(s.OrdinalsStart) }),
	is("podManagementPolicy", func(s *inventory.StatefulSet) *ast.Term { return text(s.PodManagementPolicy) }),
	is("ports", func(s *inventory.StatefulSet) *ast.Term { return list(s.Ports, containerPortFacts.term) }),
	is("controller", func(s *inventory.StatefulSet) *ast.Term { return text(s.Controller) }),
	is("mentionsPeers", func(s *inventory.StatefulSet) *ast.Term { return truth(s.MentionsPeers) }),
	is("mentionsOwnPods", func(s *inventory.StatefulSet) *ast.Term { return truth(s.MentionsOwnPods) }),
}

var containerPortFacts = facts[inventory.ContainerPort]{
	is("name", func(p inventory.ContainerPort) *ast.Term { return text(p.Name) }),
	is("port", func(p inventory.ContainerPort) *ast.Term { return number(p.Port) }),
	is("protocol", func(p inventory.ContainerPort) *ast.Term { return text(p.Protocol) }),
}

// seen is a Service as seen from the StatefulSets whose pods it may select.
type seen struct {
	*inventory.Service
	sets []*inventory.StatefulSet
}

func see(s *inventory.Service, sets []*inventory.StatefulSet) seen {
	if s == nil {
		return seen{Service: noService}
	}
	return seen{s, sets}
}

func (s seen) found() bool { return s.Service != noService }

func (s seen) selectsPods() bool { return slices.ContainsFunc(s.sets, s.Selects) }

func (s seen) unmatched() []string {
	var keys []string
	for _, set := range s.sets {
		for _, key := range s.Unmatched(set) {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func (s seen) remaps() bool {
	return slices.ContainsFunc(s.Ports, func(p inventory.ServicePort) bool {
		n := podPort(p, s.sets)
		return n != 0 && n != p.Port
	})
}

func servicesTerm(services []*inventory.Service, set *inventory.StatefulSet) *ast.Term {
	return list(services, func(s *inventory.Service) *ast.Term {
		return serviceTerm(see(s, []*inventory.StatefulSet{set}))
	})
}

func serviceTerm(s seen) *ast.Term {
	if !s.found() {
		return noServiceTerm
	}
	return serviceFacts.term(s)
}

var serviceFacts = facts[seen]{
	is("found", func(s seen) *ast.Term { return truth(s.found()) }),
	is("ref", func(s seen) *ast.Term {
		if !s.found() {
			return text("")
		}
		return text(string(s.Ref()))
	}),
	is("name", func(s seen) *ast.Term { return text(s.Name) }),
	is("namespace", func(s seen) *ast.Term { return text(s.Namespace) }),
	is("type", func(s seen) *ast.Term { return text(s.Type) }),
	is("clusterIP", func(s seen) *ast.Term { return text(s.ClusterIP) }),
	is("clusterIPs", func(s seen) *ast.Term { return list(s.ClusterIPs, text) }),
	is("externalName", func(s seen) *ast.Term { return text(s.ExternalName) }),
	is("selector", func(s seen) *ast.Term { return pairs(s.Selector) }),
	is("publishNotReadyAddresses", func(s seen) *ast.Term { return truth(s.PublishNotReadyAddresses) }),
	is("sessionAffinity", func(s seen) *ast.Term { return text(s.SessionAffinity) }),
	is("externalIPs", func(s seen) *ast.Term { return list(s.ExternalIPs, text) }),
	is("ports", func(s seen) *ast.Term {
		return list(s.Ports, func(p inventory.ServicePort) *ast.Term { return servicePortFacts.term(seenPort{p, s.sets}) })
	}),
	is("annotations", func(s seen) *ast.Term { return pairs(s.Annotations) }),
	is("headless", func(s seen) *ast.Term { return truth(s.Headless()) }),
	is("undecided", func(s seen) *ast.Term { return truth(s.found() && s.Undecided()) }),
	is("unmatched", func(s seen) *ast.Term { return list(s.unmatched(), text) }),
	is("selectsPods", func(s seen) *ast.Term { return truth(s.selectsPods()) }),
	is("remaps", func(s seen) *ast.Term { return truth(s.remaps()) }),
	is("controller", func(s seen) *ast.Term { return text(s.Controller) }),
}

// seenPort is a port of a Service as seen from those StatefulSets.
type seenPort struct {
	inventory.ServicePort
	sets []*inventory.StatefulSet
}

var servicePortFacts = facts[seenPort]{
	is("name", func(p seenPort) *ast.Term { return text(p.Name) }),
	is("port", func(p seenPort) *ast.Term { return number(p.Port) }),
	is("targetPort", func(p seenPort) *ast.Term { return text(p.TargetPort) }),
	is("podPort", func(p seenPort) *ast.Term { return number(podPort(p.ServicePort, p.sets)) }),
	is("nodePort", func(p seenPort) *ast.Term { return number(p.NodePort) }),
	is("protocol", func(p seenPort) *ast.Term { return text(p.Protocol) }),
}

// podPort resolves a port through all the StatefulSets; where they disagree it
// can't be told.
func podPort(p inventory.ServicePort, sets []*inventory.StatefulSet) int32 {
	if len(sets) == 0 {
		return p.PodPort(nil)
	}
	port := p.PodPort(sets[0])
	for _, set := range sets[1:] {
		if p.PodPort(set) != port {
			return 0
		}
	}
	return port
}

func referencesTerm(sets []*inventory.StatefulSet, s *inventory.Service) *ast.Term {
	return list(sets, func(set *inventory.StatefulSet) *ast.Term {
		return ast.ObjectTerm(
			item("ref", text(string(set.Ref()))),
			item("name", text(set.Name)),
			item("selected", truth(s != nil && s.Selects(set))),
		)
	})
}

func item(key string, value *ast.Term) [2]*ast.Term {
	return [2]*ast.Term{ast.InternedTerm(key), value}
}

func text(s string) *ast.Term { return ast.InternedTerm(s) }

func number(n int32) *ast.Term { return ast.InternedTerm(n) }

func truth(b bool) *ast.Term { return ast.InternedTerm(b) }

func list[T any](in []T, term func(T) *ast.Term) *ast.Term {
	if len(in) == 0 {
		return ast.InternedEmptyArray
	}
	out := make([]*ast.Term, len(in))
	for i, v := range in {
		out[i] = term(v)
	}
	return ast.ArrayTerm(out...)
}

func pairs(in map[string]string) *ast.Term {
	if len(in) == 0 {
		return ast.InternedEmptyObject
	}
	out := make([][2]*ast.Term, 0, len(in))
	for k, v := range in {
		out = append(out, [2]*ast.Term{ast.StringTerm(k), ast.StringTerm(v)})
	}
	return ast.ObjectTerm(out...)
}
