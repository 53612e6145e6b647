// Package parity sends every rule's fixtures through each face: what one
// rejects, all reject, and for the same rule.
package parity

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

const rulesDir = "../../policies/rules"

// fixture is one file of a rule's testdata. Its name says what it is:
// pass-*.yaml and fail-*.yaml are manifests that the rule accepts or finds
// something in; *.requests.yaml are requests in their order, with what is
// expected of each. What lint prints of a fail-*.yaml stands beside it.
type fixture struct {
	rule, path string
	fails      bool
	requests   bool
	// level is what has to be shown to see the rule's findings.
	level policies.Level
	// refused says that the API server itself refuses what the rule finds.
	refused bool
}

func (f fixture) name() string {
	return f.rule + "/" + strings.TrimSuffix(filepath.Base(f.path), ".yaml")
}

// expected is the file that holds what lint prints.
func (f fixture) expected() string { return strings.TrimSuffix(f.path, ".yaml") + ".txt" }

// fixtures reads which there are, and refuses what is none.
func fixtures(t *testing.T) []fixture {
	t.Helper()
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var out []fixture
	for _, id := range rules.Catalog.IDs() {
		entries, err := os.ReadDir(filepath.Join(rulesDir, id, "testdata"))
		if err != nil {
			t.Fatalf("rule %s has no fixtures: %v", id, err)
		}
		have := map[bool]int{}
		var stray []string
		for _, e := range entries {
			path := filepath.Join(rulesDir, id, "testdata", e.Name())
			f := fixture{rule: id, path: path, fails: strings.HasPrefix(e.Name(), "fail-"), requests: strings.HasSuffix(e.Name(), ".requests.yaml"), level: policies.Strict, refused: rules.Catalog.Rule(id).Refused}
			if rules.Catalog.Rule(id).Level == policies.Advice {
				f.level = policies.Advice
			}
			switch {
			case filepath.Ext(path) == ".yaml" && (f.fails || strings.HasPrefix(e.Name(), "pass-")):
				have[f.fails]++
				out = append(out, f)
			default:
				stray = append(stray, path)
			}
		}
		stray = slices.DeleteFunc(stray, func(path string) bool {
			return slices.ContainsFunc(out, func(f fixture) bool { return f.fails && !f.requests && f.expected() == path })
		})
		for _, path := range stray {
			t.Errorf("%s belongs to no fixture", path)
		}
		if have[true] == 0 || have[false] == 0 {
			t.Errorf("rule %s has %d fixtures that fail and %d that pass: it needs some of both", id, have[true], have[false])
		}
	}
	entries, err := os.ReadDir(rulesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if rules.Catalog.Rule(e.Name()) == nil {
			t.Errorf("%s is the folder of no rule", filepath.Join(rulesDir, e.Name()))
		}
	}
	return out
}

func newJudge(t *testing.T) *verdict.Judge {
	t.Helper()
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	j := verdict.New(rules, config.Default(), "", func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) })
	return j
}

func lintFile(t *testing.T, j *verdict.Judge, dir, file string, show policies.Level) *report.Report {
	t.Helper()
	r := lint.Run(context.Background(), lint.Options{
		Paths: []string{file}, Reading: manifest.Options{Namespace: "default", WorkDir: dir},
		Judge: j, FailOn: policies.Baseline, Show: show,
	})
	for _, e := range r.Errors {
		t.Errorf("%s: %+v", file, e)
	}
	return r
}

// named are the rules of a report's open findings.
func named(r *report.Report) []string {
	var out []string
	for _, f := range r.Findings {
		if f.Status == report.Open && !slices.Contains(out, f.Rule) {
			out = append(out, f.Rule)
		}
	}
	slices.Sort(out)
	return out
}

func rejects(r *report.Report) bool {
	return slices.ContainsFunc(r.Findings, func(f report.Finding) bool {
		return f.Status == report.Open && f.Severity == report.SeverityError
	})
}

// TestFixturesThroughLint holds each fixture against its rule, and what a user
// reads against what is kept.
func TestFixturesThroughLint(t *testing.T) {
	j := newJudge(t)
	for _, f := range fixtures(t) {
		if f.requests {
			continue
		}
		t.Run(f.name(), func(t *testing.T) {
			dir, file := filepath.Split(f.path)
			dir, err := filepath.Abs(dir)
			if err != nil {
				t.Fatal(err)
			}
			r := lintFile(t, j, dir, file, f.level)
			if got := slices.Contains(named(r), f.rule); got != f.fails {
				t.Errorf("found %v", named(r))
			}
			if !f.fails {
				return
			}
			var got bytes.Buffer
			if err := report.NewText(&got, false).Write(r); err != nil {
				t.Fatal(err)
			}
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(f.expected(), got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(f.expected())
			if err != nil {
				t.Fatalf("%v (UPDATE=1 writes it)", err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

// objects reads a fixture's objects, a List's items by themselves.
func objects(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, doc := range documents(t, path) {
		u := &unstructured.Unstructured{Object: doc}
		if !u.IsList() {
			out = append(out, u)
			continue
		}
		if err := u.EachListItem(func(o runtime.Object) error {
			out = append(out, o.(*unstructured.Unstructured))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func documents(t *testing.T, path string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for doc := range strings.SplitSeq(string(data), "\n---\n") {
		var o map[string]any
		if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", path, err))
		}
		out = append(out, o)
	}
	return out
}
