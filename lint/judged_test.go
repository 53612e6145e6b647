package lint_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
)

// What is wrong with a Service is found once, with each of its StatefulSets.
func TestJudged(t *testing.T) {
	const set = `
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: NAME}
spec: {serviceName: web, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}}}`
	file := filepath.Join(t.TempDir(), "web.yaml")
	write(t, file, `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}`+set+set)
	r := lint.Run(t.Context(), lint.Options{Paths: []string{file}, Judge: newJudge(t, config.Default()), FailOn: policies.Baseline, Show: policies.Strict})
	if len(r.Judged) != 2 || r.Judged[0].ID == r.Judged[1].ID || r.Judged[0].Location == r.Judged[1].Location {
		t.Fatalf("judged: %+v", r.Judged)
	}
	if len(r.Findings) != 1 || r.Findings[0].Rule != "port-remapped" || r.Findings[0].Path != "/spec/ports/0/port" {
		t.Fatalf("findings: %+v", r.Findings)
	}
	ids := []string{r.Judged[0].ID, r.Judged[1].ID}
	if got := slices.Sorted(slices.Values(r.Findings[0].Judged)); !slices.Equal(got, slices.Sorted(slices.Values(ids))) {
		t.Errorf("found with %v, want %v", got, ids)
	}
	for id, want := range map[string]bool{"port-remapped": true, "service-not-found": true, "service-shared": false, "service-invalid": false, "service-in-use": false} {
		i := slices.IndexFunc(r.Rules, func(rule report.Rule) bool { return rule.ID == id })
		if i < 0 || r.Rules[i].Judged != want {
			t.Errorf("%s: judged is not %v", id, want)
		}
	}
}
