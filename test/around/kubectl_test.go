package around

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/docs"
)

// TestKubectl shows that kubectl finds the program by its other two names, as
// a plugin and to complete what is typed after it, once they are made as the
// README says.
func TestKubectl(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no links to make")
	}
	kubectl, err := controlplane.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	dir := tree(t, map[string]string{"web.yaml": statefulSet, "deploy/web.yaml": statefulSet, ".local/bin/README": ""})
	links := filepath.Join(dir, ".local", "bin")
	env := []string{"PATH=" + strings.Join([]string{links, filepath.Dir(kubectl), os.Getenv("PATH")}, ":"), "HOME=" + dir, "KUBECONFIG="}
	for _, b := range docs.Blocks(t, "README.md", "ln -s ") {
		if out := b.Run(t, dir, append(os.Environ(), env...)); !strings.Contains(out, "deploy/web.yaml:5:16: error: ") {
			t.Errorf("%s: %s", b, out)
		}
	}
	for _, x := range []struct {
		args string
		code int
		want string
	}{
		{"plugin list", 0, filepath.Join(links, "kubectl-stsguard")},
		{"stsguard lint web.yaml", 1, "web.yaml:5:16: error: "},
		{"stsguard lint --help", 0, "\n  kubectl stsguard lint [PATH|-]... [flags]\n"},
		{"stsguard lint --level nonsense", 2, "Run \"kubectl stsguard lint --help\" for usage."},
		{"__complete stsguard l", 0, "lint\tCheck manifests, Helm charts and kustomizations\n"},
		{"__complete stsguard lint --level s", 0, "strict\n"},
	} {
		out, code := runs(t, dir, env, kubectl, strings.Fields(x.args)...)
		if code != x.code || !strings.Contains(out, x.want) {
			t.Errorf("kubectl %s: exit code %d, want %d with %q:\n%s", x.args, code, x.code, x.want, out)
		}
	}
}
