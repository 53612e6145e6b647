package parity

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	live "github.com/stsguard/stsguard/inventory/cluster"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/test/guarded"
)

var statefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}

// predicted is what a preflight says of one request.
type predicted struct {
	report *report.Report
	step   report.Step
}

// ask runs a preflight of the objects in the namespace.
func (s *space) ask(t *testing.T, g *guarded.Guarded, objects ...*unstructured.Unstructured) *report.Report {
	t.Helper()
	clients, err := live.Connect(g.Config)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, o := range objects {
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "---\n%s", data)
	}
	r := lint.Run(t.Context(), lint.Options{
		Paths: []string{"-"}, Reading: manifest.Options{Namespace: s.namespace, Stdin: &text},
		Judge: newJudge(t), Cluster: live.NewLive(clients),
	})
	for _, e := range r.Errors {
		t.Errorf("preflight: %+v", e)
	}
	return r
}

// check holds what a preflight said of a request against what came of it.
func (p *predicted) check(t *testing.T, s *space, o *unstructured.Unstructured, err error) {
	t.Helper()
	if p == nil {
		return
	}
	want := report.Allowed
	switch {
	case apierrors.IsInvalid(err):
		want = report.Refused
	case err != nil:
		want = report.Denied
	}
	if p.step.Outcome != want {
		t.Errorf("preflight says %+v, and the API server %v", p.step, err)
	}
	if want == report.Refused {
		return // by validation, which names no rule and comes before any
	}
	said := slices.Clone(s.warnings)
	if err != nil {
		said = append(said, err.Error())
	}
	injected := slices.ContainsFunc(said, func(w string) bool { return strings.Contains(w, "stsguard has set clusterIP: None") })
	if injected != (p.step.Injected != "") {
		t.Errorf("preflight says that %q is injected, and the API server %q", p.step.Injected, said)
	}
	said = slices.DeleteFunc(said, func(w string) bool { return strings.Contains(w, "stsguard has set") })
	rules := slices.Sorted(slices.Values(p.step.Rules))
	if got := rulesIn(said...); !slices.Equal(got, rules) {
		t.Errorf("preflight of %s %q names %v, and the API server %v (%q)", o.GetKind(), o.GetName(), rules, got, said)
	}
}

// preflight asks beforehand what will come of a fixture's request; nil for one
// that an apply doesn't make.
func (s *space) preflight(t *testing.T, g *guarded.Guarded, doc map[string]any) *predicted {
	t.Helper()
	if doc["operation"] == "delete" {
		return nil
	}
	r := s.ask(t, g, &unstructured.Unstructured{Object: doc["object"].(map[string]any)})
	if len(r.Preflight) != 1 || len(r.Preflight[0].Steps) != 1 {
		t.Fatalf("a preflight of one object: %+v", r.Preflight)
	}
	step := r.Preflight[0].Steps[0]
	if step.Operation != doc["operation"] {
		t.Errorf("preflight takes the request for an %s", step.Operation)
	}
	return &predicted{r, step}
}

// TestPreflight asks beforehand what an apply of each fixture would do, and
// then applies it.
func TestPreflight(t *testing.T) {
	g := guard(t)
	waitForInjection(t, g, true)
	for _, f := range fixtures(t) {
		objects := objects(t, f.path)
		if f.requests || !served(objects) {
			continue
		}
		t.Run(f.name(), func(t *testing.T) {
			s := newSpace(t, g, nil)
			objects = inOrder(slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
				return o.GetKind() != "Service" && o.GetKind() != "StatefulSet"
			}), "Service")
			for _, o := range objects {
				// All of them are applied to this namespace.
				o.SetNamespace("")
			}
			r := s.ask(t, g, objects...)
			told := r.Preflight[0]
			if len(told.Steps) != len(objects) {
				t.Fatalf("%d steps for %d objects", len(told.Steps), len(objects))
			}
			for i, o := range objects {
				waitForCache(t, g)
				s.warnings = nil
				p := predicted{r, told.Steps[i]}
				if p.step.Object.Name != o.GetName() || p.step.Operation != "create" {
					t.Fatalf("step %d is %+v, want %s %q", i+1, p.step, o.GetKind(), o.GetName())
				}
				p.check(t, s, o, s.create(t, o))
			}
			for _, end := range told.End {
				_, err := s.client.Resource(statefulSets).Namespace(s.namespace).Get(t.Context(), end.Object.Name, metav1.GetOptions{})
				if (err != nil) != (end.State == report.Absent) {
					t.Errorf("in the end %q is %s, and the API server says %v", end.Object.Name, end.State, err)
				}
			}
		})
	}
}
