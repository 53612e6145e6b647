package inventory

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Reader answers what exists in one world: a cluster, a set of manifests, or
// either with changes laid over it. A slice that it returns is the caller's;
// its elements must not be changed. Its order is not defined.
type Reader interface {
	// Namespace returns nil if the namespace is not known.
	Namespace(name string) *Namespace
	// Namespaces are the names of all namespaces that hold a Service or a
	// StatefulSet.
	Namespaces() []string
	Services(namespace string) []*Service
	StatefulSets(namespace string) []*StatefulSet
	// ServicesNamed returns at most one Service in a cluster; manifests can
	// hold several.
	ServicesNamed(namespace, name string) []*Service
	// ServicesLike yields the Services whose name is the one given but for
	// typing errors, in the order of their names.
	ServicesLike(namespace, name string) iter.Seq[*Service]
	// ServicesSelecting returns the Services that select a pod of set.
	ServicesSelecting(set *StatefulSet) []*Service
	// StatefulSetsGovernedBy returns those whose serviceName this is.
	StatefulSetsGovernedBy(namespace, service string) []*StatefulSet
	// StatefulSetsSelectedBy returns those that have a pod which the Service
	// selects.
	StatefulSetsSelectedBy(service *Service) []*StatefulSet
	// WorkloadsSelectedBy returns what else the Service selects. A cluster's
	// other workloads are not known.
	WorkloadsSelectedBy(service *Service) []*Workload
}

// Store is a Reader over objects in memory. It is safe for concurrent use. Its
// zero value is empty and ready.
type Store struct {
	mu         sync.RWMutex
	namespaces map[string]*Namespace
	spaces     map[string]*space
}

// space is one namespace's objects with the indexes that keep every question
// independent of how many objects there are.
type space struct {
	services map[string][]*Service
	// likeness is made of the services when it is asked for.
	likeness atomic.Pointer[likeness]
	sets     map[string][]*StatefulSet
	governed map[string][]*StatefulSet
	// selecting holds each Service with a selector once, under one pair of it.
	selecting map[pair][]*Service
	carrying  map[pair][]*StatefulSet
	// workloads stand under each of their pods' labels.
	workloads map[pair][]*Workload
}

type pair struct{ key, value string }

// anyPod is where a Service stands whose selector has no pair that a pod
// template could hold.
var anyPod = pair{}

// PutService adds the Service, in place of the one of that name and place.
func (s *Store) PutService(v *Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(v.Namespace)
	if old := find(sp.services[v.Name], v.Place); old != nil {
		sp.dropService(old)
	}
	sp.services[v.Name] = append(sp.services[v.Name], v)
	sp.likeness.Store(nil)
	if len(v.Selector) > 0 {
		p := sp.rarestPair(v.Selector)
		sp.selecting[p] = append(sp.selecting[p], v)
	}
}

// DeleteService removes a Service of a cluster, if it is there.
func (s *Store) DeleteService(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(namespace)
	if old := find(sp.services[name], nil); old != nil {
		sp.dropService(old)
	}
	s.forget(namespace)
}

// PutStatefulSet adds the StatefulSet, in place of the one of that name and
// place.
func (s *Store) PutStatefulSet(v *StatefulSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(v.Namespace)
	if old := find(sp.sets[v.Name], v.Place); old != nil {
		sp.dropSet(old)
	}
	sp.sets[v.Name] = append(sp.sets[v.Name], v)
	if v.ServiceName != "" {
		sp.governed[v.ServiceName] = append(sp.governed[v.ServiceName], v)
	}
	for _, p := range v.pairs() {
		sp.carrying[p] = append(sp.carrying[p], v)
	}
}

// DeleteStatefulSet removes a StatefulSet of a cluster, if it is there.
func (s *Store) DeleteStatefulSet(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(namespace)
	if old := find(sp.sets[name], nil); old != nil {
		sp.dropSet(old)
	}
	s.forget(namespace)
}

// PutWorkload adds the Workload.
func (s *Store) PutWorkload(v *Workload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(v.Namespace)
	for k, value := range v.PodLabels {
		p := pair{k, value}
		sp.workloads[p] = append(sp.workloads[p], v)
	}
}

// PutNamespace adds or replaces the Namespace.
func (s *Store) PutNamespace(v *Namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.namespaces == nil {
		s.namespaces = map[string]*Namespace{}
	}
	s.namespaces[v.Name] = v
}

// DeleteNamespace removes the Namespace; its objects stay until they are
// deleted themselves.
func (s *Store) DeleteNamespace(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.namespaces, name)
}

func (s *Store) Namespace(name string) *Namespace {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.namespaces[name]
}

func (s *Store) Namespaces() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]string, 0, len(s.spaces))
	for name := range s.spaces {
		out = append(out, name)
	}
	return out
}

// KnownNamespaces are all Namespaces, whether or not they hold anything.
func (s *Store) KnownNamespaces() []*Namespace {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.namespaces))
}

// Count is how many objects of each kind there are.
type Count struct{ Services, StatefulSets, Namespaces int }

// Count counts the objects.
func (s *Store) Count() Count {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := Count{Namespaces: len(s.namespaces)}
	for _, sp := range s.spaces {
		for _, list := range sp.services {
			c.Services += len(list)
		}
		for _, list := range sp.sets {
			c.StatefulSets += len(list)
		}
	}
	return c
}

func (s *Store) Services(namespace string) []*Service {
	return read(s, namespace, func(sp *space) []*Service { return flatten(sp.services) })
}

func (s *Store) StatefulSets(namespace string) []*StatefulSet {
	return read(s, namespace, func(sp *space) []*StatefulSet { return flatten(sp.sets) })
}

func (s *Store) ServicesNamed(namespace, name string) []*Service {
	return read(s, namespace, func(sp *space) []*Service { return slices.Clone(sp.services[name]) })
}

func (s *Store) ServicesLike(namespace, name string) iter.Seq[*Service] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := s.spaces[namespace]
	if sp == nil {
		return func(func(*Service) bool) {}
	}
	l := sp.likeness.Load()
	if l == nil {
		l = new(likeness(flatten(sp.services)))
		sortByName(*l)
		sp.likeness.Store(l)
	}
	return l.like(name)
}

func (s *Store) StatefulSetsGovernedBy(namespace, service string) []*StatefulSet {
	return read(s, namespace, func(sp *space) []*StatefulSet { return slices.Clone(sp.governed[service]) })
}

func (s *Store) ServicesSelecting(set *StatefulSet) []*Service {
	return read(s, set.Namespace, func(sp *space) []*Service {
		var out []*Service
		for _, p := range append(set.pairs(), anyPod) {
			for _, v := range sp.selecting[p] {
				if v.Selects(set) {
					out = append(out, v)
				}
			}
		}
		return out
	})
}

func (s *Store) StatefulSetsSelectedBy(service *Service) []*StatefulSet {
	if len(service.Selector) == 0 {
		return nil
	}
	return read(s, service.Namespace, func(sp *space) []*StatefulSet {
		var candidates []*StatefulSet
		indexed := false
		for k, v := range service.Selector {
			p, ok := indexPair(k, v)
			if !ok {
				continue
			}
			if c := sp.carrying[p]; !indexed || len(c) < len(candidates) {
				candidates, indexed = c, true
			}
		}
		if !indexed {
			candidates = flatten(sp.sets)
		}
		var out []*StatefulSet
		for _, v := range candidates {
			if service.Selects(v) {
				out = append(out, v)
			}
		}
		return out
	})
}

func (s *Store) WorkloadsSelectedBy(service *Service) []*Workload {
	return read(s, service.Namespace, func(sp *space) []*Workload {
		var candidates []*Workload
		first := true
		for k, v := range service.Selector {
			if c := sp.workloads[pair{k, v}]; first || len(c) < len(candidates) {
				candidates, first = c, false
			}
		}
		var out []*Workload
		for _, w := range candidates {
			if service.SelectsWorkload(w) {
				out = append(out, w)
			}
		}
		return out
	})
}

// space returns the namespace's objects; the caller holds the write lock.
func (s *Store) space(namespace string) *space {
	sp := s.spaces[namespace]
	if sp == nil {
		sp = &space{
			services:  map[string][]*Service{},
			sets:      map[string][]*StatefulSet{},
			governed:  map[string][]*StatefulSet{},
			selecting: map[pair][]*Service{},
			carrying:  map[pair][]*StatefulSet{},
			workloads: map[pair][]*Workload{},
		}
		if s.spaces == nil {
			s.spaces = map[string]*space{}
		}
		s.spaces[namespace] = sp
	}
	return sp
}

// forget drops a namespace that holds nothing any more.
func (s *Store) forget(namespace string) {
	if sp := s.spaces[namespace]; len(sp.services) == 0 && len(sp.sets) == 0 {
		delete(s.spaces, namespace)
	}
}

func (sp *space) dropService(v *Service) {
	drop(sp.services, v.Name, v)
	sp.likeness.Store(nil)
	// Which pair was the rarest when the Service came is not kept: it is under
	// one of these.
	for k, value := range v.Selector {
		if p, ok := indexPair(k, value); ok {
			drop(sp.selecting, p, v)
		}
	}
	drop(sp.selecting, anyPod, v)
}

func (sp *space) dropSet(v *StatefulSet) {
	drop(sp.sets, v.Name, v)
	drop(sp.governed, v.ServiceName, v)
	for _, p := range v.pairs() {
		drop(sp.carrying, p, v)
	}
}

// rarestPair chooses the pair of the selector under which the fewest Services
// stand, so that labels which a whole namespace shares don't fill one entry.
func (sp *space) rarestPair(selector map[string]string) pair {
	best, least := anyPod, -1
	for k, v := range selector {
		if p, ok := indexPair(k, v); ok {
			if n := len(sp.selecting[p]); least < 0 || n < least || n == least && p.less(best) {
				best, least = p, n
			}
		}
	}
	return best
}

func (p pair) less(q pair) bool {
	return p.key < q.key || p.key == q.key && p.value < q.value
}

// indexPair is the pair under which a selector's requirement is found again
// from a StatefulSet's template; there is none for labels that only running
// pods have.
func indexPair(key, value string) (pair, bool) {
	switch key {
	case labelPodIndex, labelRevisionHash:
		return pair{}, false
	case labelPodName:
		name, ok := setOfPod(value)
		return pair{key, name}, ok
	}
	return pair{key, value}, true
}

// pairs are all pairs under which this set's pods are looked for.
func (s *StatefulSet) pairs() []pair {
	out := make([]pair, 0, len(s.PodLabels)+2)
	for k, v := range s.PodLabels {
		out = append(out, pair{k, v})
	}
	return append(out, pair{labelPodName, s.Name})
}

func read[T any](s *Store, namespace string, f func(*space) []T) []T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if sp := s.spaces[namespace]; sp != nil {
		return f(sp)
	}
	return nil
}

// placed is what Services and StatefulSets have in common.
type placed interface {
	comparable
	meta() *Meta
}

func find[T placed](list []T, at *Place) T {
	for _, v := range list {
		if v.meta().Place == at {
			return v
		}
	}
	var none T
	return none
}

func drop[K, T comparable](index map[K][]T, key K, v T) {
	list := index[key]
	i := slices.Index(list, v)
	switch {
	case i < 0:
	case len(list) == 1:
		delete(index, key)
	default:
		index[key] = slices.Delete(list, i, i+1)
	}
}

func flatten[T any](index map[string][]T) []T {
	out := make([]T, 0, len(index))
	for _, list := range index {
		out = append(out, list...)
	}
	return out
}
