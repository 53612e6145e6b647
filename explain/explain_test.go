package explain

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
)

var app = map[string]string{"app": "nginx"}

// world is a cluster with StatefulSet web, and Service nginx for it.
func world(change func(*inventory.StatefulSet, *inventory.Service)) World {
	set := &inventory.StatefulSet{
		Meta: inventory.Meta{Namespace: "default", Name: "web"}, ServiceName: "nginx", PodLabels: app, Replicas: 2,
	}
	service := &inventory.Service{
		Meta: inventory.Meta{Namespace: "default", Name: "nginx"}, Type: "ClusterIP", ClusterIP: inventory.None, Selector: app,
	}
	if change != nil {
		change(set, service)
	}
	var store inventory.Store
	store.PutStatefulSet(set)
	store.PutService(service)
	return World{Reader: &store, Zone: inventory.Zone{ClusterDomain: "cluster.local"}}
}

func explained(t *testing.T, w World, errs ...report.Error) (*Explanation, string) {
	t.Helper()
	e := New(w.Zone.ClusterDomain, Explain(w, "default", "web"), errs)
	var b strings.Builder
	if err := e.WriteText(&b, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	return e, b.String()
}

// TestHeadlines: the first line says how the pods fare, whatever their number.
func TestHeadlines(t *testing.T) {
	clusterIP := func(_ *inventory.StatefulSet, s *inventory.Service) { s.ClusterIP = "10.96.0.7" }
	alias := func(_ *inventory.StatefulSet, s *inventory.Service) { s.Type = "ExternalName" }
	one := func(_ *inventory.StatefulSet, s *inventory.Service) {
		s.Selector = map[string]string{"apps.kubernetes.io/pod-index": "1"}
	}
	both := func(_ *inventory.StatefulSet, s *inventory.Service) {
		s.ClusterIP, s.Selector = "10.96.0.7", map[string]string{"apps.kubernetes.io/pod-index": "0"}
	}
	revision := func(_ *inventory.StatefulSet, s *inventory.Service) {
		s.Selector = map[string]string{"controller-revision-hash": "web-5f"}
	}
	right := func(*inventory.StatefulSet, *inventory.Service) {}
	for name, x := range map[string]struct {
		change    func(*inventory.StatefulSet, *inventory.Service)
		none      string
		pod, pods string
	}{
		"right": {right, "it has no replicas; the DNS names of its pods are guaranteed",
			"the DNS name of its pod is guaranteed", "the DNS names of its 3 pods are guaranteed"},
		"cluster IP": {clusterIP, "it has no replicas; the DNS names of its pods work on CoreDNS, but are not guaranteed",
			"the DNS name of its pod works on CoreDNS, but is not guaranteed", "the DNS names of its 3 pods work on CoreDNS, but are not guaranteed"},
		"alias": {alias, "it has no replicas; its pods would have no DNS names",
			"its pod has no DNS name", "none of its 3 pods has a DNS name"},
		"one pod": {one, "it has no replicas; its pods would have no DNS names",
			"its pod has no DNS name", "of the DNS names of its 3 pods, 1 is guaranteed"},
		"cluster IP over one pod": {both, "it has no replicas; the DNS names of its pods work on CoreDNS, but are not guaranteed",
			"the DNS name of its pod works on CoreDNS, but is not guaranteed", "the DNS names of its 3 pods are not guaranteed"},
		"a revision": {revision, "it has no replicas; whether the DNS names of its pods resolve can't be told",
			"whether the DNS name of its pod resolves can't be told", "whether the DNS names of its 3 pods resolve can't be told"},
	} {
		for replicas, want := range map[int32]string{0: x.none, 1: x.pod, 3: x.pods} {
			w := world(func(set *inventory.StatefulSet, s *inventory.Service) {
				x.change(set, s)
				set.Replicas = replicas
			})
			_, text := explained(t, w)
			if first, _, _ := strings.Cut(text, "\n"); first != `StatefulSet "web": `+want {
				t.Errorf("%s, %d replicas: %s", name, replicas, first)
			}
		}
	}
}

func TestUnreadServices(t *testing.T) {
	w := world(nil)
	w.Zone.NoServices = true
	w.Reader.(*inventory.Store).DeleteService("default", "nginx")
	e, text := explained(t, w, report.Error{Message: "may not list services"})
	if !strings.HasPrefix(text, "error: may not list services\n\nStatefulSet") || !strings.Contains(text, `governed by Service "nginx", which may not be read.`) {
		t.Errorf("got\n%s", text)
	}
	if e.Guaranteed() {
		t.Error("what can't be told is guaranteed")
	}
}

// TestOutputIsBounded: a StatefulSet may have billions of pods.
func TestOutputIsBounded(t *testing.T) {
	e, text := explained(t, world(func(set *inventory.StatefulSet, _ *inventory.Service) {
		set.Replicas, set.OrdinalsStart = math.MaxInt32, math.MaxInt32
	}))
	if s := e.StatefulSets[0]; len(s.Pods) != 1000 || s.PodsOmitted != math.MaxInt32-1000 || s.Pods[999].Ordinal != math.MaxInt32+999 {
		t.Errorf("%d pods and %d more", len(s.Pods), s.PodsOmitted)
	}
	if lines := strings.Count(text, "\n"); lines > 20 {
		t.Errorf("%d lines:\n%s", lines, text)
	}
}

// TestTextIsPrintable: names come from files that anybody may have written.
func TestTextIsPrintable(t *testing.T) {
	evil := "\x1b[31m\n\tred"
	_, text := explained(t, world(func(set *inventory.StatefulSet, s *inventory.Service) {
		set.ServiceName, set.Namespace = evil, "default"
		s.Name, s.Type, s.ExternalName = evil, "ExternalName", evil
		s.Ports = []inventory.ServicePort{{Name: evil, Protocol: evil}}
	}))
	if i := strings.IndexFunc(strings.ReplaceAll(text, "\n", ""), func(r rune) bool { return r < ' ' }); i >= 0 || strings.Contains(text, "\nred") {
		t.Errorf("got %q", text)
	}
}

// TestJSONIsTotal: whoever reads the JSON never finds a null list.
func TestJSONIsTotal(t *testing.T) {
	for name, change := range map[string]func(*inventory.StatefulSet, *inventory.Service){
		"right": nil,
		"nothing": func(set *inventory.StatefulSet, s *inventory.Service) {
			set.ServiceName, set.Replicas, s.Selector = "", 0, nil
		},
		"one other":  func(set *inventory.StatefulSet, s *inventory.Service) { set.ServiceName = "web" },
		"no matches": func(_ *inventory.StatefulSet, s *inventory.Service) { s.Selector = nil },
	} {
		e, _ := explained(t, world(change))
		var b strings.Builder
		if err := e.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if strings.Contains(line, "null") && !strings.Contains(line, `"governing": null`) {
				t.Errorf("%s: %s", name, line)
			}
		}
		if !json.Valid([]byte(b.String())) {
			t.Errorf("%s: no JSON", name)
		}
	}
	e, _ := explained(t, World{Reader: &inventory.Store{}})
	if out, err := json.Marshal(e); err != nil || strings.Contains(string(out), "null") {
		t.Errorf("nothing at all: %s, %v", out, err)
	}
}

// TestReasonsAreRules: where a rule finds the same, it is what says what to do.
func TestReasonsAreRules(t *testing.T) {
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{
		inventory.ReasonNameMissing, inventory.ReasonServiceNotFound, inventory.ReasonExternalName, inventory.ReasonWithoutSelector,
		inventory.ReasonSelectorMismatch, inventory.ReasonNotHeadless, inventory.ReasonNameTooLong,
	} {
		if rules.Catalog.Rule(code) == nil {
			t.Errorf("there is no rule %s", code)
		}
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestOutputThatCannotBeWritten(t *testing.T) {
	e, _ := explained(t, world(nil))
	for name, write := range map[string]func(io.Writer) error{
		"json": e.WriteJSON,
		"text": func(w io.Writer) error { return e.WriteText(w, func(string) string { return "" }) },
	} {
		if err := write(full{}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRemediesAreSaidOnce, though several reasons ask for the same.
func TestRemediesAreSaidOnce(t *testing.T) {
	w := world(func(set *inventory.StatefulSet, s *inventory.Service) {
		s.ClusterIP, s.Selector = "10.96.0.7", map[string]string{"app": "x"}
	})
	e := New("cluster.local", Explain(w, "default", "web"), nil)
	var asked []string
	var b strings.Builder
	if err := e.WriteText(&b, func(code string) string {
		asked = append(asked, code)
		return "Mend it."
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"selector-mismatch", "service-not-headless"}; !slices.Equal(asked, want) || strings.Count(b.String(), "Fix: Mend it.\n") != 1 {
		t.Errorf("asked for %v:\n%s", asked, b.String())
	}
}
