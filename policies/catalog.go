package policies

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Level says how bad it is when a rule finds something. A level includes those
// below it.
type Level string

// The levels, in the manner of Pod Security Admission.
const (
	// Baseline: the pods' identity is broken or not guaranteed.
	Baseline Level = "baseline"
	// Strict: works today, bites later.
	Strict Level = "strict"
	// Advice never denies and is shown on request.
	Advice Level = "advice"
)

// Levels are all levels, the most severe first.
var Levels = []Level{Baseline, Strict, Advice}

// Includes says whether whoever asks for level l also asks for findings of
// level other. The empty level includes nothing.
func (l Level) Includes(other Level) bool {
	i := slices.Index(Levels, l)
	return i >= 0 && slices.Index(Levels, other) <= i
}

// Subject is what a rule judges; it decides what its input is.
type Subject string

// The subjects.
const (
	// Relation: one StatefulSet with its governing Service.
	Relation Subject = "relation"
	// OneService: a Service by itself and the StatefulSets that it governs.
	OneService Subject = "service"
	// Change: what a request does to an object.
	Change Subject = "change"
)

// Rule is what the METADATA of a rule's file says.
type Rule struct {
	// ID is the name of the rule's folder and never changes.
	ID    string
	Title string
	// Description says why it matters.
	Description string
	// Remedy says what to do, when a finding has nothing more exact to say.
	Remedy  string
	Level   Level
	Subject Subject
	// Concern is what several rules have in common: who had a finding of the
	// same concern before gets no new one. A rule may have none.
	Concern string
	// YieldsTo is the rule whose findings make this one's superfluous in
	// reports, where both are about the same object.
	YieldsTo string
	// Follows is the concern without whose finding, on the same StatefulSet,
	// this rule is silent.
	Follows    string
	Parameters map[string]Parameter
	Related    []string
	// File is the one that a user wrote the rule in, empty for a rule that comes
	// with stsguard.
	File string
	// Operations are those of the requests that a rule on changes judges:
	// CREATE, UPDATE, DELETE.
	Operations []string
	// Refused says that the API server itself refuses what the rule finds, so
	// that no webhook ever gets to see it.
	Refused bool
	// Alone says that the rule looks at its subject's own object and at
	// nothing else that exists, other than to mend it.
	Alone bool
	// guards are the conditions that stand in all of the rule's findings.
	guards []string
	// demands are the conditions of each of them.
	demands []body
}

// Parameter is what a configuration may set for a rule.
type Parameter struct {
	Description string
	// Default also tells the type: a boolean or a list of strings.
	Default any
}

// readRule reads a rule's METADATA and checks that it is all there. Its errors
// name file and line.
func readRule(m *ast.Module) (Rule, error) {
	id, err := ruleID(m.Package)
	if err != nil {
		return Rule{}, err
	}
	var meta *ast.Annotations
	for _, a := range m.Annotations {
		if a.Scope == "package" {
			meta = a
		}
	}
	if meta == nil {
		return Rule{}, fmt.Errorf("%s: rule %s: METADATA before the package is missing", m.Package.Location, id)
	}
	r, err := readMetadata(id, meta)
	if err != nil {
		return Rule{}, fmt.Errorf("%s: rule %s: %w", meta.Location, id, err)
	}
	if err := checkHeads(id, m); err != nil {
		return Rule{}, err
	}
	r.Alone = looksOnlyAtSubject(m, r.Subject)
	r.guards = guards(m)
	return r, nil
}

func readMetadata(id string, meta *ast.Annotations) (_ Rule, err error) {
	r := Rule{ID: id, Title: meta.Title, Description: strings.TrimSpace(meta.Description)}
	for _, rel := range meta.RelatedResources {
		r.Related = append(r.Related, rel.Ref.String())
	}
	for _, key := range slices.Sorted(maps.Keys(meta.Custom)) {
		value := meta.Custom[key]
		switch key {
		case "parameters":
			if r.Parameters, err = readParameters(value); err != nil {
				return Rule{}, fmt.Errorf("custom.parameters: %w", err)
			}
			continue
		case "operations":
			if r.Operations, err = readOperations(value); err != nil {
				return Rule{}, fmt.Errorf("custom.operations: %w", err)
			}
			continue
		case "refused":
			var ok bool
			if r.Refused, ok = value.(bool); !ok {
				return Rule{}, errors.New("custom.refused must be true or false")
			}
			continue
		}
		text, ok := value.(string)
		if !ok {
			return Rule{}, fmt.Errorf("custom.%s must be a string", key)
		}
		text = strings.TrimSpace(text)
		switch key {
		case "remedy":
			r.Remedy = text
		case "level":
			r.Level = Level(text)
		case "subject":
			r.Subject = Subject(text)
		case "concern":
			r.Concern = text
		case "yields_to":
			r.YieldsTo = text
		case "follows":
			r.Follows = text
		default:
			return Rule{}, fmt.Errorf("custom.%s is not known", key)
		}
	}
	for _, x := range []struct {
		what    string
		missing bool
	}{
		{"title", r.Title == ""},
		{"description", r.Description == ""},
		{"custom.remedy", r.Remedy == ""},
		{"custom.level", !slices.Contains(Levels, r.Level)},
		{"custom.subject", !slices.Contains([]Subject{Relation, OneService, Change}, r.Subject)},
		{"custom.operations, of rules on changes alone,", (r.Subject == Change) != (len(r.Operations) > 0)},
	} {
		if x.missing {
			return Rule{}, fmt.Errorf("%s is missing or not valid", x.what)
		}
	}
	return r, nil
}

// kebab is what ids look like, which stand in annotations and addresses.
var kebab = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// ruleID reads the id off `package stsguard.rules["some-id"]`.
func ruleID(p *ast.Package) (string, error) {
	if len(p.Path) == 4 && p.Path[1].Equal(ast.StringTerm("stsguard")) && p.Path[2].Equal(ast.StringTerm("rules")) {
		if id, ok := p.Path[3].Value.(ast.String); ok {
			if !kebab.MatchString(string(id)) {
				return "", fmt.Errorf("%s: a rule's id is lower-case letters and digits, with hyphens between them, not %q", p.Location, string(id))
			}
			return string(id), nil
		}
	}
	return "", fmt.Errorf("%s: a rule's package is stsguard.rules[\"its-id\"], not %s", p.Location, p.Path)
}

func readOperations(value any) ([]string, error) {
	list, _ := value.([]any)
	var out []string
	for _, v := range list {
		operation, _ := v.(string)
		if !slices.Contains([]string{"CREATE", "UPDATE", "DELETE"}, operation) {
			return nil, fmt.Errorf("%v is not CREATE, UPDATE or DELETE", v)
		}
		out = append(out, operation)
	}
	return out, nil
}

func readParameters(value any) (map[string]Parameter, error) {
	all, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("must be a mapping")
	}
	out := map[string]Parameter{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v := all[name]
		fields, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s must be a mapping", name)
		}
		description, _ := fields["description"].(string)
		def, ok := fields["default"]
		if description == "" || !ok {
			return nil, fmt.Errorf("%s needs a description and a default", name)
		}
		p := Parameter{Description: description, Default: def}
		if err := p.Check(def); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = p
	}
	return out, nil
}

// Check says whether value is of the parameter's type.
func (p Parameter) Check(value any) error {
	switch p.Default.(type) {
	case bool:
		if _, ok := value.(bool); !ok {
			return fmt.Errorf("must be true or false")
		}
	case []any:
		list, ok := value.([]any)
		if !ok {
			return fmt.Errorf("must be a list of strings")
		}
		for _, v := range list {
			if text, ok := v.(string); !ok || text == "" {
				return fmt.Errorf("must be a list of strings, none of them empty")
			}
		}
	default:
		return fmt.Errorf("has a default of an unsupported type %T", p.Default)
	}
	return nil
}

// checkHeads refuses a head that nothing asks for: it is a misspelt one, and
// the rule would pass everything. Helpers begin with an underscore.
func checkHeads(id string, m *ast.Module) error {
	found := false
	for _, r := range m.Rules {
		head := r.Head.Ref()[0].String()
		switch {
		case head == "findings":
			found = true
		case !strings.HasPrefix(head, "_"):
			return fmt.Errorf("%s: rule %s: %s is not a head that stsguard reads: write findings, or _%s for a helper", r.Location, id, head, head)
		}
	}
	if !found {
		return fmt.Errorf("%s: rule %s: has no findings", m.Package.Location, id)
	}
	return nil
}

// looksOnlyAtSubject says whether every reference to input goes into the
// subject's own object, those of a fix that decides nothing left aside.
func looksOnlyAtSubject(m *ast.Module, subject Subject) bool {
	own := map[Subject]string{Relation: "statefulSet", OneService: "service"}[subject]
	alone := own != ""
	var visit func(t *ast.Term) bool
	visit = func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.Var:
			alone = alone && v != ast.InputRootDocument.Value
		case ast.Ref:
			if v.HasPrefix(allRules) {
				// Another rule may look at anything.
				alone = false
			}
			if !v.HasPrefix(ast.InputRootRef) {
				return false
			}
			alone = alone && len(v) > 1 && v[1].Equal(ast.StringTerm(own))
			for _, t := range v[1:] {
				ast.WalkTerms(t, visit)
			}
			return true
		}
		return false
	}
	aside := decidesNothing(m, "_fix")
	for _, r := range m.Rules {
		if !aside || r.Head.Name != "_fix" {
			ast.WalkTerms(r, visit)
		}
	}
	for _, i := range m.Imports {
		visit(i.Path)
	}
	return alone
}

var allRules = ast.MustParseRef("data.stsguard.rules")

// decidesNothing says whether the helper always has a value, and no rule has it
// for a condition.
func decidesNothing(m *ast.Module, helper ast.Var) bool {
	total, condition := false, false
	for _, r := range m.Rules {
		total = total || r.Default && r.Head.Name == helper
		ast.WalkTerms(r.Body, func(t *ast.Term) bool {
			condition = condition || t.Value.Compare(helper) == 0
			return condition
		})
	}
	return total && !condition
}

// guards are the comparisons of a field of the input with a constant that stand
// in the bodies of all findings: where one doesn't hold, there are none.
func guards(m *ast.Module) []string {
	var common []string
	first := true
	for _, r := range m.Rules {
		if r.Head.Ref()[0].String() != "findings" {
			continue
		}
		if r.Else != nil {
			return nil
		}
		var own []string
		for _, e := range r.Body {
			if isGuard(e) {
				own = append(own, fmt.Sprintf("%s == %s", e.Operand(0), e.Operand(1)))
			}
		}
		if first {
			common, first = own, false
		}
		common = slices.DeleteFunc(common, func(g string) bool { return !slices.Contains(own, g) })
	}
	return common
}

// isGuard says whether the expression is one such as
// input.governing.found == false.
func isGuard(e *ast.Expr) bool {
	if e.Negated || len(e.With) > 0 || !e.IsCall() || !e.Operator().Equal(ast.Equal.Ref()) || len(e.Operands()) != 2 {
		return false
	}
	ref, _ := e.Operand(0).Value.(ast.Ref)
	return isPlainRef(e.Operand(0)) && ref.HasPrefix(ast.InputRootRef) && ast.IsScalar(e.Operand(1).Value)
}
