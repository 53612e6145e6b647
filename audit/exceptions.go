package audit

import (
	"bytes"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/report"
)

// exception is one of stsguard.yaml.
type exception struct {
	Rule      string `json:"rule"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Reason    string `json:"reason"`
}

// Exceptions writes an exception for each open finding that fails, as YAML for
// stsguard.yaml. The reasons are left empty, which a configuration may not have:
// somebody has to give them.
func Exceptions(r *report.Report) ([]byte, error) {
	var b bytes.Buffer
	if len(r.Errors) > 0 {
		b.WriteString("# Not everything could be read and judged: enforcement may deny more than this.\n")
	}
	b.WriteString("# What enforcement would deny today. Give each a reason, and put them into stsguard.yaml.\nexceptions:\n")
	var written []exception
	for _, f := range r.Findings {
		if f.Status != report.Open || f.Severity != report.SeverityError {
			continue
		}
		headline, _, _ := bytes.Cut([]byte(f.Message), []byte("\n"))
		for _, name := range excepted(&f) {
			e := exception{Rule: f.Rule, Namespace: f.Object.Namespace, Name: name}
			if slices.Contains(written, e) {
				continue
			}
			written = append(written, e)
			text, err := yaml.Marshal([]exception{e})
			if err != nil {
				return nil, fmt.Errorf("write an exception for %s: %w", f.Object, err)
			}
			fmt.Fprintf(&b, "# %s\n%s", report.Printable(string(headline)), text)
		}
	}
	switch {
	case len(written) == 0 && len(r.Errors) > 0:
		return []byte("# Not everything could be read and judged. Of what could, enforcement would deny nothing today.\nexceptions: []\n"), nil
	case len(written) == 0:
		return []byte("# Enforcement would deny nothing today.\nexceptions: []\n"), nil
	}
	return b.Bytes(), nil
}

// excepted are the names that let the finding pass: those of all StatefulSets
// that it was found with, or that of its object.
func excepted(f *report.Finding) []string {
	if len(f.Judged) == 0 {
		return []string{f.Object.Name}
	}
	var out []string
	for _, id := range f.Judged {
		_, _, name := inventory.Ref(id).Split()
		out = append(out, name)
	}
	return out
}
