package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stsguard/stsguard/policies"
)

func catalog(t *testing.T) policies.Catalog {
	t.Helper()
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return rules.Catalog
}

const header = "apiVersion: stsguard.dev/v1alpha1\nkind: Configuration\n"

func TestParseKeepsDefaults(t *testing.T) {
	c, err := Parse("stsguard.yaml", []byte(header+`
defaults: {enforce: strict}
rules:
  service-not-headless: {mode: warn, parameters: {allowSingleReplica: true}}
exceptions:
- {rule: service-not-found, namespace: argocd, name: argocd, reason: needs no peers, expires: 2027-06-30}
`), catalog(t))
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
		"two documents":      {header + "---\nkind: x\n", "f.yaml:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tc.in), catalog(t))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v\nwant %s", err, tc.want)
			}
		})
	}
}
