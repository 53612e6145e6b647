package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/stsguard/stsguard/test/docs"
	"github.com/stsguard/stsguard/test/guarded"
)

// TestFlags has the webhook read the flags of each variant: a wrong one would
// show only when a pod starts.
func TestFlags(t *testing.T) {
	webhook, err := guarded.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			deployment := "stsguard-webhook"
			if name == "another name" {
				deployment = "guard-webhook"
			}
			c := exec.CommandContext(t.Context(), webhook, container(t, objects(t, values(t, v.set...)), deployment).Args...)
			c.Env = append(os.Environ(), "POD_NAMESPACE="+namespace)
			out, err := c.CombinedOutput()
			// Flags are read before the file, which is only in a pod.
			if err == nil || !strings.Contains(string(out), "stsguard-webhook: --config: read configuration: open /etc/stsguard/stsguard.yaml") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// documents are the pages about the chart.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"install.md", "rollout.md", "upgrade.md", "uninstall.md"} {
		text, err := os.ReadFile(path("docs", name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(text)
	}
	return out
}

// TestDocumentedValues renders the chart with the values in the pages' commands.
func TestDocumentedValues(t *testing.T) {
	commands := 0
	for name, text := range documents(t) {
		for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, "|")
			var set []string
			fields := strings.Fields(strings.ReplaceAll(line, "`", " "))
			for i, f := range fields {
				if f == "--set" && i+1 < len(fields) {
					set = append(set, strings.TrimRight(fields[i+1], ".,:"))
				}
			}
			if len(set) == 0 {
				continue
			}
			commands++
			if _, err := template(t, namespace, values(t, set...)); err != nil {
				t.Errorf("docs/%s: %s: %v", name, strings.TrimSpace(line), err)
			}
		}
	}
	if commands < 5 {
		t.Errorf("the pages have %d commands with values", commands)
	}
}

// TestDocumentedKustomization puts the kustomization of docs/install.md beside
// the install file, as it says.
func TestDocumentedKustomization(t *testing.T) {
	b := docs.Blocks(t, "docs/install.md", "apiVersion: kustomize.config.k8s.io")[0]
	dir := t.TempDir()
	install, err := os.ReadFile(path("deploy", "install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{"kustomization.yaml": b.Text, "install.yaml": string(install)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	out, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "image: registry.example/stsguard-webhook:v0.1.0\n") {
		t.Errorf("the image is not replaced:\n%s", out)
	}
}
