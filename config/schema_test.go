package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/test/docs"
)

const schemaFile = "stsguard.schema.json"

func builtin(t *testing.T) policies.Catalog {
	t.Helper()
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return rules.Catalog
}

// TestSchemaIsCurrent holds the published schema against the types. With
// UPDATE=1 in the environment it is written anew.
func TestSchemaIsCurrent(t *testing.T) {
	want, err := json.MarshalIndent(Schema(builtin(t)), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say: run the test with UPDATE=1", schemaFile)
	}
}

// TestSchemaSaysWhatEverythingIs shows that every field has a description.
func TestSchemaSaysWhatEverythingIs(t *testing.T) {
	described := 0
	var check func(path string, schema any)
	check = func(path string, schema any) {
		s, ok := schema.(map[string]any)
		if !ok {
			return
		}
		if text, _ := s["description"].(string); text == "" {
			t.Errorf("%s has no description", path)
		}
		described++
		properties, _ := s["properties"].(map[string]any)
		for name, p := range properties {
			check(path+"."+name, p)
		}
	}
	check("", Schema(builtin(t)))
	if described < reflect.TypeFor[Configuration]().NumField() {
		t.Errorf("there are %d descriptions", described)
	}
}

// TestSchemaAgrees holds the schema against Parse: what is right is right to
// both, and what is wrong in a way that a schema can tell is wrong to both.
func TestSchemaAgrees(t *testing.T) {
	for name, tc := range map[string]struct {
		in    string
		right bool
	}{
		"only a header":       {header, true},
		"keys without values": {header + "defaults:\nrules:\n  service-not-found:\nexceptions:\npolicies:\n", true},
		"everything": {header + `
defaults: {enforce: none, warn: baseline, audit: strict}
clusterDomain: corp.example
rules:
  port-remapped: {mode: none}
  service-not-headless: {mode: enforce, parameters: {allowSingleReplica: true}}
  selector-mismatch: {parameters: {runtimeLabels: [a]}}
exemptions: {namespaces: [kube-system], usernames: [someone]}
exceptions:
- {rule: service-not-found, namespace: argocd, name: argocd, reason: needs no peers, expires: 2027-06-30}
controllers: {mode: warn, usernames: [operator]}
dryRun: {mode: audit}
allowIgnoreAnnotations: false
revealOtherNamespaces: true
policies: []
`, true},
		"no header":            {"defaults: {}\n", false},
		"another kind":         {"apiVersion: stsguard.dev/v1alpha1\nkind: Config\n", false},
		"unknown field":        {header + "ignore: []\n", false},
		"unknown field below":  {header + "exemptions: {users: []}\n", false},
		"unknown rule":         {header + "rules: {no-such: {mode: warn}}\n", false},
		"unknown mode":         {header + "rules: {port-remapped: {mode: off}}\n", false},
		"advice is no default": {header + "defaults: {warn: advice}\n", false},
		"unknown parameter":    {header + "rules: {service-not-headless: {parameters: {x: 1}}}\n", false},
		"no parameters":        {header + "rules: {service-not-found: {parameters: {x: 1}}}\n", false},
		"wrong parameter":      {header + "rules: {service-not-headless: {parameters: {allowSingleReplica: maybe}}}\n", false},
		"wrong list":           {header + "rules: {selector-mismatch: {parameters: {runtimeLabels: [\"\"]}}}\n", false},
		"no reason":            {header + "exceptions: [{rule: service-not-found, name: a}]\n", false},
		"a blank reason":       {header + "exceptions: [{rule: service-not-found, name: a, reason: ' '}]\n", false},
		"no name":              {header + "exceptions: [{rule: service-not-found, reason: a}]\n", false},
		"exception of no rule": {header + "exceptions: [{rule: x, name: a, reason: b}]\n", false},
		"no date":              {header + "exceptions: [{rule: service-not-found, name: a, reason: b, expires: soon}]\n", false},
		"a list for a struct":  {header + "dryRun: [warn]\n", false},
		"a word for a list":    {header + "policies: rules\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := Parse("f.yaml", []byte(tc.in)); (err == nil) != tc.right {
				t.Errorf("Parse: %v", err)
			}
			if reason := mismatch(t, tc.in); (reason == "") != tc.right {
				t.Errorf("schema: %q", reason)
			}
		})
	}
}

// TestSchemaKnowsTheScripts holds it against every configuration that the
// command line's scripts show.
func TestSchemaKnowsTheScripts(t *testing.T) {
	scripts, err := filepath.Glob("../cmd/stsguard/testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(string(text), "\n-- ") {
			name, content, _ := strings.Cut(part, " --\n")
			if !strings.HasPrefix(content, header) {
				continue
			}
			// Extra rules stand elsewhere, and the schema of stsguard's own rules
			// doesn't know them.
			if _, _, err := Parse(filepath.Join(t.TempDir(), name), []byte(content+"\n")); err != nil {
				continue
			}
			seen++
			if reason := mismatch(t, content); reason != "" {
				t.Errorf("%s: %s: %s", script, name, reason)
			}
		}
	}
	if seen < 5 {
		t.Errorf("saw only %d configurations", seen)
	}
}

// TestReadme holds the configuration in the README against both, and where it
// says that the schema is.
func TestReadme(t *testing.T) {
	for _, b := range docs.Blocks(t, "README.md", "apiVersion: stsguard.dev/v1alpha1\nkind: Configuration\n") {
		if _, _, err := Parse("README.md", []byte(b.Text)); err != nil {
			t.Error(err)
		}
		if reason := mismatch(t, b.Text); reason != "" {
			t.Error(reason)
		}
	}
	for _, b := range docs.Blocks(t, "README.md", "# yaml-language-server") {
		if !strings.HasSuffix(b.Text, "/main/config/"+schemaFile+"\n") {
			t.Errorf("%s: %s is not %s", b, schemaFile, b.Text)
		}
	}
}

// mismatch says why the schema refuses the YAML, "" if it doesn't.
func mismatch(t *testing.T, in string) string {
	t.Helper()
	document, err := yaml.YAMLToJSON([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var reason string
	match := topdown.GetBuiltin(ast.JSONMatchSchema.Name)
	err = match(topdown.BuiltinContext{Context: t.Context()}, []*ast.Term{ast.StringTerm(string(document)), ast.StringTerm(string(schema))}, func(answer *ast.Term) error {
		if pair := answer.Value.(*ast.Array); !pair.Elem(0).Equal(ast.BooleanTerm(true)) {
			reason = pair.Elem(1).String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return reason
}
