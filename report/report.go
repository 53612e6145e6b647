// Package report is what the command line tells of what it found, and how: one
// file per format behind one [Writer]. It judges nothing.
package report

import (
	"cmp"
	"encoding/json"
	"slices"
)

// The apiVersion and kind of a report as JSON.
const (
	APIVersion = "stsguard.dev/v1alpha1"
	KindLint   = "LintReport"
	KindAudit  = "AuditReport"
)

// Writer writes a report in one format. Its errors say that the output could
// not be written.
type Writer interface {
	Write(*Report) error
}

// Report is all that one run found. What has no place in the JSON, which other
// tools rely on, is for people.
type Report struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Findings   []Finding `json:"findings"`
	Errors     []Error   `json:"errors"`
	Summary    Summary   `json:"summary"`
	// Preflight is what each apply would do, where a cluster was asked.
	Preflight []Preflight `json:"preflight,omitempty"`
	// LeftOut is what was found and deliberately not read.
	LeftOut []LeftOut `json:"-"`
	// Notes are warnings about what the manifests say to stsguard.
	Notes []Note `json:"-"`
	// Rules are all that there are, whatever was found, sorted by id; Judged
	// are the StatefulSets that were held against those of them that say so.
	Rules  []Rule   `json:"-"`
	Judged []Judged `json:"-"`
}

// Rule is one that findings may name.
type Rule struct {
	ID, Title string
	// Description says why it matters, Remedy what to do.
	Description, Remedy string
	// Level is baseline, strict or advice.
	Level string
	URL   string
	// Judged says that a StatefulSet without a finding of it has passed it.
	Judged bool
}

// Judged is a StatefulSet that was judged.
type Judged struct {
	// ID tells it from all others, those of the same name included, within
	// one report.
	ID       string
	Object   Object
	Location Location
}

// Note is a warning that is no finding.
type Note struct {
	// Location has no file where there is no place to name.
	Location Location
	Message  string
}

// String names the place first.
func (n Note) String() string {
	return place(n.Location.File, n.Location.Line, n.Location.Column) + Printable(n.Message)
}

// Finding is one thing that one rule found wrong with one object.
type Finding struct {
	Rule  string `json:"rule"`
	Level string `json:"level"`
	// Message says in its first line what is wrong. More lines may say more.
	Message string `json:"message"`
	// URL is where to read about the rule.
	URL    string `json:"url"`
	Object Object `json:"object"`
	// StatefulSet is the name of the one whose relation was judged, empty for
	// a finding about a Service by itself.
	StatefulSet string    `json:"statefulSet"`
	Location    Location  `json:"location"`
	Related     []Related `json:"related"`
	Fix         *Fix      `json:"fix,omitempty"`
	Status      Status    `json:"status"`
	// Reason says why it is skipped, or why it is milder than its rule.
	Reason string `json:"reason"`

	Severity Severity `json:"-"`
	// Judged are the IDs of the StatefulSets that it was found with.
	Judged []string `json:"-"`
	// Path is the JSON pointer of the field at Location.
	Path string `json:"-"`
	// Excerpt is what stands at Location.
	Excerpt []Line `json:"-"`
	// Why says why the rule matters, Advice what to do.
	Why    string `json:"-"`
	Advice string `json:"-"`
	// Annotated says that an annotation in the manifest has it skipped.
	Annotated bool `json:"-"`
	// Repeats says that it is skipped because another finding says the same.
	Repeats bool `json:"-"`
}

// Status says whether a finding counts.
type Status string

// The statuses.
const (
	Open    Status = "open"
	Skipped Status = "skipped"
)

// Severity is what an open finding does to the run. A note is one whose rule is
// configured to be heard of in reports only.
type Severity string

// The severities: an error fails the run, a warning and an advice don't.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityAdvice  Severity = "advice"
	SeverityNote    Severity = "note"
)

// Object names a Kubernetes object.
type Object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
}

// Location is a region of a file. Lines and columns count from 1, columns in
// code points; EndColumn is one past the last character.
type Location struct {
	File      string `json:"file"`
	Line      int    `json:"line"`
	Column    int    `json:"column"`
	EndLine   int    `json:"endLine"`
	EndColumn int    `json:"endColumn"`
}

// Related is another object that a finding is about.
type Related struct {
	Object   Object   `json:"object"`
	Location Location `json:"location"`
	// Excerpt is what there is to see of it, at Location or further down.
	Excerpt []Line `json:"-"`
}

// Line is a line of a file, cut if it is very long.
type Line struct {
	Number int
	Text   string
	// Start and End are what to point at in Text, in code points from 0; they
	// are equal where there is nothing.
	Start, End int
}

// Fix is how the rule would mend what it found.
type Fix struct {
	Title string `json:"title"`
	// Safe says that it can be applied to a manifest unseen.
	Safe bool `json:"safe"`
	// Patch is a JSON patch (RFC 6902) of the object.
	Patch []PatchOp `json:"patch"`
	// Create is an object that is missing.
	Create map[string]any `json:"-"`
	// Manifest is Create as YAML.
	Manifest string `json:"-"`
}

// PatchOp is one operation of a JSON patch.
type PatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Error is something that could not be read or could not be judged. Line and
// Column are 0 where there is no place to name, File is empty where there is
// no file.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// LeftOut is a file or directory that was not read, and why.
type LeftOut struct {
	Path, Reason string
}

// Seen counts what was read.
type Seen struct {
	Files        int `json:"files"`
	Documents    int `json:"documents"`
	StatefulSets int `json:"statefulSets"`
	Services     int `json:"services"`
}

// Summary counts what was read and what became of it.
type Summary struct {
	Seen
	// Findings are the open ones, by their rule's level.
	Findings ByLevel `json:"findings"`
	Skipped  int     `json:"skipped"`
	Errors   int     `json:"errors"`
}

// ByLevel counts findings.
type ByLevel struct {
	Baseline int `json:"baseline"`
	Strict   int `json:"strict"`
	Advice   int `json:"advice"`
}

// New puts a lint run's findings and errors in order and counts them.
func New(findings []Finding, errs []Error, seen Seen) *Report {
	r := &Report{
		APIVersion: APIVersion,
		Kind:       KindLint,
		Findings:   append([]Finding{}, findings...),
		Errors:     append([]Error{}, errs...),
		Summary:    Summary{Seen: seen, Errors: len(errs)},
	}
	slices.SortStableFunc(r.Findings, Finding.compare)
	slices.SortStableFunc(r.Errors, func(a, b Error) int {
		return cmp.Or(
			Location{File: a.File, Line: a.Line, Column: a.Column}.compare(Location{File: b.File, Line: b.Line, Column: b.Column}),
			cmp.Compare(a.Message, b.Message),
		)
	})
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Related == nil {
			f.Related = []Related{}
		}
		if f.Fix != nil && f.Fix.Patch == nil {
			f.Fix.Patch = []PatchOp{}
		}
		if f.Status == Skipped {
			r.Summary.Skipped++
			continue
		}
		switch f.Level {
		case "baseline":
			r.Summary.Findings.Baseline++
		case "strict":
			r.Summary.Findings.Strict++
		case "advice":
			r.Summary.Findings.Advice++
		}
	}
	return r
}

// Failed says whether some finding fails the run.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Status == Open && f.Severity == SeverityError
	})
}

// RuleURL is where to read about the rule of that id.
func RuleURL(id string) string {
	return "https://github.com/stsguard/stsguard/blob/main/policies/rules/" + id + "/rule.rego"
}

// compare is 0 for findings only that no format can tell apart.
func (f Finding) compare(other Finding) int {
	if c := cmp.Or(
		f.Location.compare(other.Location), cmp.Compare(f.Rule, other.Rule),
		cmp.Compare(f.StatefulSet, other.StatefulSet), cmp.Compare(f.Message, other.Message),
	); c != 0 {
		return c
	}
	return cmp.Compare(f.all(), other.all())
}

// all is everything that some format shows of a finding.
func (f Finding) all() string {
	var manifest string
	if f.Fix != nil {
		manifest = f.Fix.Manifest
	}
	excerpts := [][]Line{f.Excerpt}
	for _, rel := range f.Related {
		excerpts = append(excerpts, rel.Excerpt)
	}
	// What can't be encoded, in a patch, can't be told apart in JSON either.
	text, _ := json.Marshal([]any{f, f.Severity, f.Judged, f.Path, f.Why, f.Advice, f.Annotated, f.Repeats, manifest, excerpts})
	return string(text)
}

func (l Location) compare(other Location) int {
	return cmp.Or(cmp.Compare(l.File, other.File), cmp.Compare(l.Line, other.Line), cmp.Compare(l.Column, other.Column))
}
