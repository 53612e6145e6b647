package policies

import (
	"fmt"
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
	// Operations are those of the requests that a rule on changes judges:
	// CREATE, UPDATE, DELETE.
	Operations []string
	// Refused says that the API server itself refuses what the rule finds, so
	// that no webhook ever gets to see it.
	Refused bool
	// Alone says that the rule looks at its subject's own object and at
	// nothing else that exists.
	Alone bool
	// LooksAt are the fields of the input that the rule looks at, sorted.
	LooksAt []string
	// guards are the conditions that stand in all of the rule's findings.
	guards []string
}

// Parameter is what a configuration may set for a rule.
type Parameter struct {
	Description string
	// Default also tells the type: a boolean or a list of strings.
	Default any
}

// readRule reads a rule's METADATA and checks that it is all there.
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
		return Rule{}, fmt.Errorf("rule %s: METADATA before the package is missing", id)
	}
	r := Rule{ID: id, Title: meta.Title, Description: strings.TrimSpace(meta.Description)}
	for _, rel := range meta.RelatedResources {
		r.Related = append(r.Related, rel.Ref.String())
	}
	for key, value := range meta.Custom {
		switch key {
		case "parameters":
			if r.Parameters, err = readParameters(value); err != nil {
				return Rule{}, fmt.Errorf("rule %s: custom.parameters: %w", id, err)
			}
			continue
		case "operations":
			if r.Operations, err = readOperations(value); err != nil {
				return Rule{}, fmt.Errorf("rule %s: custom.operations: %w", id, err)
			}
			continue
		case "refused":
			var ok bool
			if r.Refused, ok = value.(bool); !ok {
				return Rule{}, fmt.Errorf("rule %s: custom.refused must be true or false", id)
			}
			continue
		}
		text, ok := value.(string)
		if !ok {
			return Rule{}, fmt.Errorf("rule %s: custom.%s must be a string", id, key)
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
			return Rule{}, fmt.Errorf("rule %s: custom.%s is not known", id, key)
		}
	}
	for what, missing := range map[string]bool{
		"title":          r.Title == "",
		"description":    r.Description == "",
		"custom.remedy":  r.Remedy == "",
		"custom.level":   !slices.Contains(Levels, r.Level),
		"custom.subject": !slices.Contains([]Subject{Relation, OneService, Change}, r.Subject),
		"custom.operations, of rules on changes alone,": (r.Subject == Change) != (len(r.Operations) > 0),
	} {
		if missing {
			return Rule{}, fmt.Errorf("rule %s: %s is missing or not valid", id, what)
		}
	}
	if err := checkHeads(id, m); err != nil {
		return Rule{}, err
	}
	r.LooksAt = looksAt(m)
	own := map[Subject]string{Relation: "statefulSet", OneService: "service"}[r.Subject]
	r.Alone = own != "" && !slices.ContainsFunc(r.LooksAt, func(field string) bool { return field != own })
	r.guards = guards(m)
	return r, nil
}

// ruleID reads the id off `package stsguard.rules["some-id"]`.
func ruleID(p *ast.Package) (string, error) {
	if len(p.Path) == 4 && p.Path[1].Equal(ast.StringTerm("stsguard")) && p.Path[2].Equal(ast.StringTerm("rules")) {
		if id, ok := p.Path[3].Value.(ast.String); ok {
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
	for name, v := range all {
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
			return fmt.Errorf("rule %s: %s: %s is not a head that stsguard reads: write findings, or _%s for a helper", id, r.Location, head, head)
		}
	}
	if !found {
		return fmt.Errorf("rule %s: has no findings", id)
	}
	return nil
}

// looksAt lists the fields of the input that the module refers to; the input as
// a whole is "".
func looksAt(m *ast.Module) []string {
	var out []string
	add := func(field string) {
		if !slices.Contains(out, field) {
			out = append(out, field)
		}
	}
	var visit func(t *ast.Term) bool
	visit = func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.Var:
			if v == ast.InputRootDocument.Value {
				add("")
			}
		case ast.Ref:
			if !v.HasPrefix(ast.InputRootRef) {
				return false
			}
			field := ast.String("")
			if len(v) > 1 {
				field, _ = v[1].Value.(ast.String)
			}
			add(string(field))
			for _, t := range v[1:] {
				ast.WalkTerms(t, visit)
			}
			return true
		}
		return false
	}
	for _, r := range m.Rules {
		ast.WalkTerms(r, visit)
	}
	slices.Sort(out)
	return out
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
	ref, ok := e.Operand(0).Value.(ast.Ref)
	return ok && ref.HasPrefix(ast.InputRootRef) && ref.IsGround() && ast.IsScalar(e.Operand(1).Value)
}
