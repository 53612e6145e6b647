package audit

import (
	"bytes"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"

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
		e := exception{Rule: f.Rule, Namespace: f.Object.Namespace, Name: f.StatefulSet}
		if e.Name == "" {
			e.Name = f.Object.Name
		}
		if f.Status != report.Open || f.Severity != report.SeverityError || slices.Contains(written, e) {
			continue
		}
		written = append(written, e)
		text, err := yaml.Marshal([]exception{e})
		if err != nil {
			return nil, fmt.Errorf("write an exception for %s: %w", f.Object, err)
		}
		headline, _, _ := bytes.Cut([]byte(f.Message), []byte("\n"))
		fmt.Fprintf(&b, "# %s\n%s", report.Printable(string(headline)), text)
	}
	switch {
	case len(written) == 0 && len(r.Errors) > 0:
		return []byte("# Not everything could be read and judged. Of what could, enforcement would deny nothing today.\nexceptions: []\n"), nil
	case len(written) == 0:
		return []byte("# Enforcement would deny nothing today.\nexceptions: []\n"), nil
	}
	return b.Bytes(), nil
}
