package inventory

import "slices"

// Overlay is a Reader with changes laid over another: objects put in place of
// those of the same kind, namespace and name, and objects taken away. It is
// for objects of a cluster, which have no Place. The one below is not changed.
type Overlay struct {
	base   Reader
	top    Store
	hidden map[identity]bool
}

type identity struct {
	kind            Kind
	namespace, name string
}

// NewOverlay lays nothing over base yet.
func NewOverlay(base Reader) *Overlay {
	return &Overlay{base: base, hidden: map[identity]bool{}}
}

// PutService adds the Service, or puts it in place of the one of that name.
func (o *Overlay) PutService(s *Service) {
	o.hidden[identity{KindService, s.Namespace, s.Name}] = true
	o.top.PutService(s)
}

// PutStatefulSet adds the StatefulSet, or puts it in place of the one of that
// name.
func (o *Overlay) PutStatefulSet(s *StatefulSet) {
	o.hidden[identity{KindStatefulSet, s.Namespace, s.Name}] = true
	o.top.PutStatefulSet(s)
}

// RemoveService takes the Service of that name away.
func (o *Overlay) RemoveService(namespace, name string) {
	o.hidden[identity{KindService, namespace, name}] = true
	o.top.DeleteService(namespace, name)
}

// RemoveStatefulSet takes the StatefulSet of that name away.
func (o *Overlay) RemoveStatefulSet(namespace, name string) {
	o.hidden[identity{KindStatefulSet, namespace, name}] = true
	o.top.DeleteStatefulSet(namespace, name)
}

func (o *Overlay) Namespace(name string) *Namespace { return o.base.Namespace(name) }

func (o *Overlay) Namespaces() []string {
	out := o.base.Namespaces()
	for _, n := range o.top.Namespaces() {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func (o *Overlay) Services(namespace string) []*Service {
	return append(o.services(o.base.Services(namespace)), o.top.Services(namespace)...)
}

func (o *Overlay) StatefulSets(namespace string) []*StatefulSet {
	return append(o.sets(o.base.StatefulSets(namespace)), o.top.StatefulSets(namespace)...)
}

func (o *Overlay) ServicesNamed(namespace, name string) []*Service {
	return append(o.services(o.base.ServicesNamed(namespace, name)), o.top.ServicesNamed(namespace, name)...)
}

func (o *Overlay) StatefulSetsNamed(namespace, name string) []*StatefulSet {
	return append(o.sets(o.base.StatefulSetsNamed(namespace, name)), o.top.StatefulSetsNamed(namespace, name)...)
}

func (o *Overlay) ServicesSelecting(set *StatefulSet) []*Service {
	return append(o.services(o.base.ServicesSelecting(set)), o.top.ServicesSelecting(set)...)
}

func (o *Overlay) StatefulSetsGovernedBy(namespace, service string) []*StatefulSet {
	return append(o.sets(o.base.StatefulSetsGovernedBy(namespace, service)), o.top.StatefulSetsGovernedBy(namespace, service)...)
}

func (o *Overlay) StatefulSetsSelectedBy(service *Service) []*StatefulSet {
	return append(o.sets(o.base.StatefulSetsSelectedBy(service)), o.top.StatefulSetsSelectedBy(service)...)
}

func (o *Overlay) WorkloadsSelectedBy(service *Service) []*Workload {
	return o.base.WorkloadsSelectedBy(service)
}

// services keeps those of the base that no change hides. The list is this
// overlay's own.
func (o *Overlay) services(list []*Service) []*Service {
	return slices.DeleteFunc(list, func(s *Service) bool {
		return o.hidden[identity{KindService, s.Namespace, s.Name}]
	})
}

func (o *Overlay) sets(list []*StatefulSet) []*StatefulSet {
	return slices.DeleteFunc(list, func(s *StatefulSet) bool {
		return o.hidden[identity{KindStatefulSet, s.Namespace, s.Name}]
	})
}
