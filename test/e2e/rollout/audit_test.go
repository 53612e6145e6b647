package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rules are the ids of rules, by the object that breaks them, as in
// statefulset/web.
type rules map[string][]string

// finding is one of audit's report.
type finding struct {
	Rule        string
	Object      struct{ Kind, Name string }
	StatefulSet string
	Related     []struct{ Object struct{ Kind, Name string } }
	Status      string
}

func (f *finding) object() string { return strings.ToLower(f.Object.Kind) + "/" + f.Object.Name }

// audit runs it and returns what it prints.
func (o *operator) audit(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), o.stsguard, append([]string{"audit"}, args...)...)
	c.Dir, c.Env = o.dir, o.env
	out, err := c.Output()
	if code := c.ProcessState.ExitCode(); code > 1 {
		t.Fatalf("audit %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// predicted is what audit says would be denied in a namespace if it was created
// now, and what would be warned of: all that is denied, and more.
func (o *operator) predicted(t *testing.T, ns string, args ...string) (denied, warned rules) {
	t.Helper()
	args = append([]string{"-n", ns}, args...)
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(o.audit(t, append(args, "-o", "json")...)), &report); err != nil {
		t.Fatal(err)
	}
	// Which of them deny, the table says.
	denies := map[string]bool{}
	for line := range strings.Lines(o.audit(t, append(args, "-o", "table")...)) {
		if cells := strings.Fields(line); len(cells) > 3 && cells[0] == ns {
			denies[cells[1]+" "+cells[3]] = cells[2] == "deny"
		}
	}
	sets, err := o.client.AppsV1().StatefulSets(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	denied, warned = rules{}, rules{}
	add := func(f *finding, object string) {
		if denies[f.object()+" "+f.Rule] {
			denied.add(object, f.Rule)
		}
		warned.add(object, f.Rule)
	}
	for _, f := range report.Findings {
		if f.Status != "open" {
			continue
		}
		if _, ok := denies[f.object()+" "+f.Rule]; !ok {
			t.Errorf("the table doesn't show %s of %s", f.Rule, f.object())
		}
		add(&f, f.object())
		for _, s := range sets.Items {
			// It shows when the StatefulSet is created, and of a Service's findings
			// one is told for all that it governs.
			if f.Object.Kind == "Service" && (f.StatefulSet == s.Name || f.StatefulSet != "" && s.Spec.ServiceName == f.Object.Name) {
				add(&f, "statefulset/"+s.Name)
			}
		}
		for _, r := range f.Related {
			// A Service is asked what is wrong with it, which a name isn't.
			if f.Object.Kind == "StatefulSet" && r.Object.Kind == "Service" && f.Rule != "name-too-long" {
				add(&f, "service/"+r.Object.Name)
			}
		}
	}
	return denied, warned
}

func (r rules) add(object, rule string) {
	if !slices.Contains(r[object], rule) {
		r[object] = append(r[object], rule)
		slices.Sort(r[object])
	}
}

// check compares two, object by object.
func (r rules) check(t *testing.T, what string, want rules) {
	t.Helper()
	objects := maps.Clone(want)
	maps.Copy(objects, r)
	for _, object := range slices.Sorted(maps.Keys(objects)) {
		if !slices.Equal(r[object], want[object]) {
			t.Errorf("%s of %s: %v, audit says %v", what, object, r[object], want[object])
		}
	}
}

var (
	deniedRule = regexp.MustCompile(`(?m)\[([a-z-]+)\]$`)
	warnedRule = regexp.MustCompile(`(?m)^\[([a-z-]+)\]`)
)

// anew is what became of a namespace's objects when they were deleted and created
// once more: the rules that denied the one or the other, and those that at least
// warned of a creation.
type anew struct{ deletion, denied, warned rules }

// again deletes each object of a namespace and creates it once more, as it was,
// while all others are there. What is denied is done without enforcement then.
func (o *operator) again(t *testing.T, ns string) anew {
	t.Helper()
	out := anew{rules{}, rules{}, rules{}}
	// try does something, and says whether stsguard denied it.
	try := func(object string, denied rules, do func() error) {
		t.Helper()
		err := do()
		switch {
		case err == nil || apierrors.IsNotFound(err):
			return
		case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), ".stsguard.dev"):
			t.Fatalf("%s: %v", object, err)
		}
		for _, m := range deniedRule.FindAllStringSubmatch(err.Error(), -1) {
			denied.add(object, m[1])
		}
		before := "stsguard.dev/enforce-"
		if level := o.kubectl(t, "", "get", "namespace", ns, "-o", `jsonpath={.metadata.labels.stsguard\.dev/enforce}`); level != "" {
			before = "stsguard.dev/enforce=" + level
		}
		o.kubectl(t, "", "label", "namespace", ns, "stsguard.dev/enforce=none", "--overwrite")
		if err := do(); err != nil {
			t.Fatalf("%s, without enforcement: %v", object, err)
		}
		o.kubectl(t, "", "label", "namespace", ns, before, "--overwrite")
	}
	once := func(object string, remove, create func() error) {
		t.Helper()
		try(object, out.deletion, remove)
		eventually(t, "delete "+object, func() error {
			if err := remove(); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %v", err)
			}
			return nil
		})
		o.warnings.Take()
		denied := rules{}
		try(object, denied, create)
		for _, m := range warnedRule.FindAllStringSubmatch(o.warnings.Take(), -1) {
			out.warned.add(object, m[1])
		}
		for _, rule := range denied[object] {
			out.denied.add(object, rule)
			out.warned.add(object, rule)
		}
	}
	services, sets := o.client.CoreV1().Services(ns), o.client.AppsV1().StatefulSets(ns)
	// The Services first: those that they govern are long known then.
	allServices, err := services.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	allSets, err := sets.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range allServices.Items {
		next := &corev1.Service{ObjectMeta: fresh(s.ObjectMeta), Spec: s.Spec}
		once("service/"+s.Name, func() error {
			return services.Delete(t.Context(), s.Name, metav1.DeleteOptions{})
		}, func() error {
			_, err := services.Create(t.Context(), next, metav1.CreateOptions{})
			return err
		})
	}
	for _, s := range allSets.Items {
		next := &appsv1.StatefulSet{ObjectMeta: fresh(s.ObjectMeta), Spec: s.Spec}
		once("statefulset/"+s.Name, func() error {
			return sets.Delete(t.Context(), s.Name, metav1.DeleteOptions{})
		}, func() error {
			_, err := sets.Create(t.Context(), next, metav1.CreateOptions{})
			return err
		})
	}
	return out
}

// fresh is what somebody's manifest has of an object's metadata.
func fresh(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Labels: m.Labels, Annotations: m.Annotations}
}

// sets are those of StatefulSets.
func (r rules) sets() rules {
	out := maps.Clone(r)
	maps.DeleteFunc(out, func(object string, _ []string) bool { return !strings.HasPrefix(object, "statefulset/") })
	return out
}
