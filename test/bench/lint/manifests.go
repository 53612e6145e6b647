package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// manifests are the files below dir, sorted.
func manifests(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path)) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	return files, nil
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		return fmt.Errorf("write manifests: %w", err)
	}
	return nil
}

// writeCharts writes what so many charts render to, a file each: the kinds,
// how many there are of each and how long they are is as in public charts. One
// StatefulSet of ten has a Service with a cluster IP.
func writeCharts(dir string, charts int) error {
	for i := range charts {
		name := fmt.Sprintf("release-%d", i)
		if err := write(filepath.Join(dir, fmt.Sprintf("team-%d", i%8), name+".yaml"), chart(name, i)); err != nil {
			return err
		}
	}
	return nil
}

func chart(name string, number int) string {
	var b strings.Builder
	for i, component := range []string{"primary", "replica"} {
		o := object{name: name + "-" + component, component: component}
		clusterIP := "clusterIP: None"
		if (2*number+i)%10 == 0 {
			clusterIP = "type: ClusterIP"
		}
		b.WriteString(o.service("-headless", clusterIP))
		b.WriteString(o.service("", "type: ClusterIP"))
		b.WriteString(o.statefulSet(o.name+"-headless", 24))
		b.WriteString(o.head("policy/v1", "PodDisruptionBudget", "") + "spec:\n  maxUnavailable: 1\n  selector:\n    matchLabels:\n" + o.labels(6))
		b.WriteString(o.head("networking.k8s.io/v1", "NetworkPolicy", "") + "spec:\n  podSelector:\n    matchLabels:\n" + o.labels(6) +
			"  policyTypes:\n    - Ingress\n    - Egress\n  egress:\n    - {}\n  ingress:\n    - ports:\n        - port: 5432\n")
		b.WriteString(o.head("v1", "ServiceAccount", "") + "automountServiceAccountToken: false\n")
		b.WriteString(o.head("v1", "ConfigMap", "-scripts") + "data:\n  setup.sh: |-\n    #!/bin/bash\n    set -o errexit\n" +
			strings.Repeat("    if [[ -n \"${PEERS:-}\" ]]; then\n        echo \"kind: Service\" # joins its peers\n    fi\n", 25))
	}
	web := object{name: name + "-web", component: "web"}
	b.WriteString(web.service("", "type: ClusterIP"))
	b.WriteString(strings.Replace(web.statefulSet("", 16), "kind: StatefulSet", "kind: Deployment", 1))
	api := object{name: name + "-api", component: "api"}
	b.WriteString(api.head("rbac.authorization.k8s.io/v1", "Role", "") + "rules:\n" +
		strings.Repeat("  - apiGroups: [\"\"]\n    resources: [\"pods\"]\n    verbs: [\"get\", \"list\", \"watch\"]\n", 6))
	return b.String()
}

// object is what the manifests of one component have in common.
type object struct{ name, component string }

func (o object) labels(indent int) string {
	space := strings.Repeat(" ", indent)
	return fmt.Sprintf("%[1]sapp.kubernetes.io/instance: %[2]s\n%[1]sapp.kubernetes.io/name: database\n%[1]sapp.kubernetes.io/component: %[3]s\n", space, o.name, o.component)
}

func (o object) head(apiVersion, kind, suffix string) string {
	return fmt.Sprintf("---\n# Source: database/templates/%s/%s.yaml\napiVersion: %s\nkind: %s\nmetadata:\n  name: %s%s\n  namespace: \"databases\"\n  labels:\n%s"+
		"    app.kubernetes.io/managed-by: Helm\n    app.kubernetes.io/version: 17.4.0\n    helm.sh/chart: database-16.6.3\n",
		o.component, strings.ToLower(kind), apiVersion, kind, o.name, suffix, o.labels(4))
}

func (o object) service(suffix, clusterIP string) string {
	return o.head("v1", "Service", suffix) + "spec:\n  " + clusterIP +
		"\n  ports:\n    - name: tcp-database\n      port: 5432\n      targetPort: tcp-database\n  selector:\n" + o.labels(4)
}

func (o object) statefulSet(service string, variables int) string {
	var b strings.Builder
	b.WriteString(o.head("apps/v1", "StatefulSet", "") + "spec:\n  replicas: 3\n")
	if service != "" {
		b.WriteString("  serviceName: " + service + "\n")
	}
	b.WriteString("  selector:\n    matchLabels:\n" + o.labels(6) + "  template:\n    metadata:\n      annotations:\n        checksum/config: 44136fa355b3678a1146ad16f7e8649e\n" +
		"      labels:\n" + o.labels(8) + `    spec:
      serviceAccountName: database
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - podAffinityTerm:
                labelSelector:
                  matchLabels:
                    app.kubernetes.io/name: database
                topologyKey: kubernetes.io/hostname
              weight: 1
      securityContext:
        fsGroup: 1001
        supplementalGroups: []
        sysctls: []
      hostNetwork: false
      containers:
        - name: database
          image: registry.example.com/library/database:17.4.0
          imagePullPolicy: "IfNotPresent"
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop: ["ALL"]
            runAsUser: 1001
            seLinuxOptions: {}
          command:
            - /bin/bash
            - -ec
            - |
              # Peers are looked up below the governing Service.
              exec /opt/database/run.sh \
                --listen "${POD_IP}:5432" \
                --data /var/lib/database
          env:
`)
	for i := range variables {
		fmt.Fprintf(&b, "            - name: DATABASE_SETTING_%d\n              value: \"a value of usual length, %d\"\n", i, i)
	}
	b.WriteString(`            - name: POD_IP
              valueFrom:
                fieldRef:
                  fieldPath: status.podIP
          ports:
            - name: tcp-database
              containerPort: 5432
          livenessProbe:
            failureThreshold: 6
            initialDelaySeconds: 30
            exec:
              command:
                - /bin/sh
                - -c
                - exec pg_isready -U "app" -h 127.0.0.1 -p 5432
          resources:
            limits:
              cpu: 150m
              memory: 192Mi
            requests:
              cpu: 100m
              memory: 128Mi
          volumeMounts:
            - name: data
              mountPath: /var/lib/database
            - name: empty-dir
              mountPath: /tmp
              subPath: tmp-dir
      volumes:
        - name: empty-dir
          emptyDir: {}
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes:
          - "ReadWriteOnce"
        resources:
          requests:
            storage: "8Gi"
`)
	return b.String()
}

// pairs is a file with so many Services and StatefulSets, each of them right or
// each wrong in the same way.
func pairs(n int, wrong string) string {
	var b strings.Builder
	for i := range n {
		name := fmt.Sprintf("web-%d", i)
		service, selector, clusterIP := name, name, "None"
		switch wrong {
		case notFound:
			service = name + "-x"
		case notHeadless:
			clusterIP = `""`
		case mismatch:
			selector = name + "-x"
		}
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: shop\nspec:\n  clusterIP: %s\n  selector:\n    app: %s\n  ports:\n    - name: http\n      port: 80\n", service, clusterIP, selector)
		fmt.Fprintf(&b, `---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: %[1]s
  namespace: shop
spec:
  serviceName: %[1]s
  replicas: 3
  selector:
    matchLabels:
      app: %[1]s
  template:
    metadata:
      labels:
        app: %[1]s
    spec:
      containers:
        - name: web
          image: registry.example.com/web:1.2.3
          ports:
            - name: http
              containerPort: 80
`, name)
	}
	return b.String()
}

// The ways in which pairs are wrong.
const (
	right       = "right"
	notHeadless = "not headless"
	notFound    = "not found"
	mismatch    = "selector mismatch"
)

// configMaps is a file of documents that nobody asks about, of about a
// megabyte.
func configMaps() string {
	const document = "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  settings.yaml: |\n"
	return strings.Repeat(document+strings.Repeat("    setting: a value of usual length\n", 80), 350)
}
