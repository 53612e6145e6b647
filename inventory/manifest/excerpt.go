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
	s.reopened.Lock()
	defer s.reopened.Unlock()
	return s.reopened.document(o.document).excerpt(l, before, after)
}

func (d *document) excerpt(l Location, before, after int) []Line {
	if hasExoticBreak(d.data) {
		return nil
	}
	lines := d.tree().lines
	var out []Line
	for n := max(l.Line-before, d.line); n <= l.Line+after && n-d.line < len(lines); n++ {
		text := bytes.TrimRight(lines[n-d.line], " \t\r")
		if n != l.Line {
			if len(bytes.TrimSpace(text)) > 0 && !bytes.HasPrefix(text, []byte(separator)) {
				out = append(out, Line{Number: n}.with(text, 0, 0))
			}
			continue
		}
		start, end := l.Column-1, l.EndColumn-1
		if d.json && n == d.line {
			start, end = start-(d.column-1), end-(d.column-1)
		}
		out = append(out, Line{Number: n}.with(text, start, end))
	}
	return out
}

// with sets the text, cut if it is long, and what to point at in it.
func (l Line) with(text []byte, start, end int) Line {
	if len(text) <= longest || utf8.RuneCount(text) <= longest {
		l.Text, l.Start, l.End = string(text), start, end
		return l
	}
	from := max(start-lead, 0)
	text = text[runes(text, from):]
	shown := text[:runes(text, longest)]
	l.Text, l.Start, l.End = string(shown), start-from, min(end-from, utf8.RuneCount(shown))
	if len(shown) < len(text) {
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
