package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stsguard/stsguard/policies"
)

const header = "apiVersion: stsguard.dev/v1alpha1\nkind: Configuration\n"

func TestParseKeepsDefaults(t *testing.T) {
	c, _, err := Parse("stsguard.yaml", []byte(header+`
defaults: {enforce: strict}
rules:
  service-not-headless: {mode: warn, parameters: {allowSingleReplica: true}}
exceptions:
- {rule: service-not-found, namespace: argocd, name: argocd, reason: needs no peers, expires: 2027-06-30}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Defaults != (Defaults{policies.Strict, policies.Strict, policies.Strict}) {
		t.Errorf("defaults = %+v", c.Defaults)
	}
	if !c.AllowIgnoreAnnotations || c.Controllers.Mode != Warn || c.DryRun.Mode != Warn {
		t.Errorf("what the file leaves out lost its default: %+v", c)
	}
	e := c.Exceptions[0]
	for when, want := range map[string]bool{"2027-06-30T23:59:59Z": false, "2027-07-01T00:00:00Z": true} {
		now, _ := time.Parse(time.RFC3339, when)
		if got := e.Expired(now); got != want {
			t.Errorf("Expired(%s) = %v", when, got)
		}
	}
}

func TestParseErrorsNameTheLine(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"unknown field":      {header + "default: {}\n", "f.yaml:3: there is no field default"},
		"unknown rule":       {header + "rules:\n  service-missing: {mode: none}\n", `f.yaml:4: there is no rule "service-missing"; the rules are clusterip-exposure,`},
		"bad mode":           {header + "rules:\n  service-not-found:\n    mode: deny\n", `f.yaml:5: mode must be none, audit, warn or enforce, not "deny"`},
		"bad controllers":    {header + "controllers:\n  mode: deny\n", `f.yaml:4: controllers.mode must be none, audit, warn or enforce, not "deny"`},
		"bad dry-run":        {header + "dryRun:\n  mode: deny\n", `f.yaml:4: dryRun.mode must be none, audit, warn or enforce, not "deny"`},
		"off is no level":    {header + "defaults:\n  warn: off\n", `f.yaml:4: defaults.warn must be none, baseline or strict, not "off"`},
		"unknown parameter":  {header + "rules:\n  service-not-found:\n    parameters: {x: 1}\n", `f.yaml:5: rule service-not-found has no parameter "x"`},
		"wrong type":         {header + "rules:\n  service-not-headless:\n    parameters: {allowSingleReplica: 1}\n", "f.yaml:5: parameter allowSingleReplica must be true or false"},
		"list of numbers":    {header + "rules:\n  selector-mismatch:\n    parameters: {runtimeLabels: [1]}\n", "f.yaml:5: parameter runtimeLabels must be a list of strings"},
		"an empty string":    {header + "rules:\n  selector-mismatch:\n    parameters: {runtimeLabels: [\"\"]}\n", "none of them empty"},
		"no reason":          {header + "exceptions:\n- {rule: service-not-found, name: a}\n", "f.yaml:4: an exception needs a reason"},
		"no date":            {header + "exceptions:\n- rule: service-not-found\n  name: a\n  reason: b\n  expires: soon\n", `f.yaml:7: "soon" is not a date`},
		"no header":          {"defaults: {}\n", `f.yaml:1: apiVersion must be stsguard.dev/v1alpha1, not ""`},
		"empty":              {"", "f.yaml:1: apiVersion must be"},
		"a list":             {"- a\n", "f.yaml:1:"},
		"broken":             {header + "defaults: {\n", "f.yaml:"},
		"duplicate":          {header + "kind: Configuration\n", "f.yaml:3:"},
		"mode of wrong type": {header + "controllers:\n  mode: [warn]\n", "f.yaml:4:"},
		"no DNS domain":      {header + "clusterDomain: cluster.local.\n", `f.yaml:3: clusterDomain must be a DNS domain in lower case such as cluster.local, not "cluster.local."`},
		"a misspelt field":   {header + "exceptions:\n- {rules: x}\n", `f.yaml:4: there is no field rules: did you mean "rule"?`},
		"a misspelt rule":    {header + "exceptions:\n- {rule: port-remaped}\n", `f.yaml:4: there is no rule "port-remaped": did you mean "port-remapped"?`},
		"no directory":       {header + "policies:\n- a\n- /no/such\n", "f.yaml:5: read rules: open /no/such: "},
		"two documents":      {header + "---\nkind: x\n", "f.yaml:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := newFile("f.yaml", []byte(tc.in)).Parse()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v\nwant %s", err, tc.want)
			}
		})
	}
}

const rule = `# METADATA
# title: A title
# description: Why it matters.
# custom:
#   level: baseline
#   subject: relation
#   remedy: What to do.
package stsguard.rules["own"]

findings contains {"object": input.statefulSet.ref, "msg": "m"} if input.governing.found == false
`

// TestPolicies shows that policies start from the file, and that ids in the
// file may be those of their rules.
func TestPolicies(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("stsguard.yaml", header+"policies: [rules]\nrules: {own: {mode: warn}}\n")
	write("rules/own/rule.rego", rule)
	path := filepath.Join(dir, "stsguard.yaml")
	before, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	c, rules, err := before.Parse()
	if err != nil {
		t.Fatal(err)
	}
	if c.Rules["own"].Mode != Warn || rules.Catalog.Rule("own") == nil || rules.Catalog.Rule("service-not-found") == nil {
		t.Errorf("configuration %+v, rules %v", c, rules.Catalog.IDs())
	}
	same, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	write("rules/own/rule.rego", rule+"\n")
	other, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !same.Equal(before) || other.Equal(before) {
		t.Errorf("the same equal: %v; another rule equal: %v", same.Equal(before), other.Equal(before))
	}
}

// FuzzSuppressions shows that no file makes the reading panic, and that what is
// written is read again as it was.
func FuzzSuppressions(f *testing.F) {
	rules, err := policies.Builtin()
	if err != nil {
		f.Fatal(err)
	}
	const head = "apiVersion: stsguard.dev/v1alpha1\nkind: Suppressions\n"
	for _, seed := range []string{
		"", "- a", "{", head, head + "findings:\n", head + "findings: [{rule: port-unnamed, object: a, file: b, count: 3}, {rule: port-unnamed, object: a, file: b}]\n",
		head + "findings: [null]\n", head + "findings: &a [*a]\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseSuppressions("k.yaml", []byte(in), rules.Catalog)
		if err != nil {
			return
		}
		text, err := s.Format()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSuppressions("k.yaml", text, rules.Catalog)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if !slices.Equal(s.Findings, again.Findings) {
			t.Errorf("%v became %v", s.Findings, again.Findings)
		}
	})
}

// A configuration that stands in no file has no directories beside it.
func TestPoliciesOfNoFile(t *testing.T) {
	_, _, err := Parse("ConfigMap a/b", []byte(header+"policies: [/etc/rules]\n"))
	if want := "ConfigMap a/b:3: its policies can't be read from here: use --config"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
