package around

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/test/docs"
)

// TestPreCommit runs the hook as pre-commit does, in a repository of which a
// commit changes one file of two.
func TestPreCommit(t *testing.T) {
	var hooks []struct {
		ID            string `json:"id"`
		Name          string `json:"name"`
		Description   string `json:"description"`
		Language      string `json:"language"`
		Entry         string `json:"entry"`
		PassFilenames *bool  `json:"pass_filenames"`
		AlwaysRun     bool   `json:"always_run"`
	}
	read(t, ".pre-commit-hooks.yaml", &hooks)
	if len(hooks) != 1 || hooks[0].ID != "stsguard" || hooks[0].Language != "golang" {
		t.Fatalf("hooks: %+v", hooks)
	}
	hook := hooks[0]
	if hook.PassFilenames == nil || *hook.PassFilenames || !hook.AlwaysRun {
		t.Error("the hook does not always look at the whole tree")
	}
	// pre-commit installs every program of the repository, by its folder's name.
	entry := strings.Fields(hook.Entry)
	if _, err := os.Stat(filepath.Join("..", "..", "cmd", entry[0], "main.go")); err != nil {
		t.Fatal(err)
	}

	// As the README has it in .pre-commit-config.yaml.
	for _, b := range docs.Blocks(t, "README.md", "repos:") {
		var config struct {
			Repos []struct {
				Repo, Rev string
				Hooks     []struct{ ID string }
			}
		}
		if err := yaml.UnmarshalStrict([]byte(b.Text), &config); err != nil {
			t.Fatal(err)
		}
		if r := config.Repos; len(r) != 1 || len(r[0].Hooks) != 1 || r[0].Hooks[0].ID != hook.ID || r[0].Repo != "https://github.com/stsguard/stsguard" {
			t.Errorf("%s: %+v", b, r)
		}
	}

	dir := tree(t, map[string]string{"apps/web.yaml": statefulSet, "apps/service.yaml": service})
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"}, args...)
		if out, code := runs(t, dir, nil, "git", args...); code != 0 {
			t.Fatalf("git %v: %s", args, out)
		}
	}
	git("init", "-q")
	git("add", ".")
	if out, code := runs(t, dir, nil, entry[0], entry[1:]...); code != 0 {
		t.Errorf("nothing is wrong: exit code %d\n%s", code, out)
	}
	git("commit", "-q", "-m", "both")

	changed := strings.Replace(service, "app: web", "app: shop", 1)
	if err := os.WriteFile(filepath.Join(dir, "apps", "service.yaml"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	git("add", ".")
	if out, code := runs(t, dir, nil, entry[0], entry[1:]...); code != 1 || !strings.Contains(out, "[selector-mismatch]") {
		t.Errorf("the Service selects others: exit code %d\n%s", code, out)
	}
	git("rm", "-q", "-f", "apps/service.yaml")
	if out, code := runs(t, dir, nil, entry[0], entry[1:]...); code != 1 || !strings.Contains(out, "[service-not-found]") {
		t.Errorf("the Service is gone: exit code %d\n%s", code, out)
	}
}
