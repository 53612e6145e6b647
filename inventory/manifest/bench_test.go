package manifest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kubectl "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/stsguard/stsguard/parallel"
)

// chart is what a chart of a database renders to: a StatefulSet, its two
// Services, and twelve documents that nobody asked about.
func chart(name string) string {
	meta := func(apiVersion, kind, suffix string) string {
		return fmt.Sprintf(`---
# Source: %[1]s/templates/%[3]s.yaml
apiVersion: %[4]s
kind: %[2]s
metadata:
  name: %[1]s%[3]s
  namespace: "databases"
  labels:
    app.kubernetes.io/instance: %[1]s
    app.kubernetes.io/managed-by: Helm
    app.kubernetes.io/name: database
    helm.sh/chart: database-1.2.3
`, name, kind, suffix, apiVersion)
	}
	selector := "app.kubernetes.io/instance: " + name
	var b strings.Builder
	for i := range 4 {
		b.WriteString(meta("v1", "ConfigMap", fmt.Sprint("-config-", i)) + "data:\n  run.sh: |-\n")
		b.WriteString(strings.Repeat("    #!/bin/bash\n    if [[ \"$X\" == *\"&a\"* ]]; then echo \"kind: Service\"; fi\n\n", 60))
	}
	for i, kind := range []string{"ServiceAccount", "Secret", "PodDisruptionBudget", "NetworkPolicy", "Role", "RoleBinding", "ServiceMonitor", "Job"} {
		b.WriteString(meta("x/v1", kind, fmt.Sprint("-", i)) + "spec:\n" + strings.Repeat("  - apiGroups: [\"\"]\n    verbs: [\"get\", \"list\"]\n", 12))
	}
	port := "  ports:\n    - name: tcp\n      port: 5432\n      targetPort: tcp\n  selector:\n    " + selector + "\n"
	b.WriteString(meta("v1", "Service", "-headless") + "spec:\n  clusterIP: None\n" + port)
	b.WriteString(meta("v1", "Service", "") + "spec:\n  type: ClusterIP\n" + port)
	b.WriteString(meta("apps/v1", "StatefulSet", "") + fmt.Sprintf(`spec:
  replicas: 3
  serviceName: %[1]s-headless
  selector:
    matchLabels:
      %[2]s
  template:
    metadata:
      labels:
        %[2]s
        app.kubernetes.io/name: database
    spec:
      securityContext:
        fsGroup: 1001
      containers:
        - name: database
          image: registry.example/database:1.2.3
          ports:
            - name: tcp
              containerPort: 5432
          resources:
            limits: {cpu: 500m, memory: 1Gi}
          env:
`, name, selector))
	for i := range 30 {
		fmt.Fprintf(&b, "            - name: VARIABLE_%d\n              value: \"some value %d\"\n", i, i)
	}
	b.WriteString("          volumeMounts:\n            - name: data\n              mountPath: /data\n  volumeClaimTemplates:\n    - metadata:\n        name: data\n      spec:\n        accessModes: [\"ReadWriteOnce\"]\n        resources:\n          requests:\n            storage: \"8Gi\"\n")
	return b.String()
}

// BenchmarkRead reads 200 rendered charts; apimachinery's YAMLReader reads and
// splits the same, and does nothing with them. Both use all cores.
func BenchmarkRead(b *testing.B) {
	root := b.TempDir()
	var paths []string
	var size int64
	for i := range 200 {
		text := chart(fmt.Sprint("db", i))
		p := filepath.Join(root, fmt.Sprintf("chart-%d.yaml", i))
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
		paths = append(paths, p)
		size += int64(len(text))
	}
	b.Run("manifest", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			s := readPaths(b.Context(), []string{root}, Options{})
			if s.Documents != 3000 || len(s.Services) != 400 || len(s.StatefulSets) != 200 || len(s.Errors) > 0 {
				b.Fatalf("%d documents, %v", s.Documents, s.Errors)
			}
		}
	})
	b.Run("YAMLReader", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			parallel.Do(b.Context(), len(paths), func(i int) {
				data, err := os.ReadFile(paths[i])
				if err != nil {
					b.Error(err)
				}
				r := kubectl.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
				for err == nil {
					_, err = r.Read()
				}
				if err != io.EOF {
					b.Error(err)
				}
			})
		}
	})
}

// BenchmarkPairs reads Services and StatefulSets in one file; the time per pair
// must not grow with their number.
func BenchmarkPairs(b *testing.B) {
	for _, n := range []int{200, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var text strings.Builder
			for i := range n {
				name := fmt.Sprint("s", i)
				text.WriteString("---\n" + service(name) + "spec:\n  clusterIP: None\n  selector: {app: " + name + "}\n---\n" +
					statefulSet(name) + "spec:\n  serviceName: " + name + "\n  template:\n    metadata:\n      labels: {app: " + name + "}\n")
			}
			for b.Loop() {
				s := readPaths(b.Context(), []string{"-"}, Options{Stdin: strings.NewReader(text.String())})
				if len(s.StatefulSets) != n {
					b.Fatal(s.Errors)
				}
				for _, v := range s.StatefulSets {
					s.Locate(v.Ref(), "/spec/serviceName")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/pair")
		})
	}
}
