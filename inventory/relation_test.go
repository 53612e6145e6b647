package inventory

import (
	"slices"
	"testing"
)

func at(file, dir string, index int) *Place { return &Place{File: file, Dir: dir, Index: index} }

func names[T interface{ meta() *Meta }](list []T) []string {
	out := []string{}
	for _, v := range list {
		out = append(out, v.meta().Name)
	}
	return out
}

func TestGoverningIsTheNearest(t *testing.T) {
	place := map[string]*Place{
		"file":    at("/a/b/c.yaml", "/a/b", 2),
		"dir":     at("/a/b/d.yaml", "/a/b", 3),
		"parent":  at("/a/x.yaml", "/a", 4),
		"root":    at("/x.yaml", "/", 5),
		"other":   at("/z/x.yaml", "/z", 6),
		"sibling": at("/a/bb/x.yaml", "/a/bb", 7),
	}
	set := &StatefulSet{Meta: Meta{Name: "web", Place: at("/a/b/c.yaml", "/a/b", 1)}, ServiceName: "nginx"}
	order := []string{"file", "dir", "parent", "root", "other"}
	for i := range order {
		var store Store
		for _, name := range order[i:] {
			store.PutService(&Service{Meta: Meta{Name: "nginx", Place: place[name]}})
		}
		if rel := Relate(&store, set); rel.Governing == nil || rel.Governing.Place != place[order[i]] {
			t.Errorf("without %v: governing = %+v", order[:i], rel.Governing)
		}
	}
}

func TestGoverningAmongSeveral(t *testing.T) {
	set := &StatefulSet{Meta: Meta{Name: "web", Place: at("a", "/a", 1)}, ServiceName: "nginx"}
	var store Store
	for i, file := range []string{"a", "a", "b"} {
		store.PutService(&Service{Meta: Meta{Name: "nginx", Place: at(file, "/a", i+2)}})
	}
	rel := Relate(&store, set)
	if rel.Governing.Place.Index != 3 || len(rel.Candidates) != 2 {
		t.Errorf("in one file the last wins: %+v of %d", rel.Governing.Place, len(rel.Candidates))
	}
}

func TestWhatElseCountsIsNear(t *testing.T) {
	app := map[string]string{"app": "nginx"}
	set := &StatefulSet{Meta: Meta{Name: "web", Place: at("/a/b/c", "/a/b", 1)}, ServiceName: "nginx", PodLabels: app}
	var store Store
	for i, p := range []*Place{at("/a/b/c", "/a/b", 2), at("/a/b/x", "/a/b", 3), at("/a/x", "/a", 4), at("/z/x", "/z", 5), at("/a/b/c/x", "/a/b/c", 6)} {
		name := []string{"file", "dir", "parent", "other", "child"}[i]
		store.PutService(&Service{Meta: Meta{Name: name, Place: p}, Selector: app})
		store.PutStatefulSet(&StatefulSet{Meta: Meta{Name: name, Place: p}, ServiceName: "nginx"})
		store.PutStatefulSet(&StatefulSet{Meta: Meta{Name: name + "-selected", Place: p}, PodLabels: app})
		store.PutWorkload(&Workload{Meta: Meta{Name: name, Place: p}, PodLabels: app})
	}
	store.PutService(&Service{Meta: Meta{Name: "nginx", Place: at("/a/b/c", "/a/b", 9)}, Selector: app})
	own := at("/a/b/own", "/a/b", 10)
	store.PutService(&Service{Meta: Meta{Name: "nginx", Place: own}, Selector: app})
	store.PutStatefulSet(&StatefulSet{Meta: Meta{Name: "has-its-own", Place: own}, ServiceName: "nginx"})
	store.PutWorkload(&Workload{Meta: Meta{Name: "has-its-own", Place: own}, PodLabels: app})
	rel := Relate(&store, set)
	want := []string{"dir", "file", "parent"}
	for what, got := range map[string][]string{"services": names(rel.Services), "siblings": names(rel.Siblings), "workloads": names(rel.Workloads)} {
		if !slices.Equal(got, want) {
			t.Errorf("%s = %v", what, got)
		}
	}
	if got := names(rel.Selected); !slices.Equal(got, []string{"dir-selected", "file-selected", "parent-selected"}) {
		t.Errorf("selected = %v", got)
	}
}

func TestNearMisses(t *testing.T) {
	app := map[string]string{"app": "nginx"}
	var store Store
	put := func(name, ip string, selector map[string]string) {
		store.PutService(&Service{Meta: Meta{Name: name}, Type: "ClusterIP", ClusterIP: ip, Selector: selector})
	}
	put("web-headless", None, app)
	put("web", "10.0.0.1", app)
	put("web-headles", "10.0.0.2", nil)
	put("database", "10.0.0.3", nil)
	put("db", "10.0.0.4", app)
	put("other-headless", None, app)
	// Another part of a whole.
	put("headlesss", None, nil)
	set := &StatefulSet{Meta: Meta{Name: "web"}, ServiceName: "web-headlesss", PodLabels: app}
	if got := names(Relate(&store, set).NearMisses); !slices.Equal(got, []string{"web-headless", "other-headless"}) {
		t.Errorf("headless Services that select the pods = %v", got)
	}
	store.DeleteService("", "web-headless")
	store.DeleteService("", "other-headless")
	if got := names(Relate(&store, set).NearMisses); !slices.Equal(got, []string{"web", "web-headles"}) {
		t.Errorf("Services of nearly that name = %v", got)
	}
}

func TestSimilar(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"nginx", "nginxx", true}, {"nginx", "ngnix", false}, {"nginx-svc", "nginx", true}, {"release-nginx", "nginx", true},
		{"a", "b", false}, {"db", "dbs", false}, {"", "a", false}, {"postgres", "postgers", true}, {"web", "wab", true},
		// What both begin and end with says nothing.
		{"db-headless", "web-headless", false}, {"shop-db-headless", "shop-web-headless", false}, {"web-0", "web-1", false},
		{"shop-read", "shop-lead", true}, {"shop-ab", "shop-ac", false}, {"shop-a-x", "shop-b-x", false},
		{"wab-headless", "web-headless", true}, {"web-hedless", "web-headless", true}, {"webheadless", "web-headless", true},
		{"shop-cach-headless", "shop-cache-headless", true}, {"web-a-web", "web-web", false},
	} {
		if got := similar(tc.a, tc.b); got != tc.want {
			t.Errorf("similar(%q, %q) = %v", tc.a, tc.b, got)
		}
	}
}

func TestElsewhere(t *testing.T) {
	var store Store
	for _, ns := range []string{"b", "a", "default"} {
		store.PutService(&Service{Meta: Meta{Namespace: ns, Name: "nginx"}})
	}
	set := &StatefulSet{Meta: Meta{Namespace: "x", Name: "web"}, ServiceName: "nginx"}
	if got := Elsewhere(&store, set); !slices.Equal(got, []string{"a", "b", "default"}) {
		t.Errorf("elsewhere = %v", got)
	}
	set.Namespace = "a"
	if got := Elsewhere(&store, set); got != nil {
		t.Errorf("elsewhere = %v, though its own namespace has it", got)
	}
}

func TestGovernedBy(t *testing.T) {
	var store Store
	near := &Service{Meta: Meta{Name: "nginx", Place: at("a", "/a", 1)}}
	far := &Service{Meta: Meta{Name: "nginx", Place: at("b", "/b", 2)}}
	store.PutService(near)
	store.PutService(far)
	store.PutStatefulSet(&StatefulSet{Meta: Meta{Name: "web", Place: at("a", "/a", 3)}, ServiceName: "nginx"})
	store.PutStatefulSet(&StatefulSet{Meta: Meta{Name: "gone", Place: at("a", "/a", 4), Deleting: true}, ServiceName: "nginx"})
	if got := names(GovernedBy(&store, near)); !slices.Equal(got, []string{"web"}) {
		t.Errorf("near governs %v", got)
	}
	if got := names(GovernedBy(&store, far)); len(got) != 0 {
		t.Errorf("far governs %v", got)
	}
}

func TestGovern(t *testing.T) {
	app, place := map[string]string{"app": "web"}, at("/a/b", "/a", 1)
	var store Store
	put := func(name string, ip string, at *Place) *Service {
		s := &Service{Meta: Meta{Name: name, Place: at}, Type: "ClusterIP", ClusterIP: ip, Selector: app}
		store.PutService(s)
		return s
	}
	web := put("web", "", place)
	put("headless", None, at("/a/c", "/a", 2))
	put("client", "", at("/a/d", "/a", 3))
	put("far", None, at("/z/c", "/z", 4))
	for i, name := range []string{"governed", "other", "far"} {
		s := &StatefulSet{Meta: Meta{Name: name, Place: at("/a/b", "/a", 5+i)}, ServiceName: "x", PodLabels: app}
		switch name {
		case "governed":
			s.ServiceName = "web"
		case "far":
			s.Place = at("/z/b", "/z", 8)
		}
		store.PutStatefulSet(s)
	}
	store.PutWorkload(&Workload{Meta: Meta{Name: "proxy", Place: at("/a/e", "/a", 9)}, Kind: "Deployment", PodLabels: app})
	g := Govern(&store, web)
	if got := names(g.StatefulSets); !slices.Equal(got, []string{"governed"}) {
		t.Errorf("governs %v", got)
	}
	if got := names(g.Beside); !slices.Equal(got, []string{"headless"}) {
		t.Errorf("beside it %v", got)
	}
	var others []string
	for _, o := range g.Others {
		others = append(others, string(o.Kind)+"/"+o.Name)
	}
	if !slices.Equal(others, []string{"Deployment/proxy", "StatefulSet/other"}) {
		t.Errorf("others %v", others)
	}
}
