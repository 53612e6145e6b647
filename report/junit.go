package report

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

type junitWriter struct{ w io.Writer }

// NewJUnit returns a Writer of JUnit XML: a suite for each file, in it a test
// case for each StatefulSet and rule, so that what passed shows as well, and
// one for each other object with a finding. What can't be read or judged is an
// error in a suite of its own. There are no times, which would differ.
func NewJUnit(w io.Writer) Writer { return junitWriter{w} }

type junitSuites struct {
	XMLName xml.Name `xml:"testsuites"`
	Name    string   `xml:"name,attr"`
	junitCounts
	Suites []*junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name string `xml:"name,attr"`
	junitCounts
	Cases []*junitCase `xml:"testcase"`
}

type junitCounts struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
}

func (c *junitCounts) add(other junitCounts) {
	c.Tests += other.Tests
	c.Failures += other.Failures
	c.Errors += other.Errors
	c.Skipped += other.Skipped
}

// junitCase is shown by its name where there is little room, and told from
// others by class and name together.
type junitCase struct {
	Class   string       `xml:"classname,attr"`
	Name    string       `xml:"name,attr"`
	File    string       `xml:"file,attr,omitempty"`
	Failure *junitResult `xml:"failure"`
	Error   *junitResult `xml:"error"`
	Skipped *junitResult `xml:"skipped"`
	Out     *junitText   `xml:"system-out"`
}

type junitResult struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	junitText
}

type junitText struct {
	Text string `xml:",cdata"`
}

func (j junitWriter) Write(r *Report) error {
	out := junitSuites{Name: "stsguard"}
	add := func(name string, cases []*junitCase) {
		s := &junitSuite{Name: name, Cases: cases}
		for _, c := range cases {
			s.add(c.counts())
		}
		out.add(s.junitCounts)
		out.Suites = append(out.Suites, s)
	}
	if len(r.Errors) > 0 {
		add("input", unique(junitErrors(r.Errors)))
	}
	cases := unique(r.junitCases())
	for i := range cases {
		// Cases of one file stand together.
		if i == 0 || cases[i].Class != cases[i-1].Class {
			n := slices.IndexFunc(cases[i:], func(c *junitCase) bool { return c.Class != cases[i].Class })
			if n < 0 {
				n = len(cases) - i
			}
			add(cases[i].Class, cases[i:i+n])
		}
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("write the report as JUnit XML: %w", err)
	}
	b.WriteByte('\n')
	if _, err := j.w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the report as JUnit XML: %w", err)
	}
	return nil
}

func junitErrors(errs []Error) []*junitCase {
	var out []*junitCase
	for _, e := range errs {
		name := "read"
		if e.Line > 0 {
			name = fmt.Sprintf("read line %d, column %d", e.Line, e.Column)
		} else if e.File == "" {
			name = "judge"
		}
		out = append(out, &junitCase{
			Class: Printable(cmp.Or(e.File, "stsguard")), Name: name, File: Printable(e.File),
			Error: &junitResult{Type: "input", Message: Printable(e.Message), junitText: junitText{e.String()}},
		})
	}
	return out
}

// junitCases are those of all StatefulSets and rules, then those of findings
// about what is no such StatefulSet, all sorted by file.
func (r *Report) junitCases() []*junitCase {
	type key struct{ set, rule string }
	found := map[key][]*Finding{}
	known := map[key]bool{}
	var out []*junitCase
	for _, s := range r.Judged {
		for _, rule := range r.Rules {
			known[key{s.ID, rule.ID}] = rule.Judged
		}
	}
	type about struct {
		object Object
		file   string
		rule   string
	}
	others := map[about][]*Finding{}
	var order []about
	for i := range r.Findings {
		f := &r.Findings[i]
		placed := false
		for _, id := range f.Judged {
			if k := (key{id, f.Rule}); known[k] {
				found[k] = append(found[k], f)
				placed = true
			}
		}
		if !placed {
			a := about{f.Object, f.Location.File, f.Rule}
			if others[a] == nil {
				order = append(order, a)
			}
			others[a] = append(others[a], f)
		}
	}
	sets := slices.Clone(r.Judged)
	slices.SortStableFunc(sets, func(a, b Judged) int {
		return cmp.Or(a.Location.compare(b.Location), cmp.Compare(a.Object.Namespace, b.Object.Namespace), cmp.Compare(a.Object.Name, b.Object.Name))
	})
	for _, s := range sets {
		for _, rule := range r.Rules {
			if k := (key{s.ID, rule.ID}); known[k] {
				out = append(out, newJUnitCase(s.Object, s.Location.File, rule.ID, found[k]))
			}
		}
	}
	for _, a := range order {
		out = append(out, newJUnitCase(a.object, a.file, a.rule, others[a]))
	}
	slices.SortStableFunc(out, func(a, b *junitCase) int { return cmp.Compare(a.Class, b.Class) })
	return out
}

// newJUnitCase fails if some finding fails the run, and is skipped if all there
// is to tell is excused. What is milder is told beside.
func newJUnitCase(o Object, file, rule string, findings []*Finding) *junitCase {
	c := &junitCase{
		Class: Printable(cmp.Or(file, "stsguard")),
		Name:  Printable(fmt.Sprintf("%s %s/%s: %s", o.Kind, o.Namespace, o.Name, rule)),
		File:  Printable(file),
	}
	failing := slices.IndexFunc(findings, func(f *Finding) bool { return f.Status == Open && f.Severity == SeverityError })
	var text bytes.Buffer
	for _, f := range findings {
		if f.Status == Open {
			textWriter{}.finding(&text, f, true)
		}
	}
	told := junitText{"\n" + strings.TrimSuffix(text.String(), "\n")}
	switch {
	case failing >= 0:
		c.Failure = &junitResult{Type: rule, Message: findings[failing].headline(), junitText: told}
	case text.Len() > 0:
		c.Out = &told
	case len(findings) > 0:
		c.Skipped = &junitResult{Message: Printable(findings[0].Reason)}
	}
	return c
}

func (c *junitCase) counts() junitCounts {
	n := junitCounts{Tests: 1}
	switch {
	case c.Failure != nil:
		n.Failures = 1
	case c.Error != nil:
		n.Errors = 1
	case c.Skipped != nil:
		n.Skipped = 1
	}
	return n
}

// unique numbers cases that readers could not tell apart.
func unique(cases []*junitCase) []*junitCase {
	seen := map[[2]string]int{}
	for _, c := range cases {
		k := [2]string{c.Class, c.Name}
		seen[k]++
		if n := seen[k]; n > 1 {
			c.Name = fmt.Sprintf("%s (%d)", c.Name, n)
		}
	}
	return cases
}
