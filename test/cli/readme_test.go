package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stsguard/stsguard/test/docs"
)

// files are those that the commands are about.
var files = fstest.MapFS{
	"deploy/web.yaml": {Data: []byte(`apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
`)},
	"charts/web/Chart.yaml": {Data: []byte("apiVersion: v2\nname: web\nversion: 1.0.0\n")},
	"charts/web/templates/web.yaml": {Data: []byte(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: {{ .Release.Name }}-web}
spec:
  serviceName: {{ .Values.service }}
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
`)},
	"charts/web/values.yaml": {Data: []byte("replicas: 1\nservice: web\n")},
	"production.yaml":        {Data: []byte("service: web\n")},
}

// TestDocumented runs what the README and docs/upgrade.md show of the command line,
// each block where somebody's manifests are, against a cluster that has some of them.
func TestDocumented(t *testing.T) {
	env := shell(t)
	for _, x := range []struct {
		blocks []docs.Block
		writes string
	}{
		{docs.Blocks(t, "README.md", "go install ./cmd/stsguard\n"), ""},
		{docs.Blocks(t, "README.md", "stsguard lint --suppressions"), "known.yaml"},
		{docs.Blocks(t, "README.md", "stsguard fix"), "deploy/web.yaml"},
		{docs.Blocks(t, "README.md", "stsguard lint --cluster"), ""},
		{docs.Blocks(t, "README.md", "stsguard audit"), "exceptions.yaml"},
		{docs.Blocks(t, "README.md", "stsguard migrate"), "plan.md"},
		{docs.Blocks(t, "docs/upgrade.md", "stsguard audit"), ""},
	} {
		for _, b := range x.blocks {
			t.Run(b.String(), func(t *testing.T) {
				ours := t.TempDir()
				if err := os.CopyFS(ours, files); err != nil {
					t.Fatal(err)
				}
				for _, c := range b.Commands() {
					dir := ours
					if strings.HasPrefix(c.Line, "go ") {
						dir = docs.Root(t)
					}
					b.RunCommand(t, c, dir, env)
				}
				if x.writes == "" {
					return
				}
				before, _ := files.ReadFile(x.writes) // nothing, unless it is one of them
				if text, err := os.ReadFile(filepath.Join(ours, x.writes)); err != nil || bytes.Equal(text, before) {
					t.Errorf("%s: %s %v", x.writes, text, err)
				}
			})
		}
	}
}

// shell is the environment of somebody with stsguard and kubectl, and prepares the
// cluster of which the commands speak.
func shell(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(cp.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	kubeconfig, bin := filepath.Join(home, "kubeconfig"), filepath.Join(home, "bin")
	if err := os.WriteFile(kubeconfig, data, 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(append(os.Environ(), cp.Env(bin)...), "KUBECONFIG="+kubeconfig, "GOBIN="+bin)
	prepare := exec.CommandContext(t.Context(), "bash", "-ec", `
go install github.com/stsguard/stsguard/cmd/stsguard
kubectl config rename-context stsguard production
kubectl create namespace shop
kubectl create namespace stsguard-system
kubectl -n shop apply -f -
kubectl -n stsguard-system create configmap stsguard --from-literal=stsguard.yaml='{apiVersion: stsguard.dev/v1alpha1, kind: Configuration}'
`)
	prepare.Env, prepare.Stdin = env, bytes.NewReader(files["deploy/web.yaml"].Data)
	if out, err := prepare.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return env
}
