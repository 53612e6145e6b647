// Package layout holds the tree against the rules about who may know whom.
package layout

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/stsguard/stsguard/"

// deps lists what a package links, other than the standard library.
func deps(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+pkg).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}

func TestWhoKnowsWhom(t *testing.T) {
	const (
		opa     = "github.com/open-policy-agent/"
		client  = "k8s.io/client-go/"
		runtime = "sigs.k8s.io/controller-runtime/"
		helm    = "helm.sh/"
		kustom  = "sigs.k8s.io/kustomize/"
	)
	for pkg, banned := range map[string][]string{
		"inventory":            {opa, client, runtime, module + "policies", module + "verdict", module + "config"},
		"inventory/manifest":   {opa, client, runtime, helm, kustom, module + "policies", module + "verdict", module + "config"},
		"inventory/render":     {opa, runtime, module + "policies", module + "verdict", module + "config", module + "inventory/cluster"},
		"inventory/cluster":    {opa, runtime, module + "policies", module + "verdict", module + "config"},
		"parallel":             {opa, client, runtime, module + "inventory", module + "policies", module + "config"},
		"policies":             {client, runtime, module + "verdict", module + "config"},
		"config":               {client, runtime, module + "verdict"},
		"verdict":              {client, runtime, module + "lint", module + "webhook", module + "report"},
		"report":               {opa, client, runtime, module + "lint", module + "webhook", module + "inventory/cluster"},
		"explain":              {opa, client, runtime, module + "lint", module + "audit", module + "webhook", module + "policies", module + "inventory/cluster", module + "inventory/manifest"},
		"migrate":              {opa, client, runtime, module + "lint", module + "audit", module + "webhook", module + "policies", module + "explain", module + "inventory/cluster", module + "inventory/manifest"},
		"lint":                 {runtime, module + "audit", module + "webhook", module + "inventory/cluster"}, // Helm's engine brings a client
		"audit":                {client, runtime, module + "lint", module + "webhook", module + "inventory/cluster", module + "inventory/manifest"},
		"webhook":              {module + "audit", module + "explain", module + "lint", module + "report", module + "inventory/manifest"},
		"certs":                {opa, runtime, module + "audit", module + "config", module + "inventory", module + "lint", module + "policies", module + "registration", module + "verdict", module + "webhook"},
		"registration":         {opa, runtime, module + "audit", module + "certs", module + "config", module + "inventory", module + "lint", module + "policies", module + "verdict", module + "webhook"},
		"cmd/stsguard-webhook": {helm, kustom, module + "explain", module + "lint", module + "report", module + "inventory/manifest"},
	} {
		for _, dep := range deps(t, pkg) {
			if i := slices.IndexFunc(banned, func(b string) bool { return strings.HasPrefix(dep+"/", b) || dep == b }); i >= 0 {
				t.Errorf("%s must not know %s", pkg, dep)
			}
		}
	}
}

// Only rendering knows Helm and kustomize, and lint no client but theirs.
func TestOnlyRenderingKnowsTheRenderers(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		for _, dep := range fields[1:] {
			rendering := strings.HasPrefix(dep, "helm.sh/") || strings.HasPrefix(dep, "sigs.k8s.io/kustomize/")
			if rendering && fields[0] != module+"inventory/render" || fields[0] == module+"lint" && strings.HasPrefix(dep, "k8s.io/client-go/") {
				t.Errorf("%s must not import %s", fields[0], dep)
			}
		}
	}
}

func TestNothingImportsTheCommandsOrTheTests(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		for _, dep := range fields[1:] {
			if strings.HasPrefix(dep, module+"cmd/") {
				t.Errorf("%s imports a command: %s", fields[0], dep)
			}
			if strings.HasPrefix(dep, module+"test/") && !strings.HasPrefix(fields[0], module+"test/") {
				t.Errorf("%s imports a test's package: %s", fields[0], dep)
			}
		}
	}
}

func TestNoCatchAllFolders(t *testing.T) {
	out, err := exec.Command("go", "list", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		for part := range strings.SplitSeq(strings.TrimPrefix(pkg, module), "/") {
			if slices.Contains([]string{"pkg", "utils", "util", "common", "helpers"}, part) {
				t.Errorf("%s: call the folder by what is in it", pkg)
			}
		}
	}
}
