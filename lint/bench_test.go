package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
)

// BenchmarkLintTree lints a tree of files as charts render them.
func BenchmarkLintTree(b *testing.B) {
	const charts = 40
	dir := b.TempDir()
	var bytes, documents int
	for i := range charts {
		text := renderedChart(fmt.Sprintf("app-%d", i))
		bytes += len(text)
		documents += strings.Count(text, "\n---\n")
		write(b, filepath.Join(dir, fmt.Sprintf("team-%d", i%5), fmt.Sprintf("app-%d.yaml", i)), text)
	}
	b.SetBytes(int64(bytes))
	r := benchmark(b, dir)
	if r.Summary.Documents != documents || r.Summary.StatefulSets != charts || len(r.Findings) != 0 {
		b.Fatalf("read %+v of %d documents and found %d", r.Summary, documents, len(r.Findings))
	}
	b.ReportMetric(float64(documents), "documents")
}

// BenchmarkLintPairs lints a StatefulSet and its Service many times over in one
// file: the time for each pair must not depend on how many there are.
func BenchmarkLintPairs(b *testing.B) {
	for _, kind := range []struct {
		name    string
		service func(name string) string
	}{
		{"valid", func(name string) string { return service(name, name, "clusterIP: None") }},
		{"not-headless", func(name string) string { return service(name, name, "type: ClusterIP") }},
		{"not-found", func(name string) string { return service(name+"-x", "other", "clusterIP: None") }},
	} {
		for _, pairs := range []int{200, 2000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, pairs), func(b *testing.B) {
				var text strings.Builder
				for i := range pairs {
					name := fmt.Sprintf("web-%d", i)
					text.WriteString(kind.service(name))
					text.WriteString(statefulSet(name))
				}
				file := filepath.Join(b.TempDir(), "pairs.yaml")
				write(b, file, text.String())
				if r := benchmark(b, file); r.Summary.StatefulSets != pairs {
					b.Fatalf("read %+v", r.Summary)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(pairs), "ns/pair")
			})
		}
	}
}

func benchmark(b *testing.B, path string) (r *report.Report) {
	b.Helper()
	judge := newJudge(b, config.Default())
	b.ReportAllocs()
	for b.Loop() {
		r = lint.Run(b.Context(), lint.Options{
			Paths: []string{path}, Reading: manifest.Options{},
			Judge: judge, FailOn: policies.Baseline, Show: policies.Strict,
		})
		if len(r.Errors) > 0 {
			b.Fatal(r.Errors)
		}
	}
	return r
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func service(name, selects, spec string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata:
  name: %s
  labels:
    app.kubernetes.io/name: %[2]s
spec:
  %[3]s
  selector:
    app.kubernetes.io/name: %[2]s
  ports:
    - name: http
      port: 8080
---
`, name, selects, spec)
}

func statefulSet(name string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: %[1]s
  labels:
    app.kubernetes.io/name: %[1]s
spec:
  serviceName: %[1]s
  replicas: 3
  selector:
    matchLabels:
      app.kubernetes.io/name: %[1]s
  template:
    metadata:
      labels:
        app.kubernetes.io/name: %[1]s
    spec:
      containers:
        - name: main
          image: registry.example.com/%[1]s:1.2.3
          args: ["--listen=:8080", "--data=/data"]
          ports:
            - name: http
              containerPort: 8080
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
          readinessProbe:
            httpGet:
              path: /ready
              port: http
          resources:
            requests:
              cpu: 100m
              memory: 256Mi
          volumeMounts:
            - name: data
              mountPath: /data
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
        resources:
          requests:
            storage: 10Gi
---
`, name)
}

// renderedChart is one StatefulSet among all that a chart makes beside it.
func renderedChart(name string) string {
	var b strings.Builder
	for _, kind := range []string{"ServiceAccount", "Secret", "PodDisruptionBudget", "NetworkPolicy"} {
		fmt.Fprintf(&b, "# Source: %[2]s/templates/%[1]s.yaml\napiVersion: v1\nkind: %[1]s\nmetadata:\n  name: %[2]s\n---\n", kind, name)
	}
	fmt.Fprintf(&b, "# Source: %[1]s/templates/configmap.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %[1]s\ndata:\n  config.yaml: |\n", name)
	for i := range 150 {
		fmt.Fprintf(&b, "    setting_%d:\n      value: some text, as long as settings are\n", i)
	}
	b.WriteString("---\n")
	for i := range 3 {
		front := fmt.Sprintf("%s-front-%d", name, i)
		b.WriteString(service(front, front, "type: ClusterIP"))
		deployment := strings.Replace(statefulSet(front), "kind: StatefulSet", "kind: Deployment", 1)
		b.WriteString(deployment)
	}
	b.WriteString(service(name, name, "clusterIP: None"))
	b.WriteString(service(name+"-client", name, "type: ClusterIP"))
	b.WriteString(statefulSet(name))
	return b.String()
}
