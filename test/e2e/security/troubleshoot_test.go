package security

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// TestTroubleshooting runs every command of docs/troubleshoot.md. One that shows
// what it prints has to print that: a line "..." stands for any lines, and dots at
// the end of a line for its rest. One that shows nothing has to succeed.
func TestTroubleshooting(t *testing.T) {
	dir := t.TempDir()
	for name, content := range files {
		content = strings.Replace(content, "serviceName: missing", "serviceName: nginx", 1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin+string(filepath.Separator), "../../../cmd/stsguard").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	env := append(os.Environ(),
		"PATH="+bin+string(os.PathListSeparator)+filepath.Dir(shared.KubectlPath)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"KUBECONFIG="+shared.Kubeconfig)
	if out, err := kubectl(t, "", "create", "namespace", "shop"); err != nil {
		t.Fatal(out)
	}
	before := map[string]func(*testing.T){"## The webhook is unreachable": unreachable}
	commands := 0
	for _, heading := range regexp.MustCompile(`(?m)^## .*$`).FindAllString(page(t, "troubleshoot.md"), -1) {
		t.Run(strings.TrimPrefix(heading, "## "), func(t *testing.T) {
			if prepare := before[heading]; prepare != nil {
				prepare(t)
			}
			for _, block := range blocks(section(t, page(t, "troubleshoot.md"), heading), "console") {
				for _, c := range strings.Split("\n"+block, "\n$ ")[1:] {
					line, want, _ := strings.Cut(strings.TrimSuffix(c, "\n"), "\n")
					cmd := exec.CommandContext(t.Context(), "bash", "-eo", "pipefail", "-c", line)
					cmd.Dir, cmd.Env = dir, env
					out, err := cmd.CombinedOutput()
					commands++
					switch {
					case want == "" && err != nil:
						t.Fatalf("$ %s\n%s%v", line, out, err)
					case want != "" && !printed(want).Match(out):
						t.Fatalf("$ %s\n%s\nthe docs show\n%s", line, out, want)
					}
				}
			}
		})
	}
	if commands < 15 {
		t.Errorf("only %d commands", commands)
	}
	mended, err := os.ReadFile(filepath.Join(dir, "web-headless.yaml"))
	if err != nil || !strings.Contains(string(mended), "clusterIP: None") {
		t.Errorf("not mended: %s %v", mended, err)
	}
}

// printed matches what the docs show.
func printed(want string) *regexp.Regexp {
	var b strings.Builder
	for line := range strings.SplitSeq(want, "\n") {
		switch start, open := strings.CutSuffix(line, "..."); {
		case line == "...":
			b.WriteString(`(?:.*\n)*`)
		case open:
			b.WriteString(regexp.QuoteMeta(start) + ".*\n")
		default:
			b.WriteString(regexp.QuoteMeta(line) + "\n")
		}
	}
	return regexp.MustCompile("^" + b.String() + "$")
}

// unreachable kills the only replica. Another one starts when the test ends.
func unreachable(t *testing.T) {
	if err := shared.server.Process.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := shared.client.DiscoveryV1().EndpointSlices(namespace).Delete(t.Context(), hook, metav1.DeleteOptions{}); err != nil {
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
