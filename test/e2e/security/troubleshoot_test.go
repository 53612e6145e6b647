package security

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/docs"
)

// files are those that docs/troubleshoot.md speaks of.
var files = map[string]string{
	"web.yaml": manifest("shop", "web", ""),
	"right.yaml": `apiVersion: v1
kind: Service
metadata: {name: right}
spec: {clusterIP: None, selector: {app: right}, ports: [{port: 80}]}
`,
	"web-headless.yaml": `apiVersion: v1
kind: Service
metadata:
  name: web-headless
spec:
  selector: {app: web}
  ports:
  - port: 80
`,
	"remapped.yaml": `apiVersion: v1
kind: Service
metadata: {name: cache}
spec: {clusterIP: None, selector: {app: cache}, ports: [{port: 80, targetPort: 6379}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: cache}
spec:
  serviceName: cache
  replicas: 0
  selector: {matchLabels: {app: cache}}
  template:
    metadata: {labels: {app: cache}}
    spec: {containers: [{name: cache, image: redis, ports: [{containerPort: 6379}]}]}
`,
}

// TestTroubleshooting runs every command of docs/troubleshoot.md.
func TestTroubleshooting(t *testing.T) {
	dir := t.TempDir()
	for name, content := range files {
		content = strings.Replace(content, "serviceName: missing", "serviceName: nginx", 1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := shell(t)
	if out, err := kubectl(t, "", "create", "namespace", "shop"); err != nil {
		t.Fatal(out)
	}
	before := map[string]func(*testing.T){"The webhook is unreachable": unreachable}
	headings, blocks := []string{}, map[string][]docs.Block{}
	for _, b := range docs.Blocks(t, "docs/troubleshoot.md", "") {
		if blocks[b.Heading] == nil {
			headings = append(headings, b.Heading)
		}
		blocks[b.Heading] = append(blocks[b.Heading], b)
	}
	for _, heading := range headings {
		t.Run(heading, func(t *testing.T) {
			if prepare := before[heading]; prepare != nil {
				prepare(t)
			}
			for _, b := range blocks[heading] {
				b.Run(t, dir, env)
			}
		})
	}
	mended, err := os.ReadFile(filepath.Join(dir, "web-headless.yaml"))
	if err != nil || !strings.Contains(string(mended), "clusterIP: None") {
		t.Errorf("not mended: %s %v", mended, err)
	}
}

// shell is the environment of somebody with stsguard and kubectl.
func shell(t *testing.T) []string {
	t.Helper()
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin+string(filepath.Separator), "../../../cmd/stsguard").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return append(os.Environ(), shared.Env(bin)...)
}

// TestPortOfTheAPIServer runs what docs/install.md says where the NetworkPolicy may
// have to know another port. This control plane publishes none by itself.
func TestPortOfTheAPIServer(t *testing.T) {
	if _, err := shared.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(16443))}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, b := range docs.Blocks(t, "docs/install.md", "kubectl get endpointslices") {
		if out := b.Run(t, t.TempDir(), shell(t)); out != "16443" {
			t.Errorf("%s: %s", b, out)
		}
	}
}

// unreachable kills the only replica. Another one starts when the test ends.
func unreachable(t *testing.T) {
	if err := shared.server.Process.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := shared.server.Withdraw(t.Context(), shared.client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := shared.serve(ctx); err != nil {
			t.Error(err)
		}
	})
}
