package report

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
)

// Preflight is what an apply would do to a cluster, step by step.
type Preflight struct {
	// Context names the cluster.
	Context string `json:"context"`
	// Path is what is rendered and applied; empty for plain manifests.
	Path  string    `json:"path,omitempty"`
	Steps []Step    `json:"steps"`
	End   []Outcome `json:"end"`
}

// Step is one request of the apply.
type Step struct {
	Object Object `json:"object"`
	// Operation is create or update; apply where that isn't known.
	Operation string  `json:"operation"`
	Outcome   Verdict `json:"outcome"`
	// Injected is the field that the mutating webhook would set, with its value.
	Injected string `json:"injected,omitempty"`
	// Rules are those that have something to say at this step.
	Rules []string `json:"rules"`
}

// Verdict is what becomes of a step.
type Verdict string

// The verdicts. An object that is refused or denied isn't stored, and the steps
// after that are judged without it.
const (
	Allowed Verdict = "allowed"
	// Denied: by stsguard.
	Denied Verdict = "denied"
	// Refused: by the API server itself.
	Refused   Verdict = "refused"
	NotJudged Verdict = "not judged"
)

// Outcome is what a StatefulSet is like in the end.
type Outcome struct {
	Object Object `json:"object"`
	State  State  `json:"state"`
	// Rules are the baseline rules that find something.
	Rules []string `json:"rules"`
}

// State is how a StatefulSet stands.
type State string

// The states. Absent: it isn't in the cluster.
const (
	Right   State = "right"
	Wrong   State = "wrong"
	Absent  State = "absent"
	Unknown State = "not judged"
)

// text tells the steps and the end as tables.
func (p *Preflight) text(b *bytes.Buffer) {
	of := ""
	if p.Path != "" {
		of = " of " + Printable(p.Path)
	}
	fmt.Fprintf(b, "An apply%s to the cluster %q, in the order in which Helm sends it:\n", of, Printable(p.Context))
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for i, s := range p.Steps {
		what := string(s.Outcome)
		if s.Outcome == Refused {
			what += " by the API server"
		}
		if s.Injected != "" {
			what += ", with " + s.Injected + " injected"
		}
		fmt.Fprintf(w, "%3d.\t%s\t%s\t%s%s\n", i+1, s.Operation, Printable(s.Object.String()), what, inBrackets(s.Rules))
	}
	_ = w.Flush() // into memory
	if len(p.End) > 0 {
		fmt.Fprintln(b, "In the end:")
	}
	for _, o := range p.End {
		fmt.Fprintf(w, "  \t%s\t%s%s\n", Printable(o.Object.String()), o.State, inBrackets(o.Rules))
	}
	_ = w.Flush() // into memory
	b.WriteByte('\n')
}

// String says it as `Service "web" in shop`.
func (o Object) String() string { return fmt.Sprintf("%s %q in %s", o.Kind, o.Name, o.Namespace) }

func inBrackets(rules []string) string {
	if len(rules) == 0 {
		return ""
	}
	return " [" + strings.Join(rules, ", ") + "]"
}
