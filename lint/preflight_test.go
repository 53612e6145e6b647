package lint_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
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

// holding is a cluster with something in it.
type holding struct{ *inventory.Store }

func (c holding) Snapshot(context.Context, ...string) (*inventory.Snapshot, error) {
	return &inventory.Snapshot{Store: c.Store}, nil
}

// Helm's hooks go one by one before and after all else, by weight and name, and
// what they left is deleted first.
func TestPreflightOfHooks(t *testing.T) {
	service := func(name, clusterIP, annotations string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", annotations: {" + annotations + "}}\n" +
			"spec: {clusterIP: " + clusterIP + ", selector: {app: " + name + "}}\n---\n"
	}
	set := func(name, serviceName, annotations string) string {
		return "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: " + name + ", annotations: {" + annotations + "}}\n" +
			"spec: {serviceName: " + serviceName + ", selector: {matchLabels: {app: " + serviceName + "}}, template: {metadata: {labels: {app: " + serviceName + "}}}}\n---\n"
	}
	before, after := "helm.sh/hook: 'pre-install, Pre-Upgrade'", "helm.sh/hook: post-install"
	for name, tc := range map[string]struct {
		manifests string
		want      []string
	}{
		"none": {set("a", "b", "") + service("b", "None", ""), []string{"create Service b allowed", "create StatefulSet a allowed"}},
		"by name": {
			set("a", "b", before) + service("b", "None", before),
			[]string{"create StatefulSet a denied", "create Service b allowed"},
		},
		"by weight": {
			set("a", "b", before) + service("b", "None", before+", helm.sh/hook-weight: '-1'"),
			[]string{"create Service b allowed", "create StatefulSet a allowed"},
		},
		"of one name by kind": {
			set("a", "a", before) + service("a", "None", before),
			[]string{"create Service a allowed", "create StatefulSet a allowed"},
		},
		"before all else": {
			set("a", "b", before) + service("b", "None", ""),
			[]string{"create StatefulSet a denied", "create Service b allowed"},
		},
		"after all else": {
			service("b", "None", after) + set("a", "b", ""),
			[]string{"create StatefulSet a denied", "create Service b allowed"},
		},
		"for something else": {
			service("b", "None", "helm.sh/hook: pre-delete") + set("a", "b", ""),
			[]string{"create StatefulSet a denied"},
		},
		"made anew": {service("there", "None", before), []string{"create Service there allowed"}},
		"kept":      {service("there", "None", before+", helm.sh/hook-delete-policy: hook-failed"), []string{"update Service there refused"}},
		"in a List": {
			`{"apiVersion": "v1", "kind": "List", "items": [
			{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a"}, "spec": {"serviceName": "b", "selector": {"matchLabels": {"app": "b"}}, "template": {"metadata": {"labels": {"app": "b"}}}}},
			{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b", "annotations": {"helm.sh/hook": "post-upgrade"}}, "spec": {"clusterIP": "None", "selector": {"app": "b"}}}]}`,
			[]string{"create StatefulSet a denied", "create Service b allowed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "release.yaml")
			write(t, file, tc.manifests)
			store := &inventory.Store{}
			store.PutNamespace(&inventory.Namespace{Name: "default"})
			store.PutService(&inventory.Service{
				Meta: inventory.Meta{Namespace: "default", Name: "there"}, Type: "ClusterIP", ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
			})
			r := lint.Run(t.Context(), lint.Options{Paths: []string{file}, Judge: newJudge(t, config.Default()), Cluster: holding{store}})
			var got []string
			for _, s := range r.Preflight[0].Steps {
				got = append(got, s.Operation+" "+s.Object.Kind+" "+s.Object.Name+" "+string(s.Outcome))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			notes := 0
			if name == "for something else" {
				notes = 1
			}
			if len(r.Notes) != notes || len(r.Errors) > 0 {
				t.Errorf("got notes %v and errors %v", r.Notes, r.Errors)
			}
		})
	}
}
