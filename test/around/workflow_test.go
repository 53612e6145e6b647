package around

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	pinnedAction = regexp.MustCompile(`^actions/(checkout|setup-go)@v\d+$`)
	goRun        = regexp.MustCompile(`^go run [a-z0-9./]+@v\d+\.\d+\.\d+ \./\.\.\.$`)
	makeTarget   = regexp.MustCompile(`^make ([a-z0-9-]+)$`)
)

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
			case s.Run == ".ci/run":
				if info, err := os.Stat(filepath.Join("..", "..", s.Run)); err != nil || info.Mode()&0o111 == 0 {
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
	for _, command := range []string{".ci/run", "make", "go"} {
		if !slices.Contains(runs, command) {
			t.Errorf("no job runs %s", command)
		}
	}
}
