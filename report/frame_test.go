package report

import (
	"bytes"
	"strings"
	"testing"
)

func TestFrame(t *testing.T) {
	for _, x := range []struct {
		name  string
		lines []Line
		want  string
	}{
		{"nothing", nil, ""},
		{"one line, pointed at", []Line{{7, "  name: web", 8, 11}}, `
    7 |   name: web
      |         ^^^
`},
		{"numbers of different length, and a gap", []Line{{9, "a:", 0, 1}, {10, "  b:", 0, 0}, {12, "c:", 0, 0}}, `
     9 | a:
       | ^
    10 |   b:
    ...
    12 | c:
`},
		{"tabs", []Line{{1, "\t\tname:\tweb", 8, 11}}, `
    1 |         name:    web
      |                  ^^^
`},
		{"wide and combining characters", []Line{{1, "漢字: e\u0301 x", 7, 8}}, "\n    1 | 漢字: e\u0301 x\n      |         ^\n"},
		{"what a terminal obeys", []Line{{1, "\x1b[2J: \u202ex", 6, 8}}, `
    1 | \x1b[2J: \u202ex
      |          ^^^^^^^
`},
		{"a mark beyond the line", []Line{{1, "abc", 2, 9}, {2, "abc", 5, 9}, {3, "abc", -1, 1}}, `
    1 | abc
      |   ^
    2 | abc
    3 | abc
      | ^
`},
	} {
		var b bytes.Buffer
		textWriter{}.frame(&b, x.lines, SeverityError)
		if got, want := b.String(), strings.TrimPrefix(x.want, "\n"); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", x.name, got, want)
		}
	}
}
