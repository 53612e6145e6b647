// Package policies judges facts: it holds the rules, written in Rego, and
// applies them to what an inventory says. It knows nothing of where the facts
// come from or of what becomes of a finding.
package policies

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/parallel"
)

// Parameters are values for the rules' parameters: by rule, by name.
type Parameters map[string]map[string]any

// Catalog is every rule, sorted by id. It is read once and never changed.
type Catalog []*Rule

// Rule returns the rule of that id, nil if there is none.
func (c Catalog) Rule(id string) *Rule {
	if i, found := slices.BinarySearchFunc(c, id, func(r *Rule, id string) int { return cmp.Compare(r.ID, id) }); found {
		return c[i]
	}
	return nil
}

// IDs are the ids of all rules.
func (c Catalog) IDs() []string {
	ids := make([]string, len(c))
	for i, r := range c {
		ids[i] = r.ID
	}
	return ids
}

// Rules is a set of loaded, checked and compiled rules.
type Rules struct {
	Catalog Catalog
	// Deadline is how long one evaluation may take, 0 for as long as it likes:
	// the rules that come with stsguard are known to end.
	Deadline time.Duration
	compiler func() (*ast.Compiler, error)
}

// Builtin returns the rules that come with stsguard. Tests check them, so it
// doesn't, and they are compiled while others work on.
var Builtin = sync.OnceValues(func() (*Rules, error) {
	sources, err := sourcesIn(builtin)
	if err != nil {
		return nil, err
	}
	m, err := parse(sources)
	if err != nil {
		return nil, err
	}
	compiler := sync.OnceValues(m.compile)
	go func() { _, _ = compiler() }()
	return &Rules{Catalog: m.catalog, compiler: compiler}, nil
})

// Load reads lib/lib.rego, if it is there, and rules/<id>/rule.rego, and checks every rule: its
// METADATA, its heads, and each of its references to the input against the
// published schema of its subject.
func Load(from fs.FS) (*Rules, error) {
	sources, err := sourcesIn(from)
	if err != nil {
		return nil, err
	}
	return compile(sources)
}

// Extend returns the rules that come with stsguard and those that users wrote,
// which are checked in the same way and have a deadline. They come from [Read].
func Extend(extra []Source) (*Rules, error) {
	if len(extra) == 0 {
		return Builtin()
	}
	sources, err := sourcesIn(builtin)
	if err != nil {
		return nil, err
	}
	rules, err := compile(append(sources, extra...))
	if err != nil {
		return nil, err
	}
	// The API server waits for ten seconds, unless it is told otherwise.
	rules.Deadline = 5 * time.Second
	return rules, nil
}

// compile parses, checks and compiles rules.
func compile(sources []Source) (*Rules, error) {
	m, err := parse(sources)
	if err != nil {
		return nil, err
	}
	m.checked = true
	compiler, err := m.compile()
	if err != nil {
		return nil, err
	}
	return &Rules{Catalog: m.catalog, compiler: func() (*ast.Compiler, error) { return compiler, nil }}, nil
}

// modules are rules that were parsed, and the module that asks them.
type modules struct {
	catalog Catalog
	byFile  map[string]*ast.Module
	// checked says that references to the input are held against its schema.
	checked bool
}

func parse(sources []Source) (*modules, error) {
	parsed, errs := make([]*ast.Module, len(sources)), make([]error, len(sources))
	parallel.Do(context.Background(), len(sources), func(i int) {
		parsed[i], errs[i] = ast.ParseModuleWithOpts(sources[i].File, sources[i].Text, ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
	})
	out := &modules{byFile: map[string]*ast.Module{}}
	known := map[string]Source{}
	for i, source := range sources {
		m := parsed[i]
		if errs[i] != nil {
			return nil, told(errs[i])
		}
		out.byFile[source.File] = m
		if source.library {
			continue
		}
		r, err := readRule(m)
		if err != nil {
			return nil, err
		}
		if folder := path.Base(path.Dir(source.File)); folder != r.ID {
			return nil, fmt.Errorf("%s: rule %s: its folder must bear its id, and is %s", m.Package.Location, r.ID, folder)
		}
		if other, ok := known[r.ID]; ok {
			at := other.File
			if !other.own {
				at = "stsguard itself"
			}
			return nil, fmt.Errorf("%s: rule %s: there is one of that id in %s already: give this one another", m.Package.Location, r.ID, at)
		}
		known[r.ID] = source
		if source.own {
			r.File, r.demands = source.File, anything
		} else {
			r.demands = demands(m)
		}
		bindSchema(m, r.Subject)
		out.catalog = append(out.catalog, &r)
	}
	slices.SortFunc(out.catalog, func(a, b *Rule) int { return cmp.Compare(a.ID, b.ID) })
	if err := out.catalog.check(); err != nil {
		return nil, err
	}
	var err error
	out.byFile["judge.rego"], err = judgeModule(out.catalog)
	return out, err
}

func (m *modules) compile() (*ast.Compiler, error) {
	compiler := ast.NewCompiler().WithStrict(true).WithCapabilities(capabilities())
	if m.checked {
		schemas, err := schemaSet()
		if err != nil {
			return nil, err
		}
		compiler.WithSchemas(schemas).WithUseTypeCheckAnnotations(true)
	} else {
		compiler.WithSkipStages(ast.StageCheckTypes)
	}
	if compiler.Compile(m.byFile); compiler.Failed() {
		return nil, told(compiler.Errors)
	}
	if m.checked {
		if err := checkReferences(compiler.Modules, m.catalog); err != nil {
			return nil, err
		}
	}
	return compiler, nil
}

// checkReferences finds misspelt fields where OPA's own type check doesn't look:
// in what a function's argument or a variable of "every" holds, and in
// parameters. Which fact a variable holds isn't known there, so any field of any
// fact will do, and none of an object that the rule made up itself.
func checkReferences(modules map[string]*ast.Module, catalog Catalog) error {
	var schema any
	if err := json.Unmarshal(inputSchema, &schema); err != nil {
		return fmt.Errorf("read the input schema: %w", err)
	}
	fields := fields{}
	fields.collect(schema)
	parameters := ast.MustParseRef("data.parameters")
	var errs []error
	for _, m := range modules {
		ast.WalkRefs(m, func(r ast.Ref) bool {
			if ast.BuiltinMap[r.String()] != nil || len(r) < 2 {
				return false
			}
			if r.HasPrefix(parameters) && len(r) > 3 {
				id, _ := r[2].Value.(ast.String)
				name, _ := r[3].Value.(ast.String)
				rule := catalog.Rule(string(id))
				if rule == nil {
					errs = append(errs, fmt.Errorf("%s: there is no rule %q whose parameter %s could be", r[0].Location, string(id), string(name)))
				} else if _, ok := rule.Parameters[string(name)]; !ok {
					errs = append(errs, fmt.Errorf("%s: rule %s has no parameter %s", r[0].Location, string(id), string(name)))
				}
				return false
			}
			if _, local := r[0].Value.(ast.Var); !local || r[0].Equal(ast.DefaultRootDocument) || r[0].Equal(ast.InputRootDocument) {
				return false
			}
			for _, t := range r[1:] {
				name, ok := t.Value.(ast.String)
				if ok && !fields.known(string(name)) {
					errs = append(errs, fmt.Errorf("%s: undefined ref: no fact has a field %s", t.Location, string(name)))
				}
				if ok && fields[string(name)] == free {
					break
				}
			}
			return false
		})
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check references: %w", err)
	}
	return nil
}

// fields are the names of all fields in the input schema.
type fields map[string]shape

// shape says what is below a field: fields again, or keys of the user's, as in
// labels.
type shape int

const (
	closed shape = iota + 1
	free
)

func (f fields) known(name string) bool { return f[name] != 0 }

func (f fields) collect(schema any) {
	switch s := schema.(type) {
	case []any:
		for _, v := range s {
			f.collect(v)
		}
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for name, v := range properties {
			f[name] = closed
			if p, _ := v.(map[string]any); p["$ref"] == "#/definitions/strings" {
				f[name] = free
			}
		}
		for _, v := range s {
			f.collect(v)
		}
	}
}

// check holds what one rule says of others against them.
func (c Catalog) check() error {
	for _, r := range c {
		at := ""
		if r.File != "" {
			at = r.File + ": "
		}
		if r.YieldsTo != "" && c.Rule(r.YieldsTo) == nil {
			return fmt.Errorf("%srule %s: yields_to names no rule: %s", at, r.ID, r.YieldsTo)
		}
		if r.Follows != "" && !slices.ContainsFunc(c, func(o *Rule) bool { return o.Concern == r.Follows }) {
			return fmt.Errorf("%srule %s: follows names no concern: %s", at, r.ID, r.Follows)
		}
	}
	return nil
}

// judgeModule writes the one module that gathers the findings of all rules of a
// subject, those apart that only some ask for: one evaluation instead of one
// for each rule. A
// rule's guards stand here again, where OPA indexes them: of a right pair most
// rules aren't even looked at.
func judgeModule(c Catalog) (*ast.Module, error) {
	var b strings.Builder
	b.WriteString("package stsguard.judge\n")
	for _, r := range c {
		fmt.Fprintf(&b, "%s contains [%q, finding] if {\n", r.head(), r.ID)
		if len(r.Operations) > 0 {
			fmt.Fprintf(&b, "\tinput.operation in %s\n", operationsTerm(r.Operations))
		}
		for _, guard := range r.guards {
			fmt.Fprintf(&b, "\t%s\n", guard)
		}
		fmt.Fprintf(&b, "\tsome finding in data.stsguard.rules[%q].findings\n}\n", r.ID)
	}
	m, err := ast.ParseModuleWithOpts("judge.rego", b.String(), ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		return nil, fmt.Errorf("write the judging module: %w", err)
	}
	return m, nil
}

// head is the set that the rule's findings are gathered in.
func (r *Rule) head() string {
	switch {
	case r.Level == Advice:
		return string(r.Subject) + "_advice"
	case r.Refused:
		return string(r.Subject) + "_refused"
	}
	return string(r.Subject)
}

func operationsTerm(operations []string) *ast.Term {
	terms := make([]*ast.Term, len(operations))
	for i, o := range operations {
		terms[i] = ast.StringTerm(o)
	}
	return ast.SetTerm(terms...)
}

// bindSchema makes the compiler check the module's references to input.
func bindSchema(m *ast.Module, subject Subject) {
	for _, a := range m.Annotations {
		if a.Scope == "package" {
			a.Schemas = append(a.Schemas, &ast.SchemaAnnotation{
				Path:   ast.InputRootRef,
				Schema: ast.SchemaRootRef.Append(ast.StringTerm(string(subject))),
			})
		}
	}
}

func schemaSet() (*ast.SchemaSet, error) {
	var doc struct {
		Definitions any                        `json:"definitions"`
		Subjects    map[Subject]map[string]any `json:"subjects"`
	}
	if err := json.Unmarshal(inputSchema, &doc); err != nil {
		return nil, fmt.Errorf("read the input schema: %w", err)
	}
	set := ast.NewSchemaSet()
	for subject, schema := range doc.Subjects {
		schema["definitions"] = doc.Definitions
		set.Put(ast.SchemaRootRef.Append(ast.StringTerm(string(subject))), schema)
	}
	return set, nil
}

// Engine applies rules with one set of parameters. It is safe for concurrent
// use.
type Engine struct {
	Catalog Catalog

	// data is what rules see besides the facts.
	data ast.Value
	// queries are prepared when they are asked first.
	queries  map[query]func() (rego.PreparedEvalQuery, error)
	deadline time.Duration
}

// ErrOverdue says that an evaluation came to no end in time.
var ErrOverdue = errors.New("were stopped")

// Extent says which rules are asked besides those that everyone asks.
type Extent struct {
	// Advice: those that advise.
	Advice bool
	// Refused: those that find what the API server refuses by itself.
	Refused bool
}

// query is a question to the rules.
type query struct {
	subject Subject
	extent  Extent
}

// asks says whether the rule is among those that answer.
func (q query) asks(r *Rule) bool {
	return r.Subject == q.subject && (q.extent.Advice || r.Level != Advice) && (q.extent.Refused || !r.Refused)
}

// text is the query as Rego has it; empty if no rule answers.
func (q query) text(c Catalog) string {
	var heads []string
	for _, r := range c {
		if head := "data.stsguard.judge." + r.head(); q.asks(r) && !slices.Contains(heads, head) {
			heads = append(heads, head)
		}
	}
	return strings.Join(heads, " | ")
}

// Engine gives the rules parameters. One that isn't given has the default of its
// METADATA.
func (r *Rules) Engine(given Parameters) *Engine {
	parameters := map[string]any{}
	for _, rule := range r.Catalog {
		values := map[string]any{}
		for name, p := range rule.Parameters {
			values[name] = p.Default
			if v, ok := given[rule.ID][name]; ok {
				values[name] = v
			}
		}
		parameters[rule.ID] = values
	}
	data := map[string]any{"parameters": parameters}
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true))
	e := &Engine{Catalog: r.Catalog, data: ast.MustInterfaceToValue(data), queries: map[query]func() (rego.PreparedEvalQuery, error){}, deadline: r.Deadline}
	for _, subject := range []Subject{Relation, OneService, Change} {
		for _, extent := range []Extent{{}, {Advice: true}, {Refused: true}, {Advice: true, Refused: true}} {
			q := query{subject, extent}
			text := q.text(r.Catalog)
			if text == "" {
				continue
			}
			e.queries[q] = sync.OnceValues(func() (rego.PreparedEvalQuery, error) {
				return r.prepare(text, store)
			})
		}
	}
	return e
}

func (r *Rules) prepare(text string, store storage.Store) (rego.PreparedEvalQuery, error) {
	compiler, err := r.compiler()
	if err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	return rego.New(
		rego.Query(text),
		rego.Compiler(compiler),
		rego.Store(store),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(context.Background())
}

// Relation judges one StatefulSet with its governing Service.
func (e *Engine) Relation(ctx context.Context, r *inventory.Relation, extent Extent) ([]Finding, error) {
	findings, err := judge(ctx, e, query{Relation, extent}, relationFacts, &relation{Relation: r})
	if err != nil {
		return nil, fmt.Errorf("judge %s: %w", r.StatefulSet.Ref(), err)
	}
	for i := range findings {
		findings[i].StatefulSet = r.StatefulSet.Ref()
	}
	return findings, nil
}

// Service judges one Service and what it governs.
func (e *Engine) Service(ctx context.Context, g *inventory.Governance, extent Extent) ([]Finding, error) {
	findings, err := judge(ctx, e, query{OneService, extent}, governanceFacts, g)
	if err != nil {
		return nil, fmt.Errorf("judge %s: %w", g.Service.Ref(), err)
	}
	return findings, nil
}

// Change judges what a request does.
func (e *Engine) Change(ctx context.Context, c *inventory.Change, extent Extent) ([]Finding, error) {
	q, operation := query{Change, extent}, operationOf(c)
	if !slices.ContainsFunc(e.Catalog, func(r *Rule) bool {
		return q.asks(r) && slices.Contains(r.Operations, operation)
	}) {
		return nil, nil
	}
	findings, err := judge(ctx, e, q, changeFacts, c)
	if err != nil {
		return nil, fmt.Errorf("judge the change: %w", err)
	}
	return findings, nil
}

// judge asks the rules about x, of which there are these facts.
func judge[T any](ctx context.Context, e *Engine, ask query, all facts[T], x T) ([]Finding, error) {
	subject := ask.subject
	prepared, ok := e.queries[ask]
	if !ok {
		return nil, nil
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	find := func(ref ast.Ref) ast.Value {
		if ref.HasPrefix(ast.InputRootRef) {
			return all.find(x, ref[1:])
		}
		return at(e.data, ref[1:])
	}
	if !slices.ContainsFunc(e.Catalog, func(r *Rule) bool { return ask.asks(r) && r.mayFind(find) }) {
		return nil, nil
	}
	q, err := prepared()
	if err != nil {
		return nil, fmt.Errorf("prepare the rules on a %s: %w", subject, err)
	}
	// Without a cancellation of our own OPA starts a goroutine for each
	// evaluation to wait for the context's end.
	cancel := topdown.NewCancel()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()
	var overdue atomic.Bool
	if e.deadline > 0 {
		timer := time.AfterFunc(e.deadline, func() {
			overdue.Store(true)
			cancel.Cancel()
		})
		defer timer.Stop()
	}
	results, err := q.Eval(ctx, rego.EvalParsedInput(all.term(x).Value), rego.EvalExternalCancel(cancel))
	if err != nil && overdue.Load() && ctx.Err() == nil {
		return nil, fmt.Errorf("the rules on a %s %w after %s%s", subject, ErrOverdue, e.deadline, e.suspects(subject))
	}
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return nil, fmt.Errorf("the rules on a %s gave no answer", subject)
	}
	entries, ok := results[0].Expressions[0].Value.([]any)
	if !ok {
		return nil, fmt.Errorf("the rules on a %s gave no set", subject)
	}
	var findings []Finding
	for _, entry := range entries {
		two, ok := entry.([]any)
		if !ok || len(two) != 2 {
			return nil, fmt.Errorf("the rules on a %s gave an entry that is no pair", subject)
		}
		id, _ := two[0].(string)
		rule := e.Catalog.Rule(id)
		if rule == nil {
			return nil, fmt.Errorf("the rules on a %s gave a finding of no rule", subject)
		}
		f, err := rule.readFinding(two[1])
		if err != nil {
			return nil, err
		}
		findings = append(findings, f)
	}
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Rule.ID, b.Rule.ID), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return findings, nil
}

// suspects names the users' rules on a subject: those that come with stsguard
// are known to end.
func (e *Engine) suspects(subject Subject) string {
	var files []string
	for _, r := range e.Catalog {
		if r.Subject == subject && r.File != "" {
			files = append(files, r.File)
		}
	}
	if len(files) == 0 {
		return ""
	}
	return ": look at " + strings.Join(files, ", ")
}
