package report

import (
	"fmt"
	"strings"
)

// headline says what is wrong, in a line of printable text.
func (f *Finding) headline() string {
	line, _, _ := strings.Cut(f.Message, "\n")
	return Printable(line)
}

// details are printable lines of text that say more of what is wrong.
func (f *Finding) details() []string {
	_, more, ok := strings.Cut(f.Message, "\n")
	if !ok {
		return nil
	}
	return printableLines(more)
}

// remedy says in printable lines of text what to do, and shows the object that
// is missing.
func (f *Finding) remedy() []string {
	var out []string
	if f.Status == Open && f.Reason != "" {
		out = append(out, Printable("Does not fail the run: "+f.Reason+"."))
	}
	out = append(out, Printable("Fix: "+f.Advice))
	if f.Fix != nil && f.Fix.Manifest != "" {
		out = append(out, printableLines(strings.TrimSuffix(f.Fix.Manifest, "\n"))...)
	}
	return out
}

func printableLines(text string) []string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = Printable(lines[i])
	}
	return lines
}

// name is what a person calls the object.
func (o Object) name() string { return fmt.Sprintf("%s %q", o.Kind, o.Name) }
