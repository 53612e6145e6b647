package lint

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

// found is a finding on one StatefulSet in some line of a file.
func found(file string, line int, rule, name string) report.Finding {
	return report.Finding{
		Rule: rule, StatefulSet: name, Status: report.Open, Severity: report.SeverityError,
		Object:   report.Object{Kind: "StatefulSet", Namespace: "default", Name: name},
		Location: report.Location{File: file, Line: line},
	}
}

func known(file, rule, name string) config.Known {
	return config.Known{Rule: rule, Object: "StatefulSet/default/" + name, StatefulSet: name, File: file}
}

func TestSuppressions(t *testing.T) {
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	judge := verdict.New(rules, config.Default(), "", time.Now)
	const missing, mapped, unnamed = "service-not-found", "port-remapped", "port-unnamed"
	all := Options{FailOn: policies.Baseline, Show: policies.Strict}
	type counts map[config.Known]int
	for name, tc := range map[string]struct {
		known counts
		found []report.Finding
		o     Options
		learn bool
		// incomplete says that something could not be read.
		incomplete bool
		// open and gone are lines and files.
		open  []int
		gone  []string
		after counts
	}{
		"known": {
			known: counts{known("a.yaml", missing, "web"): 1}, o: all,
			found: []report.Finding{found("a.yaml", 7, missing, "web")},
			after: counts{known("a.yaml", missing, "web"): 1},
		},
		"another rule, another object": {
			known: counts{known("a.yaml", missing, "web"): 1}, o: all,
			found: []report.Finding{found("a.yaml", 1, mapped, "web"), found("a.yaml", 2, missing, "db")},
			open:  []int{1, 2}, gone: []string{"a.yaml"},
		},
		"one more than is known": {
			known: counts{known("a.yaml", mapped, "web"): 2}, o: all,
			found: []report.Finding{found("a.yaml", 9, mapped, "web"), found("a.yaml", 3, mapped, "web"), found("a.yaml", 5, mapped, "web")},
			open:  []int{9},
			after: counts{known("a.yaml", mapped, "web"): 2},
		},
		"one less than is known": {
			known: counts{known("a.yaml", mapped, "web"): 3}, o: all,
			found: []report.Finding{found("a.yaml", 1, mapped, "web")},
			gone:  []string{"a.yaml", "a.yaml"},
			after: counts{known("a.yaml", mapped, "web"): 1},
		},
		"moved": {
			known: counts{known("a.yaml", missing, "web"): 1}, o: all,
			found: []report.Finding{found("b/c.yaml", 1, missing, "web")},
			after: counts{known("b/c.yaml", missing, "web"): 1},
		},
		"a copy, which comes first": {
			known: counts{known("b.yaml", missing, "web"): 1}, o: all,
			found: []report.Finding{found("a.yaml", 1, missing, "web"), found("b.yaml", 2, missing, "web")},
			open:  []int{1},
			after: counts{known("b.yaml", missing, "web"): 1},
		},
		"not looked at": {
			known: counts{known("other/a.yaml", missing, "web"): 1, known("stdin", missing, "web"): 1},
			o:     Options{Paths: []string{"here", "oth"}, FailOn: policies.Baseline, Show: policies.Strict},
			found: []report.Finding{found("here/a.yaml", 1, missing, "web")},
			open:  []int{1},
			after: counts{known("other/a.yaml", missing, "web"): 1, known("stdin", missing, "web"): 1},
		},
		"looked at and gone": {
			known: counts{known("other/a.yaml", missing, "web"): 1, known("stdin", missing, "web"): 1},
			o:     Options{Paths: []string{"other", "-"}, FailOn: policies.Baseline, Show: policies.Strict},
			gone:  []string{"other/a.yaml", "stdin"},
		},
		"of a level that nobody asked for": {
			known: counts{known("a.yaml", unnamed, "web"): 1}, o: all,
			after: counts{known("a.yaml", unnamed, "web"): 1},
		},
		"learnt": {
			known: counts{known("a.yaml", missing, "gone"): 1}, o: all, learn: true,
			found: []report.Finding{found("a.yaml", 1, missing, "web"), found("a.yaml", 2, missing, "web")},
			gone:  []string{"a.yaml"},
			after: counts{known("a.yaml", missing, "web"): 2},
		},
		"not learnt of half a run": {
			known: counts{known("a.yaml", missing, "gone"): 1}, o: all, learn: true, incomplete: true,
			found: []report.Finding{found("a.yaml", 1, missing, "web")},
			open:  []int{1},
			after: counts{known("a.yaml", missing, "gone"): 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Suppressions{file: "known.yaml", learn: tc.learn, known: tc.known}
			s.apply(tc.found, &tc.o, judge.Modes(verdict.Levels{Enforce: tc.o.FailOn, Warn: tc.o.Show}), !tc.incomplete)
			var open []int
			for _, f := range tc.found {
				switch {
				case f.Status == report.Open:
					open = append(open, f.Location.Line)
				case f.Reason != "known: in known.yaml":
					t.Errorf("skipped for the reason %q", f.Reason)
				}
			}
			var gone []string
			for _, g := range s.Gone {
				for range max(1, g.Count) {
					gone = append(gone, g.File)
				}
			}
			if !slices.Equal(open, tc.open) || !slices.Equal(gone, tc.gone) {
				t.Errorf("open %v, want %v; gone %v, want %v", open, tc.open, gone, tc.gone)
			}
			if len(s.after) != len(tc.after) {
				t.Errorf("known afterwards: %v, want %v", s.after, tc.after)
			}
			for k, n := range tc.after {
				if s.after[k] != n {
					t.Errorf("%v is known %d times, want %d", k, s.after[k], n)
				}
			}
		})
	}
}

// TestSuppressionsText shows what the file is to hold, and whether it does.
func TestSuppressionsText(t *testing.T) {
	s := &Suppressions{after: map[config.Known]int{known("a.yaml", "service-not-found", "web"): 2}}
	text, changed, err := s.Text()
	if err != nil || !changed || !strings.Contains(string(text), "count: 2\n") {
		t.Errorf("changed %v, %v\n%s", changed, err, text)
	}
	s.before = text
	if _, changed, err := s.Text(); err != nil || changed {
		t.Errorf("changed again: %v, %v", changed, err)
	}
}

// What is known of a cluster is known wherever one lints, and is not gone
// because no cluster was asked.
func TestSuppressionsOfACluster(t *testing.T) {
	const missing = "service-not-found"
	modes := map[string]config.Mode{missing: config.Enforce}
	for _, dir := range []string{"", "below"} {
		s := &Suppressions{file: filepath.Join(dir, "..", "known.yaml"), known: map[config.Known]int{known("cluster", missing, "web"): 1}}
		findings := []report.Finding{found("", 0, missing, "web")}
		s.apply(findings, &Options{Cluster: struct{ Cluster }{}}, modes, true)
		if findings[0].Status != report.Skipped || len(s.Gone) != 0 {
			t.Errorf("%q: %s, gone: %v", dir, findings[0].Status, s.Gone)
		}
		s.apply(nil, &Options{}, modes, true)
		if len(s.Gone) != 0 {
			t.Errorf("without a cluster these are gone: %v", s.Gone)
		}
		s.apply(nil, &Options{Cluster: struct{ Cluster }{}}, modes, true)
		if len(s.Gone) != 1 {
			t.Errorf("gone: %v", s.Gone)
		}
	}
}
