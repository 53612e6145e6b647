package policies

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/stsguard/stsguard/inventory"
)

// TestDemands shows which conditions are understood. What isn't may hold.
func TestDemands(t *testing.T) {
	input := ast.MustParseTerm(`{"a": {"b": false, "list": ["x"], "none": [], "text": "four", "null": null}, "n": 1}`)
	find := func(path ast.Ref) ast.Value {
		if path.HasPrefix(parametersRef) {
			return ast.MustParseTerm(`["-headless", "-peers"]`).Value
		}
		v, err := input.Value.Find(path[1:])
		if err != nil {
			return nil
		}
		return v
	}
	for rules, want := range map[string]bool{
		"findings contains 1 if input.a.b == false":                                            true,
		"findings contains 1 if input.a.b == true":                                             false,
		"findings contains 1 if input.a.b":                                                     false,
		"findings contains 1 if input.a.c":                                                     false,
		"findings contains 1 if input.a.text":                                                  true,
		"findings contains 1 if input.a.null":                                                  true,
		"findings contains 1 if input.a.c != 1":                                                false,
		"findings contains 1 if 2 > input.n":                                                   true,
		"findings contains 1 if 1 > input.n":                                                   false,
		"findings contains 1 if input.a.text != input.a.list[0]":                               true,
		"findings contains 1 if input.a.text != input.a.text":                                  false,
		"findings contains 1 if input.a.list[0]":                                               true,
		"findings contains 1 if input.a.list[1]":                                               false,
		"findings contains 1 if count(input.a.list) > 0":                                       true,
		"findings contains 1 if count(input.a.none) > 0":                                       false,
		"findings contains 1 if count(input.a.text) > 4":                                       false,
		"findings contains 1 if count(input.a.text) >= 4":                                      true,
		"findings contains 1 if count(input.a.c) == 0":                                         false,
		"findings contains 1 if count(input.n) == 7":                                           true, // which is OPA's to refuse
		"findings contains 1 if { input.n == 1; input.n == 2 }":                                false,
		"findings contains 1 if input.n == 2\nfindings contains 2 if input.n == 1":             true,
		"findings contains 1 if input.n == 2\nfindings contains 2 if input.n == 3":             false,
		"findings contains 1 if input.n == 2\nfindings contains 2":                             true,
		"findings := 1 if { input.n == 2 } else := 2 if { input.n == 1 }":                      true,
		"findings := 1 if { input.n == 2 } else := 2 if { input.n == 3 }":                      false,
		"default findings := 1\nfindings := 2 if input.n == 2":                                 true,
		"findings contains 1 if not input.n == 1":                                              true,
		"findings contains 1 if input.n == 2 with input.n as 2":                                true,
		"findings contains 1 if _x\n_x if input.n == 2":                                        false,
		"findings contains 1 if _x\n_x if input.n == 1":                                        true,
		"findings contains 1 if _x\n_x if _x":                                                  true,
		"findings contains 1 if _x\n_x if _y\n_y if input.n == 2":                              false,
		"findings contains 1 if _x\n_x := 1 if { input.n == 2 } else := 2 if { input.n == 1 }": true,
		"findings contains 1 if _x\n_x := 1 if { input.n == 2 } else := 2 if { input.n == 3 }": false,
		"findings contains 1 if _x\ndefault _x := 1\n_x := 2 if input.n == 2":                  true,
		"findings contains 1 if { _x := input.n; _x }\n_x if input.n == 2":                     true,
		"findings contains 1 if { some _x; _x }\n_x if input.n == 2":                           true,
		"findings contains 1 if _x\n_x contains 1 if input.n == 2":                             true, // an empty set is there, too
		"findings contains 1 if _x\n_x[k] := 1 if { some k in input.a.none }":                  true,
		"findings contains 1 if _x\n_x.a if input.n == 2":                                      true,
		"findings contains 1 if { [_x, _] := [true, true]; _x }\n_x if input.n == 2":           true,
		"findings contains 1 if { some [_x, _] in [[1, 2]]; _x }\n_x if input.n == 2":          true,
		`findings contains 1 if { some x in input.a.none with input.a.none as [2]; x == 2 }`:   true,
		"import input.n as _x\nfindings contains 1 if _x\n_x if input.n == 2":                  true,
		"findings.a contains 1 if input.n == 2":                                                true,
		"findings contains 1 if _x()\n_x() if input.n == 2":                                    true,
		"findings contains 1 if input.n in {1, 2}":                                             true,
		"findings contains 1 if input.n in [2, 3]":                                             false,
		"findings contains 1 if input.n in input.a.list":                                       false,
		`findings contains 1 if "x" in input.a.list`:                                           true,
		"findings contains 1 if input.n in {2, input.n}":                                       true,
		"findings contains 1 if input.a[input.a.text] == 1":                                    true,
		`findings contains 1 if lower(input.a.text) == "four"`:                                 true,
		`findings contains 1 if lower(input.a.text) == "Four"`:                                 false,
		"findings contains 1 if lower(input.n) == 2":                                           true,
		`findings contains 1 if { some x in input.a.list; endswith("axe", x) }`:                false,
		`findings contains 1 if { some x in input.a.list; endswith("ax", x) }`:                 true,
		`findings contains 1 if { some x in input.a.list; endswith(input.n, x) }`:              true,
		`findings contains 1 if { some i, x in input.a.list; x == 2; i == 3 }`:                 true,
		`findings contains 1 if { some x in data.parameters.y; endswith("web-peers", x) }`:     true,
		`findings contains 1 if { some x in data.parameters.y; endswith("web", x) }`:           false,
		`findings contains 1 if { some x in data.other; endswith("web", x) }`:                  true,
		"findings contains 1 if { some i; input.a.list[i] == 2 }":                              true,
		"findings contains 1 if { x := input.n; x == 2 }":                                      true,
		"findings contains 1 if { every x in input.a.list { x == 1 } }":                        true,
		"import data.lib.count\nfindings contains 1 if count(input.a.none) > 0":                true,
		"import data.lib.x as count\nfindings contains 1 if count(input.a.none) > 0":           true,
		"findings contains 1 if false":                                                         false,
		"_other contains 1 if input.n == 1\nfindings contains 1 if input.n == 2":               false,
		"findings contains 1 if { input.n == 2; some x in input.a.list; startswith(x, \"x\")}": false,
	} {
		m, err := ast.ParseModuleWithOpts("x", "package x\n"+rules, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatalf("%s: %v", rules, err)
		}
		if got := (&Rule{demands: demands(m)}).mayFind(find); got != want {
			t.Errorf("%s: may find something: %v, want %v", rules, got, want)
		}
	}
}

// TestQuietIsRight holds what is found against what is found when OPA is asked
// about everything.
func TestQuietIsRight(t *testing.T) {
	rules, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	asking := &Rules{compiler: rules.compiler}
	for _, r := range rules.Catalog {
		always := *r
		always.demands = []body{{}}
		asking.Catalog = append(asking.Catalog, &always)
	}
	quiet, full := rules.Engine(nil), asking.Engine(nil)
	random := rand.New(rand.NewPCG(7, 8))
	rounds := 1_000
	if testing.Short() {
		rounds = 500
	}
	found := map[string]int{}
	for range rounds {
		w := randomWorld(random)
		for what, judge := range map[string]func(e *Engine) ([]Finding, error){
			"relation": func(e *Engine) ([]Finding, error) {
				return e.Relation(t.Context(), inventory.Relate(w.store, w.set), Extent{true, true})
			},
			"service": func(e *Engine) ([]Finding, error) {
				return e.Service(t.Context(), inventory.Govern(w.store, w.service), Extent{true, true})
			},
			"change": func(e *Engine) ([]Finding, error) { return e.Change(t.Context(), w.change, Extent{true, true}) },
		} {
			got, err := judge(quiet)
			want, err2 := judge(full)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if got, want := sayings(got), sayings(want); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: found %q, want %q", what, got, want)
			}
			found[what] += min(1, len(got))
		}
	}
	for what, n := range found {
		if n == 0 || n == rounds {
			t.Errorf("of %d, something is wrong with %d: %s", rounds, n, what)
		}
	}
}

func sayings(findings []Finding) (out []string) {
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s %s %s %s", f.Rule.ID, f.Object, f.Path, f.Message))
	}
	return out
}

type world struct {
	store   *inventory.Store
	set     *inventory.StatefulSet
	service *inventory.Service
	change  *inventory.Change
}

// randomWorld has a StatefulSet and some Services, of which little is wrong.
func randomWorld(random *rand.Rand) world {
	of := func(values ...string) string { return values[random.IntN(len(values))] }
	labels := func() map[string]string {
		out := map[string]string{}
		for _, key := range []string{"app", "app.kubernetes.io/name"} {
			if random.IntN(5) > 0 {
				out[key] = of("web", "web", "web", "web", "db")
			}
		}
		return out
	}
	newSet := func(name string) *inventory.StatefulSet {
		return &inventory.StatefulSet{
			Meta: inventory.Meta{Namespace: "shop", Name: name}, ServiceName: of("web", "web", "web", "web-headless", ""),
			Selector: labels(), PodLabels: labels(), Replicas: int32(random.IntN(3)), MentionsOwnPods: random.IntN(4) == 0,
			Ports: []inventory.ContainerPort{{Name: "http", Port: 80, Protocol: "TCP"}},
		}
	}
	newService := func(name string) *inventory.Service {
		s := &inventory.Service{
			Meta: inventory.Meta{Namespace: "shop", Name: name}, Type: of("ClusterIP", "ClusterIP", "ClusterIP", "ClusterIP", "NodePort", "ExternalName"),
			ClusterIP: of("None", "None", "None", "", "10.0.0.1", "none"), Selector: labels(), PublishNotReadyAddresses: random.IntN(2) == 0,
			Ports: []inventory.ServicePort{{Name: of("http", ""), Protocol: "TCP", Port: 80, TargetPort: of("80", "http", "8080")}},
		}
		if random.IntN(8) == 0 {
			s.ClusterIPs = []string{of("None", "10.0.0.1")}
		}
		if random.IntN(8) == 0 {
			s.Annotations = map[string]string{inventory.AnnotationPrefix + "governing": of("true", "false")}
		}
		return s
	}
	w := world{store: &inventory.Store{}, set: newSet(of("web", "web", "web", strings.Repeat("w", 53)))}
	w.store.PutStatefulSet(w.set)
	if random.IntN(4) == 0 {
		w.store.PutStatefulSet(newSet("other"))
	}
	if random.IntN(6) == 0 {
		w.store.PutWorkload(&inventory.Workload{Meta: inventory.Meta{Namespace: "shop", Name: "front"}, Kind: "Deployment", PodLabels: labels()})
	}
	for _, name := range []string{"web", "web-headless", "client"} {
		if s := newService(name); w.service == nil || random.IntN(2) == 0 {
			w.store.PutService(s)
			w.service = s
		}
	}
	w.change = &inventory.Change{ServiceBefore: w.service, ServiceAfter: newService(w.service.Name)}
	switch random.IntN(4) {
	case 0:
		w.change.ServiceAfter = nil
		w.change.StatefulSets = inventory.GovernedBy(w.store, w.service)
	case 1:
		w.change = &inventory.Change{StatefulSetBefore: w.set, StatefulSetAfter: newSet(w.set.Name)}
	case 2:
		*w.change.ServiceAfter = *w.service
	}
	return w
}
