package around

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGitLab runs the example's job, but for the line that installs a published
// version.
func TestGitLab(t *testing.T) {
	var file map[string]struct {
		Image     string            `json:"image"`
		Variables map[string]string `json:"variables"`
		Script    []string          `json:"script"`
		Artifacts struct {
			When    string `json:"when"`
			Reports struct {
				JUnit string `json:"junit"`
			} `json:"reports"`
		} `json:"artifacts"`
	}
	read(t, "examples/gitlab-ci.yml", &file)
	job, ok := file["stsguard"]
	if !ok || len(file) != 1 || len(job.Script) != 2 {
		t.Fatalf("jobs: %+v", file)
	}
	const module = "github.com/stsguard/stsguard/"
	if want := `go install "` + module + `cmd/stsguard@$STSGUARD_VERSION"`; job.Script[0] != want || job.Variables["STSGUARD_VERSION"] == "" {
		t.Errorf("installs with %s, variables %v", job.Script[0], job.Variables)
	}
	goMod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimPrefix(job.Image, "golang:")
	if !strings.Contains(string(goMod), "module "+strings.TrimSuffix(module, "/")+"\n") || !strings.Contains(string(goMod), "\ngo "+version+".") {
		t.Errorf("go.mod is not for %s in %s", module, job.Image)
	}
	if job.Artifacts.When != "always" {
		t.Error("the report of a job that fails is not kept")
	}
	for name, x := range map[string]struct {
		files map[string]string
		code  int
	}{
		"a right pair": {map[string]string{"web.yaml": statefulSet, "service.yaml": service}, 0},
		"no Service":   {map[string]string{"web.yaml": statefulSet}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, x.files)
			out, code := runs(t, dir, nil, "bash", "-eo", "pipefail", "-c", job.Script[1])
			if code != x.code || !strings.Contains(out, "1 StatefulSet") {
				t.Errorf("exit code %d, want %d:\n%s", code, x.code, out)
			}
			report, err := os.ReadFile(filepath.Join(dir, job.Artifacts.Reports.JUnit))
			if err != nil {
				t.Fatal(err)
			}
			if err := xml.Unmarshal(report, new(struct{ XMLName xml.Name })); err != nil || strings.Contains(string(report), "<failure") != (x.code != 0) {
				t.Errorf("%v\n%s", err, report)
			}
		})
	}
}
