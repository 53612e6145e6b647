package inventory

import (
	"iter"
	"slices"
)

// Overlay is a Reader with changes laid over another: objects put in place of
// those of the same kind, namespace and name, and objects taken away. It is
// for objects of a cluster, which have no Place. The one below is not changed.
type Overlay struct {
	base Reader
	// The changes are few, one or two as a rule, so they need no index.
	services []*Service
	sets     []*StatefulSet
	hidden   []identity
}

type identity struct {
	kind            Kind
	namespace, name string
}

// NewOverlay lays nothing over base yet.
func NewOverlay(base Reader) *Overlay { return &Overlay{base: base} }

// PutService adds the Service, or puts it in place of the one of that name.
func (o *Overlay) PutService(s *Service) {
	o.RemoveService(s.Namespace, s.Name)
	o.services = append(o.services, s)
}

// PutStatefulSet adds the StatefulSet, or puts it in place of the one of that
// name.
func (o *Overlay) PutStatefulSet(s *StatefulSet) {
	o.RemoveStatefulSet(s.Namespace, s.Name)
	o.sets = append(o.sets, s)
}

// RemoveService takes the Service of that name away.
func (o *Overlay) RemoveService(namespace, name string) {
	o.services = slices.DeleteFunc(o.services, func(s *Service) bool { return s.Namespace == namespace && s.Name == name })
	o.hide(identity{KindService, namespace, name})
}

// RemoveStatefulSet takes the StatefulSet of that name away.
func (o *Overlay) RemoveStatefulSet(namespace, name string) {
	o.sets = slices.DeleteFunc(o.sets, func(s *StatefulSet) bool { return s.Namespace == namespace && s.Name == name })
	o.hide(identity{KindStatefulSet, namespace, name})
}

func (o *Overlay) hide(id identity) {
	if !slices.Contains(o.hidden, id) {
		o.hidden = append(o.hidden, id)
	}
}

func (o *Overlay) Namespace(name string) *Namespace { return o.base.Namespace(name) }

func (o *Overlay) Namespaces() []string {
	out := o.base.Namespaces()
	add := func(namespace string) {
		if !slices.Contains(out, namespace) {
			out = append(out, namespace)
		}
	}
	for _, s := range o.services {
		add(s.Namespace)
	}
	for _, s := range o.sets {
		add(s.Namespace)
	}
	return out
}

func (o *Overlay) Services(namespace string) []*Service {
	return o.withServices(o.base.Services(namespace), func(s *Service) bool { return s.Namespace == namespace })
}

func (o *Overlay) StatefulSets(namespace string) []*StatefulSet {
	return o.withSets(o.base.StatefulSets(namespace), func(s *StatefulSet) bool { return s.Namespace == namespace })
}

func (o *Overlay) ServicesNamed(namespace, name string) []*Service {
	return o.withServices(o.base.ServicesNamed(namespace, name), func(s *Service) bool {
		return s.Namespace == namespace && s.Name == name
	})
}

func (o *Overlay) ServicesLike(namespace, name string) iter.Seq[*Service] {
	own := o.withServices(nil, func(s *Service) bool { return s.Namespace == namespace && mistyped(s.Name, name) })
	sortByName(own)
	return func(yield func(*Service) bool) {
		own := own
		for s := range o.base.ServicesLike(namespace, name) {
			for len(own) > 0 && own[0].Name < s.Name {
				if !yield(own[0]) {
					return
				}
				own = own[1:]
			}
			if !o.hides(s) && !yield(s) {
				return
			}
		}
		for _, s := range own {
			if !yield(s) {
				return
			}
		}
	}
}

func (o *Overlay) ServicesSelecting(set *StatefulSet) []*Service {
	return o.withServices(o.base.ServicesSelecting(set), func(s *Service) bool {
		return s.Namespace == set.Namespace && s.Selects(set)
	})
}

func (o *Overlay) StatefulSetsGovernedBy(namespace, service string) []*StatefulSet {
	return o.withSets(o.base.StatefulSetsGovernedBy(namespace, service), func(s *StatefulSet) bool {
		return s.Namespace == namespace && s.ServiceName == service && service != ""
	})
}

func (o *Overlay) StatefulSetsSelectedBy(service *Service) []*StatefulSet {
	return o.withSets(o.base.StatefulSetsSelectedBy(service), func(s *StatefulSet) bool {
		return s.Namespace == service.Namespace && service.Selects(s)
	})
}

func (o *Overlay) WorkloadsSelectedBy(service *Service) []*Workload {
	return o.base.WorkloadsSelectedBy(service)
}

func (o *Overlay) hides(s *Service) bool {
	return slices.Contains(o.hidden, identity{KindService, s.Namespace, s.Name})
}

// withServices keeps those of the base that no change hides, and adds those of
// the overlay that match. The list is the overlay's to change.
func (o *Overlay) withServices(list []*Service, match func(*Service) bool) []*Service {
	list = slices.DeleteFunc(list, o.hides)
	for _, s := range o.services {
		if match(s) {
			list = append(list, s)
		}
	}
	return list
}

func (o *Overlay) withSets(list []*StatefulSet, match func(*StatefulSet) bool) []*StatefulSet {
	list = slices.DeleteFunc(list, func(s *StatefulSet) bool {
		return slices.Contains(o.hidden, identity{KindStatefulSet, s.Namespace, s.Name})
	})
	for _, s := range o.sets {
		if match(s) {
			list = append(list, s)
		}
	}
	return list
}
