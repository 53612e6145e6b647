package inventory

import (
	"cmp"
	"math"
	"path"
	"slices"
)

// Relation is one StatefulSet and all that its pods' DNS names depend on.
type Relation struct {
	StatefulSet *StatefulSet
	// Governing is the Service that serviceName names, nil if there is none.
	Governing *Service
	// Candidates are all Services of that name at the same distance, the
	// governing one always first. A cluster never has more than one.
	Candidates []*Service
	// NearMisses are Services that may have been meant, the likeliest first.
	// They are looked for only when there is no governing Service.
	NearMisses []*Service
	// Elsewhere is for [Elsewhere], where whoever asks may know it.
	Elsewhere []string
	// Services are the others that select the pods.
	Services []*Service
	// Siblings are the other StatefulSets with the same governing Service.
	Siblings []*StatefulSet
	// Selected are the other StatefulSets of which the governing Service
	// selects a pod.
	Selected []*StatefulSet
	// Workloads are what else the governing Service selects.
	Workloads []*Workload
}

// Relate resolves the relation of one StatefulSet. The governing Service is
// the nearest one of its name; all else counts only if it stands in the
// StatefulSet's own file, its directory or a parent of it, and of other
// Services, too, only the nearest of each name.
func Relate(r Reader, set *StatefulSet) *Relation {
	rel := &Relation{StatefulSet: set}
	if set.ServiceName != "" {
		rel.Candidates = nearest(&set.Meta, r.ServicesNamed(set.Namespace, set.ServiceName))
	}
	if len(rel.Candidates) > 0 {
		rel.Governing = rel.Candidates[0]
	} else {
		rel.NearMisses = nearMisses(r, set)
	}
	for _, s := range r.ServicesSelecting(set) {
		if s.Name != set.ServiceName && visible(&set.Meta, &s.Meta) && isNearest(r, &set.Meta, s) {
			rel.Services = append(rel.Services, s)
		}
	}
	sortByName(rel.Services)
	if rel.Governing != nil {
		for _, other := range r.StatefulSetsGovernedBy(set.Namespace, set.ServiceName) {
			// Two of one name are one StatefulSet, written down twice.
			if other.Name != set.Name && !other.Deleting && visible(&set.Meta, &other.Meta) && governs(r, rel.Governing, other) {
				rel.Siblings = append(rel.Siblings, other)
			}
		}
		sortByName(rel.Siblings)
		for _, other := range r.StatefulSetsSelectedBy(rel.Governing) {
			if other.Name != set.Name && !other.Deleting && visible(&set.Meta, &other.Meta) && isNearest(r, &other.Meta, rel.Governing) {
				rel.Selected = append(rel.Selected, other)
			}
		}
		sortByName(rel.Selected)
		for _, w := range r.WorkloadsSelectedBy(rel.Governing) {
			if visible(&set.Meta, &w.Meta) && isNearest(r, &w.Meta, rel.Governing) {
				rel.Workloads = append(rel.Workloads, w)
			}
		}
		sortByName(rel.Workloads)
	}
	return rel
}

// Governance is one Service and the StatefulSets that it governs.
type Governance struct {
	Service      *Service
	StatefulSets []*StatefulSet
	// Beside are the other headless Services that select the pods of these
	// StatefulSets. They and Others are for [Govern], where whoever asks has
	// the time to look.
	Beside []*Service
	// Others are what the Service selects besides.
	Others []Selected
}

// Selected is something whose pods a Service selects.
type Selected struct {
	Ref  Ref
	Kind Kind
	Name string
}

// Govern resolves all that one Service is to others. What counts is what stands
// where it does in [Relate].
func Govern(r Reader, s *Service) *Governance {
	g := &Governance{Service: s, StatefulSets: GovernedBy(r, s)}
	for _, set := range g.StatefulSets {
		for _, other := range r.ServicesSelecting(set) {
			if other.Headless() && other.Name != s.Name && visible(&set.Meta, &other.Meta) && isNearest(r, &set.Meta, other) && !slices.Contains(g.Beside, other) {
				g.Beside = append(g.Beside, other)
			}
		}
	}
	sortByName(g.Beside)
	sees := func(from *Meta) bool { return visible(from, &s.Meta) && isNearest(r, from, s) }
	for _, set := range r.StatefulSetsSelectedBy(s) {
		if !set.Deleting && !slices.Contains(g.StatefulSets, set) && sees(&set.Meta) {
			g.Others = append(g.Others, Selected{set.Ref(), KindStatefulSet, set.Name})
		}
	}
	for _, w := range r.WorkloadsSelectedBy(s) {
		if sees(&w.Meta) {
			g.Others = append(g.Others, Selected{w.Ref(), w.Kind, w.Name})
		}
	}
	slices.SortFunc(g.Others, func(a, b Selected) int { return cmp.Compare(a.Ref, b.Ref) })
	return g
}

// Change is what one request does to one object, a Service or a StatefulSet:
// the side before is nil when it is created, the one after when it is deleted.
type Change struct {
	ServiceBefore, ServiceAfter         *Service
	StatefulSetBefore, StatefulSetAfter *StatefulSet
	// StatefulSets are those that the Service governed before.
	StatefulSets []*StatefulSet
}

// GovernedBy returns the StatefulSets that the Service governs, those on their
// way out left aside.
func GovernedBy(r Reader, s *Service) []*StatefulSet {
	var out []*StatefulSet
	for _, set := range r.StatefulSetsGovernedBy(s.Namespace, s.Name) {
		if set.Deleting {
			continue
		}
		if governs(r, s, set) {
			out = append(out, set)
		}
	}
	sortByName(out)
	return out
}

// governs says whether the Service, among those of the name that set gives, is
// the one that counts.
func governs(r Reader, s *Service, set *StatefulSet) bool {
	c := nearest(&set.Meta, r.ServicesNamed(s.Namespace, s.Name))
	return len(c) > 0 && c[0].same(&s.Meta)
}

// TouchedBy returns the StatefulSets whose relation the Service can touch: it
// has the name that they give, or selects their pods.
func TouchedBy(r Reader, s *Service) []*StatefulSet {
	out := r.StatefulSetsGovernedBy(s.Namespace, s.Name)
	for _, set := range r.StatefulSetsSelectedBy(s) {
		if !slices.Contains(out, set) {
			out = append(out, set)
		}
	}
	out = slices.DeleteFunc(out, func(set *StatefulSet) bool { return set.Deleting })
	sortByName(out)
	return out
}

const anywhere = math.MaxInt

// distance counts how far b stands from a: 0 in the same file, 1 in the same
// directory, one more for each directory upwards, else anywhere. In a cluster
// all objects are together.
func distance(a, b *Meta) int {
	switch {
	case a.Place == nil || b.Place == nil || a.Place.File == b.Place.File:
		return 0
	case a.Place.Dir == b.Place.Dir:
		return 1
	}
	steps := 1
	for dir := a.Place.Dir; dir != path.Dir(dir); {
		dir = path.Dir(dir)
		steps++
		if dir == b.Place.Dir {
			return steps
		}
	}
	return anywhere
}

func visible(from, to *Meta) bool { return distance(from, to) < anywhere }

// Visible says whether the Service stands in the StatefulSet's own file, its
// directory or a parent of it. In a cluster all objects see each other.
func Visible(from *StatefulSet, s *Service) bool { return visible(&from.Meta, &s.Meta) }

// nearest keeps the Services at the least distance. Where a file holds several
// of one name, the last is what an apply leaves, so it comes first.
func nearest(from *Meta, services []*Service) []*Service {
	least := anywhere
	for _, s := range services {
		least = min(least, distance(from, &s.Meta))
	}
	services = slices.DeleteFunc(services, func(s *Service) bool {
		return distance(from, &s.Meta) > least
	})
	sortByName(services)
	if least == 0 {
		slices.Reverse(services)
	}
	return services
}

// isNearest says whether no other Service of its name stands nearer to where
// somebody looks from. Manifests that hold one world several times over, each
// in a file of its own, then don't get into each other's way.
func isNearest(r Reader, from *Meta, s *Service) bool {
	return s.Place == nil || slices.Contains(nearest(from, r.ServicesNamed(s.Namespace, s.Name)), s)
}

// same says whether both are the same object of one world.
func (m *Meta) same(other *Meta) bool {
	return m.Namespace == other.Namespace && m.Name == other.Name && m.Place == other.Place
}

// most is how many near misses are worth naming.
const most = 3

// nearMisses looks for Services that the author may have meant: headless ones
// that select the pods or, where there are none, those with nearly the same
// name. Of those that don't select the pods, only a typing error is near: with
// words more or less, myapp for myapp-cache say, they are other parts of a whole.
func nearMisses(r Reader, set *StatefulSet) []*Service {
	selecting := r.ServicesSelecting(set)
	sortByName(selecting)
	var out []*Service
	for _, similarly := range []bool{true, false} {
		for _, s := range selecting {
			if s.Headless() && visible(&set.Meta, &s.Meta) && similar(s.Name, set.ServiceName) == similarly {
				out = append(out, s)
			}
		}
	}
	if len(out) == 0 {
		meant := func(s *Service) bool { return s.Type != "ExternalName" && visible(&set.Meta, &s.Meta) }
		for _, s := range selecting {
			if meant(s) && similar(s.Name, set.ServiceName) {
				out = append(out, s)
			}
		}
		for s := range r.ServicesLike(set.Namespace, set.ServiceName) {
			if len(out) >= most {
				break
			}
			if meant(s) && !s.Selects(set) {
				out = append(out, s)
			}
		}
	}
	return out[:min(most, len(out))]
}

// Elsewhere returns the other namespaces that have a Service of the name that
// the StatefulSet gives, when its own has none.
func Elsewhere(r Reader, set *StatefulSet) []string {
	if set.ServiceName == "" || len(nearest(&set.Meta, r.ServicesNamed(set.Namespace, set.ServiceName))) > 0 {
		return nil
	}
	var out []string
	for _, ns := range r.Namespaces() {
		if ns == set.Namespace {
			continue
		}
		if slices.ContainsFunc(r.ServicesNamed(ns, set.ServiceName), func(s *Service) bool { return visible(&set.Meta, &s.Meta) }) {
			out = append(out, ns)
		}
	}
	slices.Sort(out)
	return out
}

// sortByName orders objects of one namespace by name and, in manifests, as
// they were read.
func sortByName[T interface{ meta() *Meta }](list []T) {
	slices.SortFunc(list, func(a, b T) int {
		m, n := a.meta(), b.meta()
		return cmp.Or(cmp.Compare(m.Name, n.Name), cmp.Compare(m.Place.index(), n.Place.index()))
	})
}

func (m *Meta) meta() *Meta { return m }

func (p *Place) index() int {
	if p == nil {
		return 0
	}
	return p.Index
}
