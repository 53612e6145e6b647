package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tool is a program that checks manifests.
type tool struct {
	name string
	// module is where it is downloaded from and program the package in it.
	module, version, program string
	// args are those to check the files with, which stand in dir. rules is a
	// directory with rules that ask for no more than that each StatefulSet's
	// Service is there and headless.
	args func(rules, dir string, files []string) []string

	path string // where it is built
}

var tools = []tool{
	{name: "kube-linter", module: "github.com/stackrox/kube-linter", version: "v0.8.3", program: "./cmd/kube-linter",
		args: func(_, dir string, _ []string) []string {
			return []string{"lint", "--do-not-auto-add-defaults", "--include", "dangling-service,exposed-services", dir}
		}},
	{name: "kube-score", module: "github.com/zegl/kube-score", version: "v1.20.0", program: "./cmd/kube-score",
		args: func(_, _ string, files []string) []string { return append([]string{"score", "-o", "ci"}, files...) }},
	{name: "conftest", module: "github.com/open-policy-agent/conftest", version: "v0.71.1", program: ".",
		args: func(rules, dir string, _ []string) []string {
			return []string{"test", "--combine", "--policy", filepath.Join(rules, "conftest"), dir}
		}},
	{name: "gator", module: "github.com/open-policy-agent/gatekeeper/v3", version: "v3.23.1", program: "./cmd/gator",
		args: func(rules, dir string, _ []string) []string {
			return []string{"test", "-f", filepath.Join(rules, "gator"), "-f", dir}
		}},
}

// install builds the tools under bin, unless they are there. It builds them
// in their modules' own directories: kube-linter's go.mod has another path
// than the one it is downloaded from, which `go install` doesn't take.
func install(ctx context.Context) ([]tool, error) {
	installed := append([]tool{}, tools...)
	for i := range installed {
		t := &installed[i]
		bin, err := filepath.Abs(filepath.Join("bin", t.name+"-"+t.version))
		if err != nil {
			return nil, fmt.Errorf("find bin: %w", err)
		}
		t.path = filepath.Join(bin, t.name)
		if _, err := os.Stat(t.path); err == nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "building %s %s, which takes minutes\n", t.name, t.version)
		download := exec.CommandContext(ctx, "go", "mod", "download", "-json", t.module+"@"+t.version)
		answer, err := download.Output()
		if err != nil {
			return nil, fmt.Errorf("download %s: %w: %s", t.name, err, answer)
		}
		var module struct{ Dir string }
		if err := json.Unmarshal(answer, &module); err != nil {
			return nil, fmt.Errorf("download %s: read go's answer: %w", t.name, err)
		}
		build := exec.CommandContext(ctx, "go", "build", "-C", module.Dir, "-o", t.path, t.program)
		build.Env = append(os.Environ(), "GOFLAGS=")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("build %s: %w", t.name, err)
		}
	}
	return installed, nil
}

// writeRules writes the same rule for conftest and for gator.
func writeRules(dir string) error {
	indented := strings.ReplaceAll(gatorRule, "\n", "\n        ")
	for file, text := range map[string]string{
		"conftest/governing.rego": conftestRule,
		"gator/template.yaml":     strings.Replace(gatorTemplate, "RULE", indented, 1),
		"gator/constraint.yaml":   gatorConstraint,
	} {
		if err := write(filepath.Join(dir, file), text); err != nil {
			return err
		}
	}
	return nil
}

const conftestRule = `package main

import rego.v1

namespace(object) := object.metadata.namespace

namespace(object) := "default" if not object.metadata.namespace

headless := {[namespace(object), object.metadata.name] |
	some file in input
	object := file.contents
	object.kind == "Service"
	object.spec.clusterIP == "None"
}

deny contains msg if {
	some file in input
	object := file.contents
	object.kind == "StatefulSet"
	name := object.spec.serviceName
	not [namespace(object), name] in headless
	msg := sprintf("StatefulSet %s has no headless Service %s", [object.metadata.name, name])
}
`

const gatorRule = `package governing

violation[{"msg": msg}] {
  set := input.review.object
  name := set.spec.serviceName
  not headless(set.metadata.namespace, name)
  msg := sprintf("StatefulSet %v has no headless Service %v", [set.metadata.name, name])
}

headless(namespace, name) {
  data.inventory.namespace[namespace]["v1"]["Service"][name].spec.clusterIP == "None"
}
`

const gatorTemplate = `apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata:
  name: governing
spec:
  crd:
    spec:
      names:
        kind: Governing
  targets:
    - target: admission.k8s.gatekeeper.sh
      rego: |
        RULE
`

const gatorConstraint = `apiVersion: constraints.gatekeeper.sh/v1beta1
kind: Governing
metadata:
  name: governing
spec:
  match:
    kinds:
      - apiGroups: ["apps"]
        kinds: ["StatefulSet"]
`
