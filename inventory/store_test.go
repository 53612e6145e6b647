package inventory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestReadersAgreeWithAModel does thousands of random changes to a Store and
// an Overlay, and holds every question's answer against a plain list that is
// searched from end to end.
func TestReadersAgreeWithAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	labels := func() map[string]string {
		out := map[string]string{}
		for range rng.IntN(4) {
			out[pick("app", "tier", "env")] = pick("a", "b")
		}
		if rng.IntN(6) == 0 {
			out[pick(labelPodName, labelPodIndex, labelRevisionHash)] = pick("a-0", "b-1", "0", "a-5d8c", "x")
		}
		return out
	}
	type model struct {
		services map[string]*Service
		sets     map[string]*StatefulSet
	}
	var store Store
	below := model{map[string]*Service{}, map[string]*StatefulSet{}}
	newService := func(ns, name string) *Service {
		s := &Service{Meta: Meta{Namespace: ns, Name: name}, Type: pick("ClusterIP", "ClusterIP", "ExternalName")}
		if l := labels(); len(l) > 0 {
			s.Selector = l
		}
		return s
	}
	newSet := func(ns, name string) *StatefulSet {
		l := labels()
		delete(l, labelPodName)
		return &StatefulSet{Meta: Meta{Namespace: ns, Name: name}, ServiceName: pick("", "a", "b", "c"), PodLabels: l}
	}
	change := func(m model, put func(*Service), drop func(ns, name string), putSet func(*StatefulSet), dropSet func(ns, name string)) {
		ns, name := pick("x", "y"), pick("a", "b", "c", "d")
		switch key := ns + "/" + name; rng.IntN(4) {
		case 0:
			m.services[key] = newService(ns, name)
			put(m.services[key])
		case 1:
			m.sets[key] = newSet(ns, name)
			putSet(m.sets[key])
		case 2:
			delete(m.services, key)
			drop(ns, name)
		case 3:
			delete(m.sets, key)
			dropSet(ns, name)
		}
	}
	for range 3000 {
		change(below, store.PutService, store.DeleteService, store.PutStatefulSet, store.DeleteStatefulSet)
		over := model{map[string]*Service{}, map[string]*StatefulSet{}}
		for k, v := range below.services {
			over.services[k] = v
		}
		for k, v := range below.sets {
			over.sets[k] = v
		}
		overlay := NewOverlay(&store)
		for range rng.IntN(3) {
			change(over, overlay.PutService, overlay.RemoveService, overlay.PutStatefulSet, overlay.RemoveStatefulSet)
		}
		for name, tc := range map[string]struct {
			r Reader
			m model
		}{"store": {&store, below}, "overlay": {overlay, over}} {
			agree(t, name, tc.r, tc.m.services, tc.m.sets)
			if t.Failed() {
				return
			}
		}
	}
}

func agree(t *testing.T, name string, r Reader, services map[string]*Service, sets map[string]*StatefulSet) {
	t.Helper()
	for _, ns := range []string{"x", "y"} {
		same(t, name+" Services", r.Services(ns), filter(services, func(s *Service) bool { return s.Namespace == ns }))
		same(t, name+" StatefulSets", r.StatefulSets(ns), filter(sets, func(s *StatefulSet) bool { return s.Namespace == ns }))
		for _, n := range []string{"a", "b", "c", "d"} {
			same(t, name+" ServicesNamed", r.ServicesNamed(ns, n), filter(services, func(s *Service) bool { return s.Namespace == ns && s.Name == n }))
			same(t, name+" StatefulSetsGovernedBy", r.StatefulSetsGovernedBy(ns, n), filter(sets, func(s *StatefulSet) bool { return s.Namespace == ns && s.ServiceName == n }))
		}
	}
	for _, set := range sets {
		same(t, name+" ServicesSelecting", r.ServicesSelecting(set), filter(services, func(s *Service) bool {
			return s.Namespace == set.Namespace && s.Selects(set)
		}))
	}
	for _, service := range services {
		same(t, name+" StatefulSetsSelectedBy", r.StatefulSetsSelectedBy(service), filter(sets, func(s *StatefulSet) bool {
			return s.Namespace == service.Namespace && service.Selects(s)
		}))
	}
}

func filter[T any](all map[string]T, keep func(T) bool) []T {
	var out []T
	for _, v := range all {
		if keep(v) {
			out = append(out, v)
		}
	}
	return out
}

func same[T interface{ Ref() Ref }](t *testing.T, what string, got, want []T) {
	t.Helper()
	refs := func(list []T) []string {
		out := make([]string, len(list))
		for i, v := range list {
			out[i] = fmt.Sprintf("%s %p", v.Ref(), any(v))
		}
		slices.Sort(out)
		return out
	}
	if g, w := refs(got), refs(want); !slices.Equal(g, w) {
		t.Errorf("%s\ngot  %v\nwant %v", what, g, w)
	}
}

func TestSelects(t *testing.T) {
	web := &StatefulSet{Meta: Meta{Name: "web"}, PodLabels: map[string]string{"app": "nginx"}}
	for name, tc := range map[string]struct {
		selector map[string]string
		want     bool
	}{
		"none":                     {nil, false},
		"a part":                   {map[string]string{"app": "nginx"}, true},
		"another value":            {map[string]string{"app": "x"}, false},
		"one more":                 {map[string]string{"app": "nginx", "tier": "db"}, false},
		"one pod":                  {map[string]string{labelPodName: "web-0"}, true},
		"one pod of another set":   {map[string]string{labelPodName: "web-db-0"}, false},
		"no ordinal":               {map[string]string{labelPodName: "web-00"}, false},
		"no pod's name":            {map[string]string{labelPodName: "web"}, false},
		"one index":                {map[string]string{"app": "nginx", labelPodIndex: "3"}, true},
		"no index":                 {map[string]string{labelPodIndex: "x"}, false},
		"a revision":               {map[string]string{labelRevisionHash: "web-7d4b"}, true},
		"a revision of another":    {map[string]string{labelRevisionHash: "db-7d4b"}, false},
		"one pod, with a mismatch": {map[string]string{labelPodName: "web-0", "app": "x"}, false},
	} {
		s := &Service{Type: "ClusterIP", Selector: tc.selector}
		if got := s.Selects(web); got != tc.want {
			t.Errorf("%s: Selects = %v", name, got)
		}
		if unmatched := s.Unmatched(web); tc.selector != nil && (len(unmatched) == 0) != tc.want {
			t.Errorf("%s: Unmatched = %v", name, unmatched)
		}
		s.Type = "ExternalName"
		if s.Selects(web) {
			t.Errorf("%s: an ExternalName selects", name)
		}
	}
}
