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
		"after", "annotations", "before", "beside", "candidates", "clusterIP", "clusterIPs", "controller", "elsewhere",
		"externalIPs", "externalName", "found", "governing", "headless", "kind", "labels", "mentionsOwnPods", "mentionsPeers", "name",
		"namespace", "nearMisses", "nodePort", "operation", "ordinalsStart", "others", "podLabels", "podManagementPolicy",
		"podPort", "port", "ports", "protocol", "publishNotReadyAddresses", "ref", "remaps", "replicas", "selected", "selector",
		"selectsPods", "service", "serviceName", "services", "sessionAffinity", "siblings", "statefulSet",
		"statefulSets", "targetPort", "type", "undecided", "unmatched", "workloads",
		"CREATE", "UPDATE", "DELETE", "Service", "StatefulSet", "ClusterIP", inventory.None, "TCP", "OrderedReady",
	)
}

func relationTerm(r *inventory.Relation) *ast.Term {
	governing, candidates := noService, ast.InternedEmptyArray
	if len(r.Candidates) > 0 {
		candidates = servicesTerm(r.Candidates, r.StatefulSet)
		governing = candidates.Value.(*ast.Array).Elem(0)
	}
	return object(
		item("statefulSet", statefulSetTerm(r.StatefulSet)),
		item("governing", governing),
		item("candidates", candidates),
		item("nearMisses", servicesTerm(r.NearMisses, r.StatefulSet)),
		item("elsewhere", list(r.Elsewhere, text)),
		item("services", servicesTerm(r.Services, r.StatefulSet)),
		item("siblings", list(r.Siblings, func(s *inventory.StatefulSet) *ast.Term { return text(s.Name) })),
		item("workloads", list(others(r), selectedTerm)),
	)
}

func governanceTerm(g *inventory.Governance) *ast.Term {
	return object(
		item("service", serviceTerm(g.Service, g.StatefulSets)),
		item("statefulSets", referencesTerm(g.StatefulSets, g.Service)),
		item("beside", list(g.Beside, func(s *inventory.Service) *ast.Term { return text(s.Name) })),
		item("others", list(g.Others, selectedTerm)),
	)
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

func selectedTerm(s inventory.Selected) *ast.Term {
	return object(
		item("ref", text(string(s.Ref))),
		item("kind", text(string(s.Kind))),
		item("name", text(s.Name)),
	)
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

func changeTerm(c *inventory.Change) *ast.Term {
	kind := inventory.KindService
	if c.StatefulSetBefore != nil || c.StatefulSetAfter != nil {
		kind = inventory.KindStatefulSet
	}
	side := func(s *inventory.Service, set *inventory.StatefulSet) *ast.Term {
		service, statefulSet := noService, noStatefulSet
		if s != nil {
			service = serviceTerm(s, c.StatefulSets)
		}
		if set != nil {
			statefulSet = statefulSetTerm(set)
		}
		return object(item("service", service), item("statefulSet", statefulSet))
	}
	return object(
		item("operation", text(operationOf(c))),
		item("kind", text(string(kind))),
		item("before", side(c.ServiceBefore, c.StatefulSetBefore)),
		item("after", side(c.ServiceAfter, c.StatefulSetAfter)),
		item("statefulSets", referencesTerm(c.StatefulSets, c.ServiceBefore)),
	)
}

var (
	noService     = serviceFacts(&inventory.Service{}, "", nil)
	noStatefulSet = statefulSetFacts(&inventory.StatefulSet{}, "")
)

func statefulSetTerm(s *inventory.StatefulSet) *ast.Term {
	return statefulSetFacts(s, s.Ref())
}

func statefulSetFacts(s *inventory.StatefulSet, ref inventory.Ref) *ast.Term {
	return object(
		item("found", ast.InternedTerm(ref != "")),
		item("ref", text(string(ref))),
		item("name", text(s.Name)),
		item("namespace", text(s.Namespace)),
		item("labels", pairs(s.Labels)),
		item("annotations", pairs(s.Annotations)),
		item("serviceName", text(s.ServiceName)),
		item("selector", pairs(s.Selector)),
		item("podLabels", pairs(s.PodLabels)),
		item("replicas", number(s.Replicas)),
		item("ordinalsStart", number(s.OrdinalsStart)),
		item("podManagementPolicy", text(s.PodManagementPolicy)),
		item("ports", list(s.Ports, func(p inventory.ContainerPort) *ast.Term {
			return object(
				item("name", text(p.Name)),
				item("port", number(p.Port)),
				item("protocol", text(p.Protocol)),
			)
		})),
		item("controller", text(s.Controller)),
		item("mentionsPeers", ast.InternedTerm(s.MentionsPeers)),
		item("mentionsOwnPods", ast.InternedTerm(s.MentionsOwnPods)),
	)
}

func servicesTerm(services []*inventory.Service, set *inventory.StatefulSet) *ast.Term {
	return list(services, func(s *inventory.Service) *ast.Term {
		return serviceTerm(s, []*inventory.StatefulSet{set})
	})
}

// serviceTerm describes a Service as seen from the StatefulSets whose pods it
// may select.
func serviceTerm(s *inventory.Service, sets []*inventory.StatefulSet) *ast.Term {
	return serviceFacts(s, s.Ref(), sets)
}

func serviceFacts(s *inventory.Service, ref inventory.Ref, sets []*inventory.StatefulSet) *ast.Term {
	found := ref != ""
	selects := false
	var unmatched []string
	for _, set := range sets {
		selects = selects || s.Selects(set)
		for _, key := range s.Unmatched(set) {
			if !slices.Contains(unmatched, key) {
				unmatched = append(unmatched, key)
			}
		}
	}
	return object(
		item("found", ast.InternedTerm(found)),
		item("ref", text(string(ref))),
		item("name", text(s.Name)),
		item("namespace", text(s.Namespace)),
		item("type", text(s.Type)),
		item("clusterIP", text(s.ClusterIP)),
		item("clusterIPs", list(s.ClusterIPs, text)),
		item("externalName", text(s.ExternalName)),
		item("selector", pairs(s.Selector)),
		item("publishNotReadyAddresses", ast.InternedTerm(s.PublishNotReadyAddresses)),
		item("sessionAffinity", text(s.SessionAffinity)),
		item("externalIPs", list(s.ExternalIPs, text)),
		item("ports", list(s.Ports, func(p inventory.ServicePort) *ast.Term {
			return object(
				item("name", text(p.Name)),
				item("port", number(p.Port)),
				item("targetPort", text(p.TargetPort)),
				item("podPort", number(podPort(p, sets))),
				item("nodePort", number(p.NodePort)),
				item("protocol", text(p.Protocol)),
			)
		})),
		item("annotations", pairs(s.Annotations)),
		item("headless", ast.InternedTerm(s.Headless())),
		item("undecided", ast.InternedTerm(found && s.Undecided())),
		item("unmatched", list(unmatched, text)),
		item("selectsPods", ast.InternedTerm(selects)),
		item("remaps", ast.InternedTerm(slices.ContainsFunc(s.Ports, func(p inventory.ServicePort) bool {
			n := podPort(p, sets)
			return n != 0 && n != p.Port
		}))),
		item("controller", text(s.Controller)),
	)
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
		return object(
			item("ref", text(string(set.Ref()))),
			item("name", text(set.Name)),
			item("selected", ast.InternedTerm(s != nil && s.Selects(set))),
		)
	})
}

func object(items ...[2]*ast.Term) *ast.Term {
	return ast.ObjectTerm(items...)
}

func item(key string, value *ast.Term) [2]*ast.Term {
	return [2]*ast.Term{ast.InternedTerm(key), value}
}

func text(s string) *ast.Term { return ast.InternedTerm(s) }

func number(n int32) *ast.Term { return ast.InternedTerm(n) }

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
