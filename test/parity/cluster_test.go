package parity

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

var cp *controlplane.ControlPlane

func TestMain(m *testing.M) { os.Exit(controlplane.Run(m, &cp, controlplane.Options{})) }

// cluster is the guarded control plane, started by the first test that needs
// it.
var cluster = sync.OnceValues(func() (*guarded.Guarded, error) {
	return guarded.Guard(context.Background(), cp, guarded.Options{})
})

func guard(t *testing.T) *guarded.Guarded {
	t.Helper()
	g, err := cluster()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// space is a namespace and what the API server said of requests in it.
type space struct {
	namespace string
	client    *dynamic.DynamicClient
	mu        sync.Mutex
	warnings  []string
}

// HandleWarningHeader keeps the warning.
func (s *space) HandleWarningHeader(_ int, _ string, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings = append(s.warnings, text)
}

func newSpace(t *testing.T, g *guarded.Guarded, labels map[string]string) *space {
	t.Helper()
	ns, err := g.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "parity-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := &space{namespace: ns.Name}
	c := rest.CopyConfig(g.Config)
	c.WarningHandler = s
	if s.client, err = dynamic.NewForConfig(c); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *space) resource(o *unstructured.Unstructured) dynamic.ResourceInterface {
	gvk := o.GroupVersionKind()
	return s.client.Resource(schema.GroupVersionResource{
		Group: gvk.Group, Version: gvk.Version, Resource: strings.ToLower(gvk.Kind) + "s",
	}).Namespace(s.namespace)
}

func (s *space) create(t *testing.T, o *unstructured.Unstructured) error {
	_, err := s.resource(o).Create(t.Context(), o.DeepCopy(), metav1.CreateOptions{})
	return err
}

var ruleInBrackets = regexp.MustCompile(`\[([a-z-]+)\]`)

// rulesIn are the rules that texts name, each once.
func rulesIn(texts ...string) []string {
	var out []string
	for _, text := range texts {
		for _, m := range ruleInBrackets.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(out, m[1]) {
				out = append(out, m[1])
			}
		}
	}
	slices.Sort(out)
	return out
}

// inOrder puts Services before StatefulSets, or after.
func inOrder(objects []*unstructured.Unstructured, first string) []*unstructured.Unstructured {
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		rank := map[bool]int{true: 0, false: 1}
		return rank[a.GetKind() == first] - rank[b.GetKind() == first]
	})
	return objects
}

// served says whether a cluster can hold the fixture: not if the API server no
// longer knows its versions, nor if it has two objects of one name.
func served(objects []*unstructured.Unstructured) bool {
	seen := map[string]bool{}
	for _, o := range objects {
		name := o.GetKind() + "/" + o.GetName()
		if seen[name] || strings.HasPrefix(o.GetAPIVersion(), "apps/v1beta") {
			return false
		}
		seen[name] = true
	}
	return true
}

// inAdmission are those of the rules that the webhook can name. It doesn't know
// Deployments and the like.
func inAdmission(rules []string, objects []*unstructured.Unstructured) []string {
	unknown := slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() != "Service" && o.GetKind() != "StatefulSet"
	})
	return slices.DeleteFunc(rules, func(rule string) bool { return unknown && rule == "selector-too-broad" })
}

// TestParity sends the fixtures of manifests through lint and through the API
// server, with injection off: what lint rejects is refused there, by stsguard
// or by the API server's own validation, what it accepts goes through; and
// where a namespace only warns, both name the same rules.
func TestParity(t *testing.T) {
	g := guard(t)
	mutating := g.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	off, err := mutating.Get(t.Context(), "stsguard", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rules := off.Webhooks[0].Rules
	setRules := func(to int) {
		off.Webhooks[0].Rules = rules[:to]
		if off, err = mutating.Update(context.Background(), off, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	setRules(0)
	t.Cleanup(func() { setRules(1) })
	waitForInjection(t, g, false)

	j := newJudge(t)
	for _, f := range fixtures(t) {
		if f.requests {
			continue
		}
		t.Run(f.name(), func(t *testing.T) {
			objects := objects(t, f.path)
			if !served(objects) {
				return
			}
			dir, file := filepath.Split(f.path)
			r := lintFile(t, j, absolute(t, dir), file, policies.Strict)
			want := inAdmission(named(r), objects)

			enforced := newSpace(t, g, nil)
			var refusals []string
			for _, o := range inOrder(objects, "Service") {
				waitForCache(t, g)
				if err := enforced.create(t, o); err != nil {
					refusals = append(refusals, err.Error())
					checkRefusal(t, err)
				}
			}
			if (len(refusals) > 0) != rejects(r) {
				t.Errorf("lint found %v, and the API server refused %q", named(r), refusals)
			}

			warned := newSpace(t, g, map[string]string{"stsguard.dev/enforce": "none"})
			said := []string{}
			for _, o := range inOrder(objects, "Service") {
				waitForCache(t, g)
				if err := warned.create(t, o); err != nil {
					if !apierrors.IsInvalid(err) {
						t.Errorf("a namespace that only warns: %v", err)
					}
					// The API server's own validation speaks for this rule.
					said = append(said, "[service-invalid]")
				}
			}
			if got := rulesIn(append(said, warned.warnings...)...); !slices.Equal(got, want) {
				t.Errorf("lint names %v, and the API server %v (%q)", want, got, warned.warnings)
			}
		})
	}
}

// checkRefusal tells a denial and a validation error from anything else.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	denied := apierrors.IsForbidden(err) && strings.Contains(err.Error(), `admission webhook "validate.stsguard.dev" denied the request`)
	if !denied && !apierrors.IsInvalid(err) {
		t.Errorf("refused by neither stsguard nor validation: %v", err)
	}
}

func absolute(t *testing.T, dir string) string {
	t.Helper()
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// waitForInjection waits until the API server has taken a change of the
// webhook configuration over.
func waitForInjection(t *testing.T, g *guarded.Guarded, on bool) {
	t.Helper()
	s := newSpace(t, g, nil)
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": "probe-headless"},
		"spec": map[string]any{
			"selector": map[string]any{"app": "probe"},
			"ports":    []any{map[string]any{"port": int64(80)}},
		},
	}}
	for t.Context().Err() == nil {
		got, err := s.resource(o).Create(t.Context(), o.DeepCopy(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Fatal(err)
		}
		if ip, _, _ := unstructured.NestedString(got.Object, "spec", "clusterIP"); (ip == "None") == on {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(t.Context().Err())
}

// TestInjection sends the fixtures, the StatefulSets first, into namespaces
// that only warn, with injection on, and keeps a list of what it mends.
func TestInjection(t *testing.T) {
	g := guard(t)
	waitForInjection(t, g, true)
	var got bytes.Buffer
	for _, f := range fixtures(t) {
		objects := objects(t, f.path)
		if f.requests || !served(objects) {
			continue
		}
		s := newSpace(t, g, map[string]string{"stsguard.dev/enforce": "none"})
		for _, o := range inOrder(objects, "StatefulSet") {
			waitForCache(t, g)
			asked, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP")
			if err := s.create(t, o); err != nil {
				if !apierrors.IsInvalid(err) {
					t.Errorf("%s: %v", f.name(), err)
				}
				continue
			}
			if o.GetKind() != "Service" {
				continue
			}
			stored, err := s.resource(o).Get(t.Context(), o.GetName(), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ip, _, _ := unstructured.NestedString(stored.Object, "spec", "clusterIP")
			if asked == "" && ip == "None" {
				fmt.Fprintf(&got, "%s: Service %q is made headless\n", f.name(), o.GetName())
				if !slices.ContainsFunc(s.warnings, func(w string) bool { return strings.Contains(w, "stsguard has set clusterIP: None") }) {
					t.Errorf("%s: no warning says so: %q", f.name(), s.warnings)
				}
			}
		}
	}
	const kept = "testdata/mended.txt"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(kept, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(kept)
	if err != nil {
		t.Fatalf("%v (UPDATE=1 writes it)", err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// waitForCache waits until the webhook has heard of every Service and
// StatefulSet: what it injects follows from what it knows, and what it allows
// may.
func waitForCache(t *testing.T, g *guarded.Guarded) {
	t.Helper()
	services, err := g.Client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sets, err := g.Client.AppsV1().StatefulSets("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for t.Context().Err() == nil {
		metrics, err := g.Server.Scrape(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		knows := func(kind string, count int) bool {
			return strings.Contains(metrics, fmt.Sprintf("stsguard_cached_objects{kind=%q} %d\n", kind, count))
		}
		if knows("Service", len(services.Items)) && knows("StatefulSet", len(sets.Items)) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(t.Context().Err())
}

// TestRequests sends the fixtures of changes, request by request.
func TestRequests(t *testing.T) {
	g := guard(t)
	for _, f := range fixtures(t) {
		if !f.requests {
			continue
		}
		t.Run(f.name(), func(t *testing.T) {
			s := newSpace(t, g, nil)
			var found bool
			for i, doc := range documents(t, f.path) {
				o := &unstructured.Unstructured{Object: doc["object"].(map[string]any)}
				s.warnings = nil
				waitForCache(t, g)
				preflight := s.preflight(t, g, doc)
				var err error
				switch op := doc["operation"]; op {
				case "create":
					err = s.create(t, o)
				case "update":
					err = s.update(t, o)
				case "delete":
					err = s.resource(o).Delete(t.Context(), o.GetName(), metav1.DeleteOptions{})
				default:
					t.Fatalf("request %d: operation %q", i+1, op)
				}
				outcome := "allow"
				switch {
				case err != nil:
					checkRefusal(t, err)
					outcome = "deny"
					found = found || slices.Contains(rulesIn(err.Error()), f.rule) || f.refused && apierrors.IsInvalid(err)
				case len(rulesIn(s.warnings...)) > 0:
					outcome = "warn"
					found = found || slices.Contains(rulesIn(s.warnings...), f.rule)
				}
				preflight.check(t, s, o, err)
				if outcome != doc["expect"] {
					t.Errorf("request %d: expected %v, got %s (%v, %q)", i+1, doc["expect"], outcome, err, s.warnings)
				}
			}
			if found != f.fails {
				t.Errorf("named by some request: %v", found)
			}
		})
	}
}

// update sends the object as it is in the fixture, over what is stored.
func (s *space) update(t *testing.T, o *unstructured.Unstructured) error {
	stored, err := s.resource(o).Get(t.Context(), o.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	next := o.DeepCopy()
	next.SetResourceVersion(stored.GetResourceVersion())
	_, err = s.resource(o).Update(t.Context(), next, metav1.UpdateOptions{})
	return err
}
