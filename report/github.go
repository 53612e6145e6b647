package report

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

type githubWriter struct{ w io.Writer }

// NewGitHub returns a Writer of GitHub Actions' workflow commands, which show
// errors and open findings beside the lines that they are about.
func NewGitHub(w io.Writer) Writer { return githubWriter{w} }

func (g githubWriter) Write(r *Report) error {
	var b bytes.Buffer
	for _, e := range r.Errors {
		command(&b, "error", Location{File: e.File, Line: e.Line, Column: e.Column}, "stsguard", Printable(e.Message))
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Status == Skipped {
			continue
		}
		lines := append([]string{f.headline()}, f.details()...)
		for _, rel := range f.Related {
			if at := place(rel.Location.File, rel.Location.Line, rel.Location.Column); at != "" {
				lines = append(lines, Printable(rel.Object.name()+" is at ")+strings.TrimSuffix(at, ": "))
			}
		}
		command(&b, githubCommands[f.Severity], f.Location, f.Rule, strings.Join(append(lines, f.remedy()...), "\n"))
	}
	if _, err := g.w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the report for GitHub: %w", err)
	}
	return nil
}

var githubCommands = map[Severity]string{
	SeverityError:   "error",
	SeverityWarning: "warning",
	SeverityAdvice:  "notice",
	SeverityNote:    "notice",
}

var (
	escapeData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// command writes a workflow command. It is one line, whatever is in it.
func command(b *bytes.Buffer, name string, l Location, title, message string) {
	var properties []string
	add := func(key, value string) {
		properties = append(properties, key+"="+escapeProperty.Replace(Printable(value)))
	}
	if l.File != "" {
		add("file", l.File)
	}
	for _, p := range []struct {
		key   string
		value int
	}{{"line", l.Line}, {"endLine", l.EndLine}, {"col", l.Column}, {"endColumn", l.EndColumn}} {
		if p.value > 0 {
			add(p.key, strconv.Itoa(p.value))
		}
	}
	add("title", title)
	fmt.Fprintf(b, "::%s %s::%s\n", name, strings.Join(properties, ","), escapeData.Replace(message))
}
