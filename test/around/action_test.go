package around

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/test/docs"
)

// action is what is used of action.yml.
type action struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Branding    map[string]string `json:"branding"`
	Inputs      map[string]struct {
		Description string `json:"description"`
		Default     string `json:"default"`
	} `json:"inputs"`
	Outputs map[string]struct {
		Description string `json:"description"`
		Value       string `json:"value"`
	} `json:"outputs"`
	Runs struct {
		Using string `json:"using"`
		Steps []step `json:"steps"`
	} `json:"runs"`
}

type step struct {
	Name  string            `json:"name"`
	ID    string            `json:"id"`
	Uses  string            `json:"uses"`
	With  map[string]any    `json:"with"`
	Shell string            `json:"shell"`
	Env   map[string]string `json:"env"`
	Run   string            `json:"run"`
}

// TestAction runs the action's steps as GitHub does: it is installed from its
// own directory, and run in the workspace.
func TestAction(t *testing.T) {
	var a action
	read(t, "action.yml", &a)
	if a.Runs.Using != "composite" {
		t.Fatalf("using %q", a.Runs.Using)
	}
	var install, lint step
	for _, s := range a.Runs.Steps {
		switch {
		case s.Run == "":
			if name, version, _ := strings.Cut(s.Uses, "@"); name != "actions/setup-go" || version == "" {
				t.Errorf("a step uses %q", s.Uses)
			}
			continue
		case strings.Contains(s.Run, "${{"):
			t.Errorf("step %q: an expression in a script can be any code", s.Name)
		case s.Shell != "bash":
			t.Errorf("step %q: the shell is %q", s.Name, s.Shell)
		}
		if s.ID == "lint" {
			lint = s
		} else {
			install = s
		}
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}

	// What the runner gives every step.
	temporary := t.TempDir()
	pathFile := filepath.Join(temporary, "path")
	env := []string{"GITHUB_ACTION_PATH=" + root, "RUNNER_TEMP=" + temporary, "GITHUB_PATH=" + pathFile}
	if out, code := script(t, temporary, env, install.Run); code != 0 {
		t.Fatalf("install: exit code %d\n%s", code, out)
	}
	added, err := os.ReadFile(pathFile)
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "PATH="+strings.TrimSpace(string(added))+string(os.PathListSeparator)+os.Getenv("PATH"))

	for name, x := range map[string]struct {
		files  map[string]string
		inputs map[string]string
		code   string
		// says is what the log has to hold, sarif which file has to be there.
		says, sarif string
	}{
		"a right pair": {
			files: map[string]string{"web.yaml": statefulSet, "service.yaml": service},
			code:  "0",
		},
		"no Service": {
			files: map[string]string{"web.yaml": statefulSet},
			code:  "1", says: "::error file=web.yaml,line=5,",
		},
		"a report besides": {
			files:  map[string]string{"deploy here/web.yaml": statefulSet},
			inputs: map[string]string{"sarif-file": "deploy here/found.sarif"},
			code:   "1", says: "::error file=deploy here/web.yaml,", sarif: "deploy here/found.sarif",
		},
		"several paths and arguments": {
			files:  map[string]string{"a b/web.yaml": statefulSet, "c/service.yaml": service, "d/broken.yaml": "kind: Service\n  x"},
			inputs: map[string]string{"paths": "a b\nc\n", "args": "--level=advice\n--fail-on=strict\n"},
			code:   "0",
		},
		"an input that would be code": {
			files:  map[string]string{"web.yaml": statefulSet},
			inputs: map[string]string{"paths": "$(touch touched) ; touch touched", "args": "--exclude=$(touch touched)"},
			code:   "3",
		},
		"an unknown flag": {
			inputs: map[string]string{"args": "--nonsense"},
			code:   "2", says: "unknown flag: --nonsense",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, x.files)
			given := func(expression string) string {
				for input, in := range a.Inputs {
					value, ok := x.inputs[input]
					if !ok {
						value = in.Default
					}
					expression = strings.ReplaceAll(expression, "${{ inputs."+input+" }}", value)
				}
				if strings.Contains(expression, "${{") {
					t.Fatalf("there is no such input: %s", expression)
				}
				return expression
			}
			for input := range x.inputs {
				if _, ok := a.Inputs[input]; !ok {
					t.Fatalf("there is no input %s", input)
				}
			}
			output := filepath.Join(t.TempDir(), "output")
			env := append([]string{"GITHUB_OUTPUT=" + output}, env...)
			for key, value := range lint.Env {
				env = append(env, key+"="+given(value))
			}
			out, code := script(t, dir, env, lint.Run)
			text, err := os.ReadFile(output)
			if err != nil {
				t.Fatal(err)
			}
			outputs := map[string]string{}
			for line := range strings.Lines(string(text)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				outputs[key] = value
			}
			if outputs["exit-code"] != x.code || (code == 0) != (x.code == "0") || !strings.Contains(out, x.says) {
				t.Errorf("exit code %d, outputs %v, want %s with %q:\n%s", code, outputs, x.code, x.says, out)
			}
			if _, err := os.Stat(filepath.Join(dir, "touched")); err == nil {
				t.Error("an input was run as code")
			}
			if outputs["sarif-file"] != x.sarif {
				t.Errorf("sarif-file is %q", outputs["sarif-file"])
			}
			for name, o := range a.Outputs {
				if o.Value != "${{ steps.lint.outputs."+name+" }}" {
					t.Errorf("output %s is %s", name, o.Value)
				}
			}
			if x.sarif != "" {
				report, err := os.ReadFile(filepath.Join(dir, x.sarif))
				if err != nil {
					t.Fatal(err)
				}
				if !json.Valid(report) || !strings.Contains(string(report), "service-not-found") {
					t.Errorf("report: %s", report)
				}
			}
		})
	}
}

// TestWorkflowOfOthers holds the steps that the README shows against the action.
func TestWorkflowOfOthers(t *testing.T) {
	var a action
	read(t, "action.yml", &a)
	for _, b := range docs.Blocks(t, "README.md", "- uses: stsguard/stsguard@") {
		var steps []struct {
			Uses string            `json:"uses"`
			If   string            `json:"if"`
			With map[string]string `json:"with"`
		}
		if err := yaml.UnmarshalStrict([]byte(b.Text), &steps); err != nil || len(steps) != 2 {
			t.Fatalf("%s: %+v %v", b, steps, err)
		}
		for input := range steps[0].With {
			if _, ok := a.Inputs[input]; !ok {
				t.Errorf("%s: there is no input %s", b, input)
			}
		}
		if report := steps[0].With["sarif-file"]; report == "" || steps[1].With["sarif_file"] != report || steps[1].If != "always()" {
			t.Errorf("%s: the report is not uploaded: %+v", b, steps)
		}
	}
}

// script runs one as GitHub's shell: bash does.
func script(t *testing.T, dir string, env []string, text string) (string, int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "step.sh")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return runs(t, dir, env, "bash", "--noprofile", "--norc", "-eo", "pipefail", file)
}
