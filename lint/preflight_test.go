package lint_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

// empty is a cluster with nothing in it, of which some may not be read.
type empty struct{ unread []inventory.Permission }

func (c empty) Snapshot(context.Context, ...string) (*inventory.Snapshot, error) {
	return &inventory.Snapshot{Store: &inventory.Store{}, Unread: c.unread}, nil
}

const pair = `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: a}
spec: {serviceName: web, template: {metadata: {labels: {app: web}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: b}
spec: {serviceName: web, template: {metadata: {labels: {app: web}}}}
`

// What was not judged has passed nothing.
func TestPreflightOfWhatIsNotJudged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pair.yaml")
	write(t, file, pair)
	exempt := config.Default()
	exempt.Exemptions.Namespaces = []string{"default"}
	for name, tc := range map[string]struct {
		cluster empty
		conf    *config.Configuration
		judged  int
		end     report.State
	}{
		"all":    {empty{}, config.Default(), 2, report.Right},
		"exempt": {empty{}, exempt, 0, report.Unknown},
		"unread": {empty{[]inventory.Permission{{Verb: "list", Resource: "services", Namespace: "default"}}}, config.Default(), 0, report.Unknown},
	} {
		r := lint.Run(t.Context(), lint.Options{Paths: []string{file}, Judge: newJudge(t, tc.conf), Cluster: tc.cluster})
		if len(r.Judged) != tc.judged {
			t.Errorf("%s: %d judged, want %d", name, len(r.Judged), tc.judged)
		}
		for _, o := range r.Preflight[0].End {
			if o.State != tc.end {
				t.Errorf("%s: %v", name, o)
			}
		}
	}
}

// A rule may fail on what comes of the last step for the object of an earlier
// one.
func TestPreflightWhoseEndCannotBeJudged(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "pair.yaml"), pair)
	if err := os.MkdirAll(filepath.Join(dir, "rules", "own"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules", "own", "rule.rego"), `# METADATA
# title: A title
# description: Why it matters.
# custom:
#   level: baseline
#   subject: relation
#   remedy: What to do.
package stsguard.rules["own"]

findings contains {"object": input.statefulSet.ref, "msg": "m"} if {
	input.statefulSet.name == "a"
	count(input.siblings) > 0
	to_number(input.statefulSet.name) > 0
}
`)
	sources, err := policies.Read(filepath.Join(dir, "rules"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policies.Extend(sources)
	if err != nil {
		t.Fatal(err)
	}
	judge := verdict.New(rules, config.Default(), "", time.Now)
	r := lint.Run(t.Context(), lint.Options{Paths: []string{filepath.Join(dir, "pair.yaml")}, Judge: judge, Cluster: empty{}})
	if len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Message, `judge StatefulSet`) {
		t.Errorf("errors: %+v", r.Errors)
	}
	if end := r.Preflight[0].End; end[0].State != report.Unknown || end[1].State != report.Right {
		t.Errorf("the end is %+v", end)
	}
}

// The API server refuses what it refuses, whatever is asked for or excused.
func TestPreflightOfWhatIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "refused.yaml")
	for name, tc := range map[string]struct {
		annotation string
		failOn     policies.Level
		fails      bool
	}{
		"as it is":       {"", "", true},
		"--fail-on none": {"", config.None, false},
		"ignored":        {"service-invalid", "", false},
	} {
		write(t, file, `apiVersion: v1
kind: Service
metadata: {name: web, annotations: {stsguard.dev/ignore: "`+tc.annotation+`"}}
spec: {type: NodePort, clusterIP: None, selector: {app: web}}`)
		r := lint.Run(t.Context(), lint.Options{Paths: []string{file}, Judge: newJudge(t, config.Default()), Cluster: empty{}, FailOn: tc.failOn})
		if got := r.Preflight[0].Steps[0].Outcome; got != report.Refused {
			t.Errorf("%s: %s", name, got)
		}
		if len(r.Findings) != 1 || r.Failed() != tc.fails {
			t.Errorf("%s: fails is %v: %+v", name, r.Failed(), r.Findings)
		}
	}
}
