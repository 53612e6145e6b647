package explain

import (
	"slices"
	"strings"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/report"
)

// mostPods is how many pods are listed by name: a StatefulSet may have billions.
const mostPods = 1000

// World is where StatefulSets are looked for.
type World struct {
	inventory.Reader
	// Zone says what their names end in, and what is not known.
	Zone inventory.Zone
	// Locate says where an object stands in its file. It is nil in a cluster.
	Locate func(inventory.Ref) report.Location
}

// Explain explains the StatefulSets of that name, in the order in which they
// were read.
func Explain(w World, namespace, name string) []StatefulSet {
	sets := slices.DeleteFunc(w.StatefulSets(namespace), func(s *inventory.StatefulSet) bool { return s.Name != name })
	slices.SortFunc(sets, func(a, b *inventory.StatefulSet) int {
		if a.Place == nil || b.Place == nil {
			return 0
		}
		return a.Place.Index - b.Place.Index
	})
	out := make([]StatefulSet, 0, len(sets))
	for _, s := range sets {
		out = append(out, w.explain(s))
	}
	return out
}

// New puts what Explain returned and the errors in what was read for them together.
func New(clusterDomain string, sets []StatefulSet, errs []report.Error) *Explanation {
	return &Explanation{
		APIVersion: APIVersion, Kind: Kind, ClusterDomain: clusterDomain,
		StatefulSets: append([]StatefulSet{}, sets...),
		Errors:       append([]report.Error{}, errs...),
	}
}

// Guaranteed says whether the name of every pod is.
func (e *Explanation) Guaranteed() bool {
	return !slices.ContainsFunc(e.StatefulSets, func(s StatefulSet) bool { return !s.Guaranteed })
}

func (w World) explain(set *inventory.StatefulSet) StatefulSet {
	n := w.Zone.Names(w, set)
	out := StatefulSet{
		Object:      w.object(set.Ref()),
		ServiceName: set.ServiceName,
		Replicas:    set.Replicas,
		Guaranteed:  n.Guaranteed(),
		Pods:        []Pod{},
		Records:     []Record{},
		Reasons:     []Reason{},
		Services:    []Selecting{},
		Selected:    []Object{},
		Siblings:    []Object{},
		names:       n,
	}
	if n.Governing != nil {
		s := w.service(n.Governing)
		out.Governing = &s
	}
	seen := map[Reason]bool{}
	note := func(reasons []inventory.Reason) {
		for _, r := range reasons {
			if r := Reason(r); !seen[r] {
				seen[r] = true
				out.Reasons = append(out.Reasons, r)
			}
		}
	}
	for _, run := range n.Pods {
		note(run.Reasons)
		if set.Replicas <= 0 {
			continue
		}
		for ordinal := run.First; ordinal <= run.Last && len(out.Pods) < mostPods; ordinal++ {
			out.Pods = append(out.Pods, Pod{ordinal, set.PodName(ordinal), n.PodName(ordinal), prospect(run.Prospect)})
		}
	}
	out.PodsOmitted = set.Pods().Len() - int64(len(out.Pods))
	if n.Service.Name != "" {
		for _, r := range append([]inventory.Record{n.Service}, n.Ports...) {
			note(r.Reasons)
			out.Records = append(out.Records, record(r))
		}
	}
	for _, s := range n.Selections {
		out.Services = append(out.Services, Selecting{w.service(s.Service), podRuns(set, s.Pods), append([]string{}, s.Unknown...)})
	}
	for _, s := range n.Selected {
		out.Selected = append(out.Selected, w.object(s.Ref()))
	}
	for _, o := range n.Workloads {
		out.Selected = append(out.Selected, w.object(o.Ref()))
	}
	for _, s := range n.Siblings {
		out.Siblings = append(out.Siblings, w.object(s.Ref()))
	}
	return out
}

func (w World) object(ref inventory.Ref) Object {
	kind, namespace, name := ref.Split()
	o := Object{Kind: string(kind), Namespace: namespace, Name: name}
	if w.Locate != nil {
		l := w.Locate(ref)
		o.Location = &l
	}
	return o
}

func (w World) service(s *inventory.Service) Service {
	out := Service{
		Object: w.object(s.Ref()), Type: s.Type, Headless: s.Headless(),
		Selector: s.Selector, PublishNotReadyAddresses: s.PublishNotReadyAddresses,
	}
	if out.Selector == nil {
		out.Selector = map[string]string{}
	}
	return out
}

func record(r inventory.Record) Record {
	out := Record{
		Name: r.Name, Type: string(r.Type), Prospect: prospect(r.Prospect),
		Answer: "pods", Addresses: append([]string{}, r.Addresses...), Target: r.Target, Port: r.Port,
	}
	switch {
	case r.Type == inventory.TypeCNAME:
		out.Answer = "alias"
	case r.Type == inventory.TypeSRV && r.Target != "":
		out.Answer = "service"
	case r.Type == inventory.TypeA && r.CoreDNS == inventory.Always:
		out.Answer = "cluster-ip"
	}
	return out
}

func prospect(p inventory.Prospect) Prospect {
	out := Prospect{Specification: string(p.Specification), CoreDNS: string(p.CoreDNS), Because: []string{}}
	for _, r := range p.Reasons {
		out.Because = append(out.Because, r.Code)
	}
	return out
}

// podRuns names the pods of each run.
func podRuns(set *inventory.StatefulSet, runs []inventory.Run) []string {
	out := []string{}
	for _, r := range runs {
		out = append(out, podRun(set, r, ".."))
	}
	return out
}

// podRun is the name of a run's pods, from the first to the last.
func podRun(set *inventory.StatefulSet, r inventory.Run, to string) string {
	if r.First == r.Last {
		return set.PodName(r.First)
	}
	return strings.Join([]string{set.PodName(r.First), set.PodName(r.Last)}, to)
}
