package manifest

import (
	"bytes"
	"unicode/utf8"

	"github.com/stsguard/stsguard/inventory"
)

// Line is a line of a file, for people to read. One that is very long is cut to
// what stands around the place that it is shown for.
type Line struct {
	Number int
	Text   string
	// Start and End are what to point at in Text, in code points from 0; they
	// are equal where there is nothing.
	Start, End int
}

const (
	// longest is how many code points of a line are shown.
	longest = 120
	// lead is how many of those stand before the place.
	lead = 40
	// cut stands where something was cut off.
	cut = "…"
)

// Excerpt returns the line that a location in the object's document is on, and
// so many before and after it as stand in the same document, blank ones and
// separators left out. There is none of a file that has changed since, or whose
// lines can't be told apart for certain.
func (s *Set) Excerpt(ref inventory.Ref, l Location, before, after int) []Line {
	o := s.objects[ref]
	if o == nil || l.Line == 0 {
		return nil
	}
	r := s.reopened.take(o.document.file)
	defer s.reopened.give(r)
	d := r.document(o.document)
	if origin := o.document.file.Origin; origin != nil {
		// Templates are no YAML, so only their lines are of use.
		d = &document{line: 1, column: 1}
		text, err := origin.Text(l.File)
		if err != nil {
			return nil
		}
		d.parsed.splitLines(text)
	}
	return d.excerpt(l, before, after)
}

func (d *document) excerpt(l Location, before, after int) []Line {
	t := d.tree()
	if t.exotic {
		return nil
	}
	var out []Line
	for n := max(l.Line-before, d.line); n <= l.Line+after && n-d.line < len(t.lines); n++ {
		at, start, end := n-d.line+1, 0, 0
		if text := t.line(at); n == l.Line {
			start, end = l.Column-1, l.EndColumn-1
			if d.json && n == d.line {
				start, end = start-(d.column-1), end-(d.column-1)
			}
		} else if len(bytes.TrimSpace(text)) == 0 || bytes.HasPrefix(text, []byte(separator)) {
			continue
		}
		out = append(out, t.show(at, n, start, end))
	}
	return out
}

// show makes a Line of one in the document, with what to point at in it.
func (p *parsed) show(at, number, start, end int) Line {
	from := 0
	if text := p.line(at); runes(text, longest) < len(text) {
		from = max(start-lead, 0)
	}
	rest := p.after(at, from+1)
	shown := rest[:runes(rest, longest)]
	l := Line{Number: number, Text: string(bytes.TrimRight(shown, " \t\r")), Start: start - from}
	l.End = min(end-from, utf8.RuneCountInString(l.Text))
	if len(bytes.TrimSpace(rest[len(shown):])) > 0 {
		l.Text += cut
	}
	if from > 0 {
		l.Text, l.Start, l.End = cut+l.Text, l.Start+1, l.End+1
	}
	return l
}

// runes returns how many bytes the first n code points take.
func runes(text []byte, n int) int {
	at := 0
	for range n {
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	return at
}
