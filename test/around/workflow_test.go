package around

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/test/docs"
)

var (
	pinnedAction = regexp.MustCompile(`^actions/(checkout|setup-go)@v\d+$`)
	goRun        = regexp.MustCompile(`^go run [a-z0-9./]+@v\d+\.\d+\.\d+ \./\.\.\.$`)
	makeTarget   = regexp.MustCompile(`^make ([a-z0-9-]+)$`)
)

// asRoot runs pods and containers, too, which tests do for nobody else: there they
// are skipped. PATH and HOME have the Go that was set up, and its caches.
const asRoot = `sudo env "PATH=$PATH" "HOME=$HOME" .ci/run`

// TestWorkflow holds the project's own workflow against what it calls, and against
// what it may do.
func TestWorkflow(t *testing.T) {
	var w struct {
		Name string `json:"name"`
		// YAML takes the key "on" for a boolean.
		On          map[string]any    `json:"true"`
		Permissions map[string]string `json:"permissions"`
		Concurrency map[string]any    `json:"concurrency"`
		Jobs        map[string]struct {
			RunsOn         string `json:"runs-on"`
			TimeoutMinutes int    `json:"timeout-minutes"`
			Steps          []step `json:"steps"`
		} `json:"jobs"`
	}
	read(t, ".github/workflows/ci.yml", &w)
	if !maps.Equal(w.Permissions, map[string]string{"contents": "read"}) {
		t.Errorf("the workflow may %v", w.Permissions)
	}
	for _, event := range []string{"push", "pull_request", "schedule"} {
		if _, ok := w.On[event]; !ok {
			t.Errorf("not run on %s", event)
		}
	}
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var runs []string
	for name, job := range w.Jobs {
		if job.RunsOn == "" || job.TimeoutMinutes == 0 || len(job.Steps) < 3 {
			t.Errorf("job %s: %+v", name, job)
		}
		for _, s := range job.Steps {
			switch {
			case s.Uses != "":
				if !pinnedAction.MatchString(s.Uses) {
					t.Errorf("job %s uses %s", name, s.Uses)
				}
				if strings.Contains(s.Uses, "checkout") && s.With["persist-credentials"] != false {
					t.Errorf("job %s leaves credentials behind", name)
				}
				continue
			case s.Run == asRoot:
				if info, err := os.Stat(filepath.Join("..", "..", ".ci", "run")); err != nil || info.Mode()&0o111 == 0 {
					t.Errorf("%s can't be run: %v", s.Run, err)
				}
			case makeTarget.MatchString(s.Run):
				if target := makeTarget.FindStringSubmatch(s.Run)[1]; !regexp.MustCompile(`(?m)^` + target + `:`).Match(makefile) {
					t.Errorf("there is no target %s", target)
				}
			case !goRun.MatchString(s.Run):
				t.Errorf("job %s runs %q", name, s.Run)
			}
			runs = append(runs, strings.Fields(s.Run)[0])
		}
	}
	for _, command := range []string{"sudo", "make", "go"} {
		if !slices.Contains(runs, command) {
			t.Errorf("no job runs %s", command)
		}
	}
}

// TestCIRunsTheDocs: what takes all of a machine is run by CI, as the docs have it.
func TestCIRunsTheDocs(t *testing.T) {
	root := docs.Root(t)
	text, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	if err != nil {
		t.Fatal(err)
	}
	ci := strings.Split(string(text), "\n")
	for _, b := range docs.Blocks(t, "README.md", "make demo") {
		for _, c := range b.Commands() {
			if line, _, _ := strings.Cut(c.Line, "#"); !slices.Contains(ci, strings.TrimSpace(line)) {
				t.Errorf("%s: CI doesn't run %s", b, c.Line)
			}
		}
	}
	for _, b := range docs.Blocks(t, "docs/image.md", "apt-get install ") {
		for name := range strings.FieldsSeq(strings.TrimPrefix(b.Commands()[0].Line, "apt-get install ")) {
			if !regexp.MustCompile(`apt-get .*install .*\b` + name + `\b`).Match(text) {
				t.Errorf("%s: CI doesn't install %s", b, name)
			}
		}
		if out := dry(t, "make e2e"); !strings.Contains(out, " ./test/e2e/...") {
			t.Errorf("%s: not part of make e2e: %s", b, out)
		}
	}
	// These measure for minutes, some of them others' programs as well.
	for _, b := range docs.Blocks(t, "docs/benchmarks.md", "$ make ") {
		for _, c := range b.Commands() {
			if out := dry(t, c.Line); !strings.Contains(out, "go run ./test/bench") {
				t.Errorf("%s: %s does %s", b, c.Line, out)
			}
		}
	}
}

// dry is what make would do.
func dry(t *testing.T, command string) string {
	t.Helper()
	fields := strings.Fields(command)
	out, code := runs(t, docs.Root(t), nil, fields[0], append([]string{"--dry-run"}, fields[1:]...)...)
	if code != 0 {
		t.Fatalf("%s: exit code %d\n%s", command, code, out)
	}
	return out
}
