package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

type tableWriter struct{ w io.Writer }

// NewTable returns a Writer of one line for each open finding, for many objects
// of a cluster at a glance.
func NewTable(w io.Writer) Writer { return tableWriter{w} }

// verdicts is what would become of an object with such a finding.
var verdicts = map[Severity]string{
	SeverityError:   "deny",
	SeverityWarning: "warn",
	SeverityAdvice:  "advise",
	SeverityNote:    "note",
}

func (t tableWriter) Write(r *Report) error {
	var b bytes.Buffer
	for _, e := range r.Errors {
		fmt.Fprintln(&b, e)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	some := false
	for _, f := range r.Findings {
		if f.Status != Open {
			continue
		}
		if !some {
			fmt.Fprintln(w, "NAMESPACE\tOBJECT\tVERDICT\tRULE\tWHAT IS WRONG")
			some = true
		}
		headline, _, _ := strings.Cut(f.Message, "\n")
		fmt.Fprintf(w, "%s\t%s/%s\t%s\t%s\t%s\n", f.Object.Namespace, strings.ToLower(f.Object.Kind), f.Object.Name, verdicts[f.Severity], f.Rule, Printable(headline))
	}
	_ = w.Flush() // into memory
	if some {
		b.WriteByte('\n')
	}
	b.WriteString(r.summary() + "\n")
	if _, err := t.w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
