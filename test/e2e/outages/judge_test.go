package outages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/guarded"
)

// slack is by how much the cache may be behind while nothing is in its way, on
// a machine where others are busy.
const slack = 5 * time.Second

// outage is a time in which the cache could not hear of everything.
type outage struct {
	began, ended time.Time
	// delay is by how much it was behind, where that is known.
	delay time.Duration
}

// horizon is the time up to which the cache must have heard of every write when
// something is admitted.
func horizon(outages []outage, at time.Time) time.Time {
	for _, o := range outages {
		if at.Before(o.began) || at.After(o.ended) {
			continue
		}
		began := o.began
		if late := at.Add(-o.delay); o.delay > 0 && late.After(began) {
			began = late
		}
		at = began
	}
	return at.Add(-slack)
}

// results are what a run came to.
type results struct {
	history history
	ops     []*operation
	outages []outage
}

// read takes the whole history of a cluster in which nobody writes any more.
func (c *clients) read(t *testing.T, g *guarded.Guarded, outages []outage) *results {
	t.Helper()
	const last = "the-end"
	if _, err := g.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: last}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h, err := c.etcd.history(ctx, last)
	if err != nil {
		t.Fatal(err)
	}
	return &results{h, c.ops, outages}
}

// count says how the operations ended.
func (r *results) count() string {
	ended, why := map[outcome]int{}, map[string]int{}
	for _, o := range r.ops {
		ended[o.outcome]++
		if o.outcome == denied {
			for _, reason := range reasons(o.err) {
				rule, _, _ := strings.Cut(reason, " ")
				why[rule]++
			}
		}
	}
	return fmt.Sprintf("%d operations: %v, denied for %v", len(r.ops), ended, why)
}

// checkDenials holds every denial against what was there while it was decided.
func (r *results) checkDenials(t *testing.T) {
	t.Helper()
	count := 0
	for _, o := range r.ops {
		if o.outcome != denied {
			continue
		}
		count++
		named := reasons(o.err)
		if len(named) == 0 {
			t.Errorf("denied without a reason: %s", o)
			continue
		}
		if problem := r.wronglyDenied(o, named); problem != "" {
			t.Errorf("wrong denial: %s\n%s\nwhat there was:%s", problem, o, told(r.history.during(o.namespace, o.from, o.to)))
		}
	}
	if count == 0 {
		t.Error("nothing was denied, so nothing was tested")
	}
}

// wronglyDenied says what is wrong with a denial; empty if nothing is.
func (r *results) wronglyDenied(o *operation, named []string) string {
	during := r.history.during(o.namespace, o.from, o.to)
	right := false
	possible := map[string]bool{}
	for i, old := range during {
		review, ok := o.review(old.get(o.part))
		if !ok {
			continue
		}
		// The others are looked at after the object itself was.
		for _, then := range during[i:] {
			for _, kind := range kinds(review) {
				found := then.denials(kind)
				right = right || len(found) > 0
				for _, reason := range found {
					possible[reason] = true
				}
			}
		}
	}
	if !right {
		return fmt.Sprintf("%q is named, but in no state of %d was it to be denied", named, len(during))
	}
	for _, reason := range named {
		if !possible[reason] {
			return fmt.Sprintf("%q was wrong in no state of %d, but %v", reason, len(during), possible)
		}
	}
	return ""
}

// told is each state, and what led to it.
func told(versions []version) string {
	var b strings.Builder
	for _, v := range versions {
		fmt.Fprintf(&b, "\n  revision %d: %s %s from %+v to %+v: %+v", v.revision, v.kind, v.name, v.old, v.new, v.state)
	}
	return b.String()
}

// kinds are what a Service may have become before it was judged.
func kinds(r review) []review {
	s, ok := r.new.(service)
	if !ok || s.kind != unset {
		return []review{r}
	}
	var out []review
	for _, s.kind = range []kind{headless, address} {
		out = append(out, review{r.part, r.old, s})
	}
	return out
}

// checkWrites holds every write against what was there before it: one that was
// to be denied must have met another that the cache could not know of yet.
// It returns how many there were.
func (r *results) checkWrites(t *testing.T) {
	t.Helper()
	concurrent, late := 0, 0
	var latest time.Duration
	for _, namespace := range r.namespaces() {
		versions := r.history[namespace]
		for i := 1; i < len(versions); i++ {
			w := versions[i].write
			wrong := versions[i-1].denials(review{w.part, w.old, w.new})
			if len(wrong) == 0 {
				continue
			}
			began, _ := r.times(namespace, w)
			missed, ok := r.missed(namespace, i, horizon(r.outages, began))
			if !ok {
				t.Errorf("wrongly allowed: %q in namespace %s at revision %d, and in every state since %s: %+v", wrong, namespace, w.revision, horizon(r.outages, began).Format(time.StampMilli), w)
				continue
			}
			_, known := r.times(namespace, missed)
			if behind := began.Sub(known); behind > 0 {
				late, latest = late+1, max(latest, behind)
			} else {
				concurrent++
			}
		}
	}
	t.Logf("slipped through: %d between two requests at once, %d before the cache had heard of the other object, by at most %s", concurrent, late, latest.Round(time.Millisecond))
}

func (r *results) namespaces() []string {
	var out []string
	for name := range r.history {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// missed is the oldest write that the cache need not have known for the one at
// i to be allowed; ok says whether there is any. The cache hears of each kind by
// itself, so it may know the states of different times.
func (r *results) missed(namespace string, i int, horizon time.Time) (missed write, ok bool) {
	versions := r.history[namespace]
	w := versions[i].write
	// The cache may hold any version that was in force after the horizon.
	oldest := i - 1
	for oldest > 0 {
		if _, known := r.times(namespace, versions[oldest].write); known.Before(horizon) {
			break
		}
		oldest--
	}
	for j := i - 2; j >= oldest; j-- {
		if len(versions[j].denials(review{w.part, w.old, w.new})) == 0 {
			return versions[j+1].write, true
		}
	}
	for j := i - 1; j >= oldest; j-- {
		for k := i - 1; k >= oldest; k-- {
			for _, unenforced := range []bool{versions[j].unenforced, versions[k].unenforced} {
				mixed := state{unenforced: unenforced, services: versions[j].services, sets: versions[k].sets}
				if len(mixed.denials(review{w.part, w.old, w.new})) == 0 {
					return versions[min(j, k)+1].write, true
				}
			}
		}
	}
	return write{}, false
}

// times are when a write's request was sent and answered. An answer that never
// came may have been on its way to the end.
func (r *results) times(namespace string, w write) (began, ended time.Time) {
	never := time.Now()
	for _, o := range r.writers(namespace, w) {
		if began.IsZero() || o.began.Before(began) {
			began = o.began
		}
		if o.outcome == failed {
			ended = never
		} else if o.ended.After(ended) {
			ended = o.ended
		}
	}
	return began, ended
}

// writers are the operations that may have done a write.
func (r *results) writers(namespace string, w write) []*operation {
	if w.op != "" && w.new != nil {
		if id, err := strconv.Atoi(w.op); err == nil {
			return r.ops[id : id+1]
		}
	}
	// A deletion leaves no name of the operation.
	var out []*operation
	for _, o := range r.ops {
		if o.verb == remove && o.namespace == namespace && o.part == w.part && o.from < w.revision &&
			(o.outcome == written && w.revision <= o.to || o.outcome == failed) {
			out = append(out, o)
		}
	}
	return out
}

// buildCLI builds stsguard.
func buildCLI(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stsguard")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/stsguard/stsguard/cmd/stsguard").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// checkAudit compares what stsguard audit finds with all that is wrong.
func (r *results) checkAudit(t *testing.T, cli, kubeconfig string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), cli, "audit", "--kubeconfig", kubeconfig, "--all-namespaces", "--level=baseline", "--fail-on=baseline", "-o", "json")
	var exit *exec.ExitError
	out, err := cmd.Output()
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("stsguard audit: %v", err)
	}
	var report struct {
		Findings []struct {
			Rule, Level, StatefulSet, Status string
			Object                           struct{ Kind, Namespace, Name string }
		}
		Errors []any
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("stsguard audit: %v", err)
	}
	if len(report.Errors) > 0 {
		t.Errorf("stsguard audit: %v", report.Errors)
	}
	var found, want []string
	for _, f := range report.Findings {
		if f.Level == "baseline" {
			exposing := ""
			if f.Object.Kind == "Service" {
				exposing = " by " + f.Object.Name
			}
			found = append(found, fmt.Sprintf("%s: %s %s%s %s", f.Object.Namespace, f.Rule, f.StatefulSet, exposing, f.Status))
		}
	}
	for _, namespace := range r.namespaces() {
		versions := r.history[namespace]
		for _, v := range versions[len(versions)-1].violations() {
			if v.silent {
				continue
			}
			status, exposing := "open", ""
			if v.excused {
				status = "skipped"
			}
			if v.service != "" {
				exposing = " by " + v.service
			}
			want = append(want, fmt.Sprintf("%s: %s %s%s %s", namespace, v.rule, v.set, exposing, status))
		}
	}
	slices.Sort(found)
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("stsguard audit found\n  %s\nwant\n  %s", strings.Join(found, "\n  "), strings.Join(want, "\n  "))
	}
	t.Logf("%d violations stand in the end: %q", len(want), want)
}
