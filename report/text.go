package report

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// width is where sentences are folded. It is the same wherever the text goes,
// so that the same input gives the same text.
const width = 100

type textWriter struct {
	w            io.Writer
	color, quiet bool
}

// NewText returns a Writer for a developer in a terminal.
func NewText(w io.Writer, color bool) Writer { return textWriter{w: w, color: color} }

// NewQuiet returns a Writer like that of [NewText] that tells of nothing but
// errors and the findings that fail the run.
func NewQuiet(w io.Writer, color bool) Writer { return textWriter{w: w, color: color, quiet: true} }

func (t textWriter) Write(r *Report) error {
	var b bytes.Buffer
	// Errors come first: a Service that could not be read is missed below.
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "%s%s %s\n\n", t.bold(place(e.File, e.Line, e.Column)), t.severity(SeverityError), Printable(e.Message))
	}
	explained := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Status == Skipped || t.quiet && f.Severity != SeverityError {
			continue
		}
		t.finding(&b, f, !explained[f.Rule])
		explained[f.Rule] = true
	}
	if !t.quiet {
		for i := range r.Preflight {
			r.Preflight[i].text(&b)
		}
		b.WriteString(r.summary() + "\n")
	}
	if _, err := t.w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// finding says why the rule matters only where that wasn't said above.
func (t textWriter) finding(b *bytes.Buffer, f *Finding, why bool) {
	lines := strings.Split(f.Message, "\n")
	fmt.Fprintf(b, "%s%s %s [%s]\n", t.bold(place(f.Location.File, f.Location.Line, f.Location.Column)), t.severity(f.Severity), Printable(lines[0]), f.Rule)
	t.frame(b, f.Excerpt, f.Severity)
	for _, line := range lines[1:] {
		b.WriteString(Fold("  ", line))
	}
	for _, rel := range f.Related {
		where := "in the cluster"
		if l := rel.Location; l.File != "" {
			where = fmt.Sprintf("at %s:%d:%d", l.File, l.Line, l.Column)
		}
		fmt.Fprintf(b, "  %s\n", Printable(fmt.Sprintf("%s %q is %s", rel.Object.Kind, rel.Object.Name, where)))
		t.frame(b, rel.Excerpt, f.Severity)
	}
	if f.Reason != "" {
		b.WriteString(Fold("  ", "Does not fail the run: "+f.Reason+"."))
	}
	if why {
		b.WriteString(Fold("  ", "Why: "+f.Why))
	}
	b.WriteString(Fold("  ", "Fix: "+f.Advice))
	if f.Fix != nil {
		for line := range strings.Lines(f.Fix.Manifest) {
			fmt.Fprintf(b, "    %s\n", Printable(strings.TrimSuffix(line, "\n")))
		}
	}
	b.WriteByte('\n')
}

func (r *Report) summary() string {
	counts := map[Severity]int{}
	skipped := 0
	for _, f := range r.Findings {
		switch {
		case f.Status == Open:
			counts[f.Severity]++
		case !f.Repeats:
			skipped++
		}
	}
	var found []string
	for _, c := range []struct {
		n         int
		one, more string
	}{
		{counts[SeverityError], "error", "errors"},
		{counts[SeverityWarning], "warning", "warnings"},
		{counts[SeverityAdvice], "advice", "advice"},
		{counts[SeverityNote], "note", "notes"},
	} {
		if c.n > 0 {
			found = append(found, count(c.n, c.one, c.more))
		}
	}
	if len(found) == 0 {
		found = append(found, "no findings")
	}
	if skipped > 0 {
		found = append(found, fmt.Sprintf("%d skipped", skipped))
	}
	files := count(r.Summary.Files, "file", "files") + ", "
	if r.Kind == KindAudit {
		files = ""
	}
	s := fmt.Sprintf("%s%s, %s: %s",
		files, count(r.Summary.StatefulSets, "StatefulSet", "StatefulSets"),
		count(r.Summary.Services, "Service", "Services"), strings.Join(found, ", "))
	if n := len(r.Errors); n > 0 {
		s += fmt.Sprintf(" (incomplete: %s)", count(n, "error", "errors"))
	}
	return s
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}

// place is what stands before a message, with a space behind it.
func place(file string, line, column int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return Printable(file) + ": "
	}
	return fmt.Sprintf("%s:%d:%d: ", Printable(file), line, column)
}

func (e Error) String() string {
	return place(e.File, e.Line, e.Column) + "error: " + Printable(e.Message)
}

var colors = map[Severity]string{
	SeverityError:   "\x1b[1;31m",
	SeverityWarning: "\x1b[1;33m",
	SeverityAdvice:  "\x1b[1;36m",
	SeverityNote:    "\x1b[1;36m",
}

func (t textWriter) severity(s Severity) string {
	if !t.color {
		return string(s) + ":"
	}
	return colors[s] + string(s) + ":\x1b[0m"
}

func (t textWriter) bold(s string) string {
	if !t.color || s == "" {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

// Fold breaks a text into lines of at most a hundred columns where words allow,
// each after indent; those after the first stand a little further in where the
// text begins with a word such as "Fix:".
func Fold(indent, text string) string {
	hang := indent
	if head, _, ok := strings.Cut(text, " "); ok && strings.HasSuffix(head, ":") {
		hang += strings.Repeat(" ", len(head)+1)
	}
	var b strings.Builder
	line, begin := indent, true
	for word := range strings.FieldsSeq(Printable(text)) {
		if !begin && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line, begin = hang, true
		}
		if !begin {
			line += " "
		}
		line, begin = line+word, false
	}
	b.WriteString(line + "\n")
	return b.String()
}

// Printable writes out what a terminal might obey or hide instead of showing
// it: names come from files that anybody may have written.
func Printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
