package verdict

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/policies"
)

// Explain says all there is to say of a finding, over several lines: what is
// wrong, why it matters, what to do, and the object that is missing, as YAML.
// The first line stands alone; the others are indented by two spaces.
func Explain(f *policies.Finding) string {
	var b strings.Builder
	lines := strings.Split(f.Message, "\n")
	fmt.Fprintf(&b, "%s [%s]\n", lines[0], f.Rule.ID)
	for _, line := range lines[1:] {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintf(&b, "  Why: %s\n  Fix: %s\n", f.Rule.Description, f.Advice())
	if f.Fix != nil && f.Fix.Create != nil {
		b.WriteString(indent("    ", Manifest(f.Fix.Create)))
	}
	return b.String()
}

// Line says in one line what is wrong and what to do.
func Line(f *policies.Finding) string {
	advice := f.Advice()
	if f.Fix != nil && f.Fix.Create != nil {
		// Its title announces the object, for which a line has no room.
		advice = f.Rule.Remedy
	}
	return fmt.Sprintf("[%s] %s. %s", f.Rule.ID, f.Headline(), advice)
}

// Manifest renders an object as YAML.
func Manifest(object map[string]any) string {
	text, err := yaml.Marshal(object)
	if err != nil {
		// What a rule gave came out of JSON, all of which is YAML.
		return fmt.Sprintf("%v\n", object)
	}
	return string(text)
}

func indent(by, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}
