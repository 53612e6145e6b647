package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// tool is a program that checks manifests.
type tool struct {
	name, module, version string
	// args are those to check the files with, which stand in dir. rules is a
	// directory with rules that ask for no more than that each StatefulSet's
	// Service is there and headless.
	args func(rules, dir string, files []string) []string

	path string // where it is installed
}

// tools are what the Go toolchain builds from a module. kube-linter can't be
// built in that way.
var tools = []tool{
	{name: "kube-score", module: "github.com/zegl/kube-score/cmd/kube-score", version: "v1.20.0",
		args: func(_, _ string, files []string) []string { return append([]string{"score", "-o", "ci"}, files...) }},
	{name: "conftest", module: "github.com/open-policy-agent/conftest", version: "v0.71.1",
		args: func(rules, dir string, _ []string) []string {
			return []string{"test", "--combine", "--policy", filepath.Join(rules, "conftest"), dir}
		}},
	{name: "gator", module: "github.com/open-policy-agent/gatekeeper/v3/cmd/gator", version: "v3.23.1",
		args: func(rules, dir string, _ []string) []string {
			return []string{"test", "-f", filepath.Join(rules, "gator"), "-f", dir}
		}},
}

// install installs the tools under bin, unless they are there.
func install(ctx context.Context) ([]tool, error) {
	installed := append([]tool{}, tools...)
	for i := range installed {
		t := &installed[i]
		bin, err := filepath.Abs(filepath.Join("bin", t.name+"-"+t.version))
		if err != nil {
			return nil, fmt.Errorf("find bin: %w", err)
		}
		t.path = filepath.Join(bin, path.Base(t.module))
		if _, err := os.Stat(t.path); err == nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "installing %s %s, which takes minutes\n", t.name, t.version)
		cmd := exec.CommandContext(ctx, "go", "install", t.module+"@"+t.version)
		cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("install %s: %w", t.name, err)
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
