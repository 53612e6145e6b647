package report

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	eastasian "golang.org/x/text/width"
)

// tab is what a tab in a line of a file becomes.
const tab = "    "

// frame shows lines of a file with their numbers, and carets below what they
// are shown for.
func (t textWriter) frame(b *bytes.Buffer, lines []Line, s Severity) {
	if len(lines) == 0 {
		return
	}
	digits := len(strconv.Itoa(lines[len(lines)-1].Number))
	for i, l := range lines {
		if i > 0 && l.Number > lines[i-1].Number+1 {
			fmt.Fprintf(b, "    %*s\n", digits, "...")
		}
		before, marked, after := l.split()
		text := strings.TrimRight(before+marked+after, " ")
		fmt.Fprintf(b, "    %*d | %s\n", digits, l.Number, text)
		if marked != "" {
			carets := strings.Repeat("^", columns(marked))
			if t.color {
				carets = colors[s] + carets + "\x1b[0m"
			}
			fmt.Fprintf(b, "    %*s | %s%s\n", digits, "", strings.Repeat(" ", columns(before)), carets)
		}
	}
}

// split takes the line apart at what to point at, as a terminal shows it.
func (l Line) split() (before, marked, after string) {
	text := []rune(l.Text)
	start := min(max(l.Start, 0), len(text))
	end := min(max(l.End, start), len(text))
	show := func(part []rune) string {
		pieces := strings.Split(string(part), "\t")
		for i := range pieces {
			pieces[i] = Printable(pieces[i])
		}
		return strings.Join(pieces, tab)
	}
	return show(text[:start]), show(text[start:end]), show(text[end:])
}

// columns is how many a terminal takes for a printable text.
func columns(s string) int {
	n := 0
	for _, r := range s {
		switch k := eastasian.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me):
		case k == eastasian.EastAsianWide || k == eastasian.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
