package lint_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/verdict"
)

var loadBuiltin = sync.OnceValues(policies.Builtin)

func builtin(t testing.TB) *policies.Rules {
	t.Helper()
	rules, err := loadBuiltin()
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func newJudge(t testing.TB, c *config.Configuration) *verdict.Judge {
	t.Helper()
	judge := verdict.New(builtin(t), c, "", time.Now)
	return judge
}

// A rule that fails has neither passed nor found anything.
func TestRuleThatFails(t *testing.T) {
	rules, err := policies.Load(fstest.MapFS{"rules/broken/rule.rego": {Data: []byte(`# METADATA
# title: It can't be told
# description: It depends.
# custom:
#   level: baseline
#   subject: relation
#   remedy: Mend the rule.
package stsguard.rules["broken"]

findings contains {"object": input.statefulSet.ref, "path": "", "msg": "never"} if {
	to_number(input.statefulSet.name) > 0
}
`)}})
	if err != nil {
		t.Fatal(err)
	}
	judge := verdict.New(rules, config.Default(), "", time.Now)
	file := filepath.Join(t.TempDir(), "web.yaml")
	write(t, file, statefulSet("web"))
	r := lint.Run(t.Context(), lint.Options{
		Paths: []string{file}, Reading: manifest.Options{}, Judge: judge,
		FailOn: policies.Baseline, Show: policies.Baseline,
	})
	if len(r.Findings) != 0 || len(r.Errors) != 1 || !strings.HasPrefix(r.Errors[0].Message, "judge StatefulSet/default/web") || r.Summary.Errors != 1 {
		t.Errorf("findings %v, errors %v", r.Findings, r.Errors)
	}
}

// A rule that doesn't end is tried a few times, and not for every StatefulSet.
func TestRuleThatDoesNotEnd(t *testing.T) {
	rules, err := policies.Load(fstest.MapFS{"rules/endless/rule.rego": {Data: []byte(`# METADATA
# title: It counts
# description: And counts.
# custom:
#   level: baseline
#   subject: relation
#   remedy: Mend the rule.
package stsguard.rules["endless"]

findings contains {"object": input.statefulSet.ref, "path": "", "msg": "never"} if {
	some a in numbers.range(1, 10000)
	some b in numbers.range(1, 10000)
	some c in numbers.range(1, 10000)
	a * b * c == -1
}
`)}})
	if err != nil {
		t.Fatal(err)
	}
	rules.Deadline = 20 * time.Millisecond
	judge := verdict.New(rules, config.Default(), "", time.Now)
	dir := t.TempDir()
	for i := range 9 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), statefulSet(fmt.Sprintf("web-%d", i)))
	}
	r := lint.Run(t.Context(), lint.Options{Paths: []string{dir}, Judge: judge, FailOn: policies.Baseline, Show: policies.Baseline})
	if len(r.Errors) != 4 || r.Errors[0].Message != "3 evaluations had to be stopped, so the rest was not judged" {
		t.Errorf("errors %v", r.Errors)
	}
}
