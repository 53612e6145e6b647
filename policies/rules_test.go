package policies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/stsguard/stsguard/inventory"
)

// TestRego runs the rules' own tests.
func TestRego(t *testing.T) {
	modules := map[string]*ast.Module{}
	for _, file := range regoFiles(t) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ast.ParseModuleWithOpts(file, string(source), ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		modules[file] = m
	}
	results, err := tester.NewRunner().
		SetCompiler(ast.NewCompiler().WithStrict(true)).
		SetModules(modules).
		RaiseBuiltinErrors(true).
		RunTests(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]int{}
	for r := range results {
		tested[path.Base(path.Dir(r.Location.File))]++
		if !r.Pass() {
			t.Errorf("%s: %s.%s failed (%v)", r.Location, r.Package, r.Name, r.Error)
		}
	}
	rules, err := Load(builtin)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range rules.Catalog.IDs() {
		if tested[id] < 2 {
			t.Errorf("rule %s has %d tests: at least one that passes and one that fails are wanted", id, tested[id])
		}
	}
}

// TestRegoIsFormatted holds every file against `opa fmt`.
func TestRegoIsFormatted(t *testing.T) {
	for _, file := range regoFiles(t) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := format.SourceWithOpts(file, source, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != string(source) {
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, want, 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			t.Errorf("%s is not formatted: run the test with UPDATE=1", file)
		}
	}
}

func regoFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"lib/*.rego", "rules/*/*.rego"} {
		found, err := fs.Glob(os.DirFS("."), pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

const metadata = `# METADATA
# title: A title
# description: Why it matters.
# custom:
#   level: baseline
#   subject: relation
#   remedy: What to do.
`

// TestLoadRefuses shows that a rule which could never find anything doesn't
// load.
func TestLoadRefuses(t *testing.T) {
	head := metadata + "package stsguard.rules[\"x\"]\n\n"
	for name, tc := range map[string]struct{ rule, want string }{
		"a misspelt fact": {
			head + `findings contains {"object": input.statefulSet.ref, "msg": "m"} if input.statefulSet.serviceNam == ""`,
			"undefined ref: input.statefulSet.serviceNam",
		},
		"a misspelt fact deep down": {
			head + `findings contains {"object": p.nam, "msg": "m"} if some p in input.governing.ports`,
			"undefined ref",
		},
		"a fact of another subject": {
			head + `findings contains {"object": input.service.ref, "msg": "m"}`,
			"undefined ref: input.service.ref",
		},
		"a misspelt fact in a function": {
			head + "findings contains {\"object\": input.statefulSet.ref, \"msg\": \"m\"} if _long(input.statefulSet)\n\n_long(set) if count(set.nam) > 9",
			"no fact has a field nam",
		},
		"a misspelt fact in every": {
			head + "findings contains {\"object\": input.statefulSet.ref, \"msg\": \"m\"} if {\n\tevery s in input.services {\n\t\ts.headles\n\t}\n}",
			"no fact has a field headles",
		},
		"a misspelt parameter": {
			head + "findings contains {\"object\": input.statefulSet.ref, \"msg\": \"m\"} if data.parameters.x.loud",
			"rule x has no parameter loud",
		},
		"another rule's misspelt parameter": {
			head + "findings contains {\"object\": input.statefulSet.ref, \"msg\": \"m\"} if data.parameters.z.loud",
			"there is no rule \"z\"",
		},
		"a misspelt head": {
			head + "findings contains {} if false\nfinding contains {\"object\": \"x\", \"msg\": \"m\"}",
			"finding is not a head that stsguard reads",
		},
		"a change without operations": {strings.Replace(head, "relation", "change", 1) + "findings contains {} if false", "custom.operations"},
		"no findings":                 {head + "_x := 1", "has no findings"},
		"another package":             {metadata + "package stsguard.rule.x\n\nfindings contains {} if false", "a rule's package is"},
		"another folder":              {metadata + "package stsguard.rules[\"y\"]\n\nfindings contains {} if false", "its folder must bear its id"},
		"no METADATA":                 {"package stsguard.rules[\"x\"]\n\nfindings contains {} if false", "METADATA before the package is missing"},
		"no remedy":                   {strings.Replace(head, "remedy", "remdy", 1) + "findings contains {} if false", "custom.remdy is not known"},
		"an unknown level":            {strings.Replace(head, "baseline", "base", 1) + "findings contains {} if false", "custom.level is missing or not valid"},
		"an unknown rule":             {strings.Replace(head, "#   level", "#   yields_to: z\n#   level", 1) + "findings contains {} if false", "yields_to names no rule: z"},
		"an unused import":            {head + "import data.stsguard.lib\n\nfindings contains {} if false", "import"},
		"the clock":                   {head + `findings contains {"object": input.statefulSet.ref, "msg": "m"} if time.now_ns() > 0`, "rules/x/rule.rego:10: time.now_ns is not for rules"},
		"the network by another name": {head + `findings contains {"object": input.statefulSet.ref, "msg": "m"} if count(input.services) == 0 with count as http.send`, "var http is unsafe"},
		"the environment":             {head + `findings contains {"object": opa.runtime().env.HOME, "msg": "m"}`, "opa.runtime is not for rules"},
		"an id with spaces":           {strings.Replace(head, `"x"`, `"x y"`, 1) + "findings contains {} if false", "lower-case letters and digits"},
		"nothing":                     {"", "rules/x/rule.rego:1: empty module"},
		"an unsafe default":           {strings.Replace(head, "#   level", "#   parameters: {p: {description: d, default: 1.5}}\n#   level", 1) + "findings contains {} if false", "unsupported type"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(fstest.MapFS{"rules/x/rule.rego": {Data: []byte(tc.rule + "\n")}})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestBrokenFindingIsAnError shows that half a finding or a failing builtin is
// no silent pass.
func TestBrokenFindingIsAnError(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"no message":        {`{"object": input.statefulSet.ref}`, "finding has no object or no msg"},
		"an unknown field":  {`{"object": "x", "msg": "m", "level": "strict"}`, `unknown field "level"`},
		"a failing builtin": {`{"object": "x", "msg": "m"} if to_number(input.statefulSet.name) == 1`, "to_number"},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := Load(fstest.MapFS{"rules/x/rule.rego": {Data: []byte(metadata + "package stsguard.rules[\"x\"]\n\nfindings contains " + tc.body + "\n")}})
			if err != nil {
				t.Fatal(err)
			}
			engine := rules.Engine(nil)
			findings, err := engine.Relation(t.Context(), &inventory.Relation{StatefulSet: &inventory.StatefulSet{Meta: inventory.Meta{Name: "web"}}}, Extent{Advice: true})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("findings = %v, error = %v, want %s", findings, err, tc.want)
			}
		})
	}
}

// TestFactsAreTotal holds what Go builds against the published schema, for
// objects that have everything and for those that have nothing.
func TestFactsAreTotal(t *testing.T) {
	schemas, err := schemaSet()
	if err != nil {
		t.Fatal(err)
	}
	service := &inventory.Service{
		Meta:       inventory.Meta{Namespace: "a", Name: "b", Annotations: map[string]string{"stsguard.dev/x": "y"}},
		ClusterIPs: []string{"None"}, Selector: map[string]string{"a": "b"}, ExternalIPs: []string{"192.0.2.1"},
		Ports: []inventory.ServicePort{{Port: 1, TargetPort: "1"}},
	}
	set := &inventory.StatefulSet{
		Meta: service.Meta, Labels: service.Selector, Selector: service.Selector, PodLabels: service.Selector,
		Ports: []inventory.ContainerPort{{Port: 1}},
	}
	services, sets := []*inventory.Service{service}, []*inventory.StatefulSet{set}
	for subject, inputs := range map[Subject][]*ast.Term{
		Relation: {
			relationFacts.term(&relation{Relation: &inventory.Relation{StatefulSet: &inventory.StatefulSet{}}}),
			relationFacts.term(&relation{Relation: &inventory.Relation{
				StatefulSet: set, Governing: service, Candidates: services, NearMisses: services,
				Elsewhere: []string{"x"}, Services: services, Siblings: sets, Workloads: []*inventory.Workload{{Kind: "Deployment"}},
			}}),
		},
		OneService: {
			governanceFacts.term(&inventory.Governance{Service: &inventory.Service{}}),
			governanceFacts.term(&inventory.Governance{
				Service: service, StatefulSets: sets, Beside: services, Others: []inventory.Selected{{Ref: "x", Kind: "Deployment", Name: "x"}},
			}),
		},
		Change: {
			changeFacts.term(&inventory.Change{ServiceBefore: service, StatefulSets: sets}),
			changeFacts.term(&inventory.Change{ServiceAfter: &inventory.Service{}}),
			changeFacts.term(&inventory.Change{StatefulSetBefore: set, StatefulSetAfter: set}),
		},
	} {
		schema, err := ast.InterfaceToValue(schemas.Get(ast.SchemaRootRef.Append(ast.StringTerm(string(subject)))))
		if err != nil {
			t.Fatal(err)
		}
		for i, in := range inputs {
			if err := matchSchema(in, ast.NewTerm(schema)); err != nil {
				t.Errorf("%s %d: %v", subject, i, err)
			}
		}
	}
}

func matchSchema(document, schema *ast.Term) error {
	var mismatch error
	match := topdown.GetBuiltin(ast.JSONMatchSchema.Name)
	err := match(topdown.BuiltinContext{Context: context.Background()}, []*ast.Term{document, schema}, func(answer *ast.Term) error {
		if pair := answer.Value.(*ast.Array); !pair.Elem(0).Equal(ast.BooleanTerm(true)) {
			mismatch = fmt.Errorf("%s", pair.Elem(1))
		}
		return nil
	})
	return errors.Join(err, mismatch)
}

func TestAlone(t *testing.T) {
	rules, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules.Catalog {
		want := r.ID == "service-name-missing" || r.ID == "name-too-long" || r.ID == "service-invalid"
		if r.Alone != want {
			t.Errorf("%s: Alone = %v", r.ID, r.Alone)
		}
	}
}

// TestAloneWithoutOthers shows that a rule which looks into another isn't alone.
func TestAloneWithoutOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want bool
	}{
		"alone":    {"import data.stsguard.lib\nfindings contains lib.f(input.statefulSet)", true},
		"a ref":    {`findings := data.stsguard.rules["y"].findings`, false},
		"imported": {"import data.stsguard.rules.y\nfindings := y.findings", false},
		"all":      {"findings contains 1 if input.statefulSet == data.stsguard.rules[_].x", false},
	} {
		m, err := ast.ParseModuleWithOpts(name, "package x\n"+tc.body, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if got := looksOnlyAtSubject(m, Relation); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// TestOperations shows that a rule on changes judges only the operations that
// it names.
func TestOperations(t *testing.T) {
	rules, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	engine := rules.Engine(nil)
	service := &inventory.Service{Meta: inventory.Meta{Name: "nginx"}}
	sets := []*inventory.StatefulSet{{Meta: inventory.Meta{Name: "web"}, ServiceName: "nginx"}}
	for name, tc := range map[string]struct {
		change inventory.Change
		want   int
	}{
		"delete": {inventory.Change{ServiceBefore: service, StatefulSets: sets}, 1},
		"update": {inventory.Change{ServiceBefore: service, ServiceAfter: service, StatefulSets: sets}, 0},
		"create": {inventory.Change{ServiceAfter: service, StatefulSets: sets}, 0},
	} {
		findings, err := engine.Change(t.Context(), &tc.change, Extent{})
		if err != nil || len(findings) != tc.want {
			t.Errorf("%s: %v, %v", name, findings, err)
		}
	}
}

// TestGuards shows which conditions are taken out of a rule, since the rule
// passes where one of them doesn't hold.
func TestGuards(t *testing.T) {
	for name, tc := range map[string]struct{ rules, want string }{
		"one":        {`findings contains 1 if { input.a.b == false; count(input.c) > 0 }`, "input.a.b == false"},
		"several":    {`findings contains 1 if { input.a == 1; input.b == "x" }`, `input.a == 1,input.b == "x"`},
		"in common":  {"findings contains 1 if { input.a == 1; input.b == 2 }\nfindings contains 2 if { input.b == 2 }", "input.b == 2"},
		"none":       {"findings contains 1 if { input.a == 1 }\nfindings contains 2 if { input.b == 2 }", ""},
		"no body":    {"findings contains 1 if { input.a == 1 }\nfindings contains 2", ""},
		"negated":    {`findings contains 1 if not input.a == 1`, ""},
		"different":  {`findings contains 1 if input.a != 1`, ""},
		"a variable": {`findings contains 1 if { x := input.a; x == 1 }`, ""},
		"an element": {`findings contains 1 if { some i; input.a[i] == 1 }`, ""},
		"replaced":   {`findings contains 1 if input.a == 1 with input.a as 1`, ""},
		"an else":    {"findings := 1 if { input.a == 1 } else := 2", ""},
		"a helper":   {"findings contains 1 if _x\n_x if input.a == 1", ""},
	} {
		m, err := ast.ParseModuleWithOpts(name, "package x\n"+tc.rules, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(guards(m), ","); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

// TestNoRuleReachesOut holds what rules may use against what OPA says of it.
func TestNoRuleReachesOut(t *testing.T) {
	c := capabilities()
	for _, name := range []string{"http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "time.now_ns", "uuid.rfc4122"} {
		if slices.ContainsFunc(c.Builtins, func(b *ast.Builtin) bool { return b.Name == name }) {
			t.Errorf("rules may use %s", name)
		}
	}
	if c.AllowNet == nil || len(c.AllowNet) > 0 {
		t.Errorf("schemas may come from %q", c.AllowNet)
	}
}

// TestRead shows which files of a user's directory are rules.
func TestRead(t *testing.T) {
	for name, tc := range map[string]struct {
		files   []string
		want    string
		failure string
	}{
		"rules":           {[]string{"b/rule.rego", "a/rule.rego", "a/rule_test.rego", "a/README.md", "x.md"}, "a/rule.rego b/rule.rego", ""},
		"a ConfigMap":     {[]string{"..data/a/rule.rego", "a/rule.rego"}, "a/rule.rego", ""},
		"another file":    {[]string{"a/rule.rego", "a/helper.rego"}, "", "a/helper.rego is not read"},
		"a file above":    {[]string{"rule.rego"}, "", "rule.rego is not read"},
		"nothing":         {[]string{"x.md"}, "", "there are no rules in"},
		"nothing, deeper": {[]string{"a/b/rule.rego"}, "", "there are no rules in"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range tc.files {
				file = filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			sources, err := Read(dir)
			if tc.failure != "" {
				if err == nil || !strings.Contains(err.Error(), tc.failure) {
					t.Errorf("error = %v, want %s", err, tc.failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range sources {
				rel, err := filepath.Rel(dir, s.File)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, filepath.ToSlash(rel))
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %v, want %s", got, tc.want)
			}
		})
	}
}

// TestOverdue shows that a rule which doesn't end is stopped, and that this is
// an error.
func TestOverdue(t *testing.T) {
	rules, err := Extend([]Source{{File: "own/x/rule.rego", own: true, Text: metadata + `package stsguard.rules["x"]

findings contains {"object": "x", "msg": "m"} if {
	some a in numbers.range(1, 10000)
	some b in numbers.range(1, 10000)
	some c in numbers.range(1, 10000)
	a * b * c == -1
}
`}})
	if err != nil {
		t.Fatal(err)
	}
	if rules.Deadline <= 0 {
		t.Error("users' rules have no deadline")
	}
	rules.Deadline = 20 * time.Millisecond
	engine := rules.Engine(nil)
	findings, err := engine.Relation(t.Context(), &inventory.Relation{StatefulSet: &inventory.StatefulSet{}}, Extent{})
	if !errors.Is(err, ErrOverdue) || !strings.HasSuffix(err.Error(), ": look at own/x/rule.rego") {
		t.Errorf("findings = %v, error = %v", findings, err)
	}
}

// TestFixDecidesNothing shows when what a fix looks at counts for whether a rule
// stands alone.
func TestFixDecidesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		rules string
		want  bool
	}{
		"always there":       {"findings contains {\"fix\": _fix} if input.statefulSet.name == \"\"\ndefault _fix := {}\n_fix := input.services", true},
		"not always there":   {"findings contains {\"fix\": _fix} if input.statefulSet.name == \"\"\n_fix := input.services", false},
		"a condition":        {"findings contains 1 if { input.statefulSet.name == \"\"; count(_fix) > 0 }\ndefault _fix := []\n_fix := input.services", false},
		"beside a condition": {"findings contains {\"fix\": _fix} if count(input.services) > 0\ndefault _fix := {}\n_fix := input.services", false},
	} {
		m, err := ast.ParseModuleWithOpts(name, "package x\n"+tc.rules, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if got := looksOnlyAtSubject(m, Relation); got != tc.want {
			t.Errorf("%s: alone is %v", name, got)
		}
	}
}
