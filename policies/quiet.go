package policies

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Of what is right, nearly every rule can be told to find nothing without asking
// OPA: it wants a fact to be otherwise, and says so in a condition that is as
// easily looked at here.

// condition is an expression in the body of a rule. What isn't understood is
// none.
type condition struct {
	// holds compares the operands; nil if there is one alone, which must be
	// there and not be false.
	holds    func(a, b ast.Value) bool
	operands []operand
	// helper are the bodies of a rule that must have a value.
	helper []body
}

// body are the conditions of one, all of which must hold.
type body []condition

// operand is a constant, or what stands at a reference: all of it, each item of
// it, or what a function makes of it.
type operand struct {
	constant ast.Value
	ref      ast.Ref
	each     bool
	function func(ast.Value) (ast.Value, bool)
}

// operators are those that are understood. What OPA would call an error, it is
// to be asked about.
var operators = map[string]func(a, b ast.Value) bool{
	ast.Equal.Name:         func(a, b ast.Value) bool { return ast.Compare(a, b) == 0 },
	ast.NotEqual.Name:      func(a, b ast.Value) bool { return ast.Compare(a, b) != 0 },
	ast.GreaterThan.Name:   func(a, b ast.Value) bool { return ast.Compare(a, b) > 0 },
	ast.GreaterThanEq.Name: func(a, b ast.Value) bool { return ast.Compare(a, b) >= 0 },
	ast.LessThan.Name:      func(a, b ast.Value) bool { return ast.Compare(a, b) < 0 },
	ast.LessThanEq.Name:    func(a, b ast.Value) bool { return ast.Compare(a, b) <= 0 },
	ast.Member.Name: func(a, b ast.Value) bool {
		return slices.ContainsFunc(items(b), func(item ast.Value) bool { return ast.Compare(a, item) == 0 })
	},
	ast.EndsWith.Name: func(a, b ast.Value) bool {
		text, ok := a.(ast.String)
		suffix, ok2 := b.(ast.String)
		return !ok || !ok2 || strings.HasSuffix(string(text), string(suffix))
	},
}

// functions are those that are understood. They say false of what OPA would call
// an error.
var functions = map[string]func(ast.Value) (ast.Value, bool){
	ast.Count.Name: func(v ast.Value) (ast.Value, bool) {
		switch v := v.(type) {
		case ast.String:
			return ast.InternedTerm(utf8.RuneCountInString(string(v))).Value, true
		case interface{ Len() int }:
			return ast.InternedTerm(v.Len()).Value, true
		}
		return nil, false
	},
	ast.Lower.Name: func(v ast.Value) (ast.Value, bool) {
		text, ok := v.(ast.String)
		return ast.String(strings.ToLower(string(text))), ok
	},
}

// items are what a list or a set has, or an object's values.
func items(v ast.Value) (out []ast.Value) {
	add := func(t *ast.Term) { out = append(out, t.Value) }
	switch v := v.(type) {
	case *ast.Array:
		v.Foreach(add)
	case ast.Set:
		v.Foreach(add)
	case ast.Object:
		v.Foreach(func(_, value *ast.Term) { add(value) })
	}
	return out
}

// anything are the demands of a rule that has to be asked about everything: of
// the users' own there is no test that shows that they were understood.
var anything = []body{{}}

// demands are the bodies of the rule's findings. Where each of them has a
// condition that doesn't hold, the rule finds nothing.
func demands(m *ast.Module) []body {
	for _, i := range m.Imports {
		name := i.Name()
		if operators[string(name)] != nil || functions[string(name)] != nil || len(bodies(m, name, deepest)) > 0 {
			return anything // it means something else here
		}
	}
	if !absent(m, ast.Var("findings"), true) {
		return anything
	}
	return bodies(m, ast.Var("findings"), 0)
}

// deepest is how far helpers are followed. Nobody has looked yet whether one
// leads back to itself.
const deepest = 3

// absent says whether what the rules of the name make is undefined, or an empty
// set if that will do, where none of their bodies holds. Of any other set or
// object there always is one.
func absent(m *ast.Module, name ast.Value, set bool) bool {
	return !slices.ContainsFunc(m.Rules, func(r *ast.Rule) bool {
		return r.Head.Ref()[0].Value.Compare(name) == 0 &&
			(len(r.Head.Ref()) > 1 || r.Head.RuleKind() == ast.MultiValue && !set)
	})
}

// bodies are those of all rules of the name.
func bodies(m *ast.Module, name ast.Value, depth int) (out []body) {
	for _, r := range m.Rules {
		if r.Head.Ref()[0].Value.Compare(name) != 0 {
			continue
		}
		for ; r != nil; r = r.Else {
			out = append(out, bodyOf(m, r.Body, depth))
		}
	}
	return out
}

func bodyOf(m *ast.Module, expressions ast.Body, depth int) body {
	// What a variable stands for, and those that stand for something unknown.
	each := map[ast.Var]operand{}
	for _, e := range expressions {
		switch terms := e.Terms.(type) {
		case *ast.SomeDecl:
			for _, t := range terms.Symbols {
				declare(each, t, len(e.With) == 0)
			}
		case []*ast.Term:
			if e.IsAssignment() {
				unknown(each, e.Operand(0))
			}
		}
	}
	out := body{}
	for _, e := range expressions {
		if c, ok := conditionOf(m, e, each, depth); ok {
			out = append(out, c)
		}
	}
	return out
}

// declare notes what the variables stand for that are declared in `some x`, or
// in `some x in input.list`.
func declare(each map[ast.Var]operand, declaration *ast.Term, plain bool) {
	unknown(each, declaration)
	if v, ok := declaration.Value.(ast.Call); ok && plain && len(v) == 3 && isPlainRef(v[2]) {
		if name, ok := v[1].Value.(ast.Var); ok {
			each[name] = operand{ref: v[2].Value.(ast.Ref), each: true}
		}
	}
}

// unknown notes that all variables in the term may stand for something unknown.
func unknown(each map[ast.Var]operand, t *ast.Term) {
	ast.WalkVars(t, func(v ast.Var) bool {
		each[v] = operand{}
		return false
	})
}

func conditionOf(m *ast.Module, e *ast.Expr, each map[ast.Var]operand, depth int) (c condition, ok bool) {
	if e.Negated || len(e.With) > 0 {
		return c, false
	}
	var terms []*ast.Term
	switch t := e.Terms.(type) {
	case *ast.Term:
		name, isName := t.Value.(ast.Var)
		if _, declared := each[name]; isName && !declared && depth < deepest && absent(m, name, false) {
			c.helper = bodies(m, name, depth+1)
			return c, len(c.helper) > 0
		}
		terms = []*ast.Term{t}
	case []*ast.Term:
		if terms, c.holds = e.Operands(), operators[e.Operator().String()]; c.holds == nil || len(terms) != 2 {
			return c, false
		}
	}
	for _, t := range terms {
		o, ok := operandOf(t, each)
		if !ok {
			return c, false
		}
		c.operands = append(c.operands, o)
	}
	return c, len(terms) > 0
}

func operandOf(t *ast.Term, each map[ast.Var]operand) (o operand, ok bool) {
	switch v := t.Value.(type) {
	case ast.Var:
		o = each[v]
		return o, o.ref != nil
	case ast.Ref:
		return operand{ref: v}, isPlainRef(t)
	case ast.Call:
		if o.function = functions[v[0].String()]; o.function == nil || len(v) != 2 || !isPlainRef(v[1]) {
			return o, false
		}
		o.ref = v[1].Value.(ast.Ref)
		return o, true
	case *ast.Array, ast.Set:
		return operand{constant: v}, !slices.ContainsFunc(items(v), func(item ast.Value) bool { return !ast.IsScalar(item) })
	}
	return operand{constant: t.Value}, ast.IsScalar(t.Value)
}

// isPlainRef says whether the term leads from the input, or the parameters, by
// constant steps.
func isPlainRef(t *ast.Term) bool {
	ref, ok := t.Value.(ast.Ref)
	return ok && (ref.HasPrefix(ast.InputRootRef) && len(ref) > 1 || ref.HasPrefix(parametersRef)) &&
		!slices.ContainsFunc(ref[1:], func(t *ast.Term) bool { return !ast.IsScalar(t.Value) })
}

var parametersRef = ast.MustParseRef("data.parameters")

// lookup finds what stands at a reference; nil if nothing does.
type lookup func(ast.Ref) ast.Value

// values are those that the operand may have. They aren't known if OPA would call
// it an error.
func (o operand) values(find lookup) (all []ast.Value, known bool) {
	if o.ref == nil {
		return []ast.Value{o.constant}, true
	}
	v := find(o.ref)
	switch {
	case v == nil:
		return nil, true
	case o.each:
		return items(v), true
	case o.function != nil:
		v, known = o.function(v)
		return []ast.Value{v}, known
	}
	return []ast.Value{v}, true
}

// mayHold says false if the condition doesn't hold.
func (c condition) mayHold(find lookup) bool {
	if c.helper != nil {
		return mayHold(c.helper, find)
	}
	first, known := c.operands[0].values(find)
	if !known {
		return true
	}
	if c.holds == nil {
		return slices.ContainsFunc(first, func(v ast.Value) bool { return ast.Compare(v, ast.Boolean(false)) != 0 })
	}
	second, known := c.operands[1].values(find)
	return !known || slices.ContainsFunc(first, func(a ast.Value) bool {
		return slices.ContainsFunc(second, func(b ast.Value) bool { return c.holds(a, b) })
	})
}

// mayHold says whether one of the bodies may.
func mayHold(bodies []body, find lookup) bool {
	return slices.ContainsFunc(bodies, func(b body) bool {
		return !slices.ContainsFunc(b, func(c condition) bool { return !c.mayHold(find) })
	})
}

// mayFind says whether the rule has to be asked.
func (r *Rule) mayFind(find lookup) bool { return mayHold(r.demands, find) }
