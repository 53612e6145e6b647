package render

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/engine"

	"github.com/stsguard/stsguard/inventory/manifest"
)

// A template is rendered again with a mark before each line that begins with an
// entry of YAML. Where a mark comes out, that line was written. A mark is two
// code points for private use: the one says which file, the other which line.
const (
	markFile = 0xF0000
	markLine = 0x100000
	// markMost is how many files, and lines in one, can be told apart.
	markMost = 0xFFFD
)

// mark is a line of a template, numbered from 1. The zero value is none.
type mark struct {
	file string // as displayed
	line int
}

// marked is a chart as rendered with marks: by template, what its lines are
// without them, and where each comes from.
type marked map[string]struct {
	lines []string
	marks []mark
}

// templates are a chart's.
type templates struct {
	// texts are by displayed path.
	texts map[string]string
	// marked are the ways to mark them, the best first. They give nothing where
	// that way the chart can't be rendered.
	marked []func() marked
}

// templateOrigin leads from what one template rendered to the templates.
type templateOrigin struct {
	*templates
	name, file string // as the engine calls it, and as it is displayed
	text       string // what was rendered
}

// Text returns the template's.
func (o *templateOrigin) Text(file string) ([]byte, error) {
	text, ok := o.texts[file]
	if !ok {
		return nil, errors.New("no such template")
	}
	return []byte(text), nil
}

// Locate finds the line of the template, or of the one that it includes. It is
// the template's first line where none can be told.
func (o *templateOrigin) Locate(at manifest.Location, _ string) manifest.Location {
	lines := strings.Split(o.text, "\n")
	for _, render := range o.marked {
		again := render()[o.name]
		if len(again.lines) != len(lines) || at.Line > len(lines) {
			continue // the marks made a difference
		}
		from := mark{file: o.file}
		for i := at.Line - 1; i >= 0; i-- {
			// A line that isn't the same need not be from the same place.
			if again.marks[i].line == 0 || again.lines[i] != lines[i] {
				continue
			}
			from = again.marks[i]
			if i == at.Line-1 {
				return place(from, lines[i], line(o.texts[from.file], from.line), at)
			}
			break
		}
		from.line = actionAfter(o.texts[from.file], from.line)
		return place(from, lines[at.Line-1], line(o.texts[from.file], from.line), at)
	}
	return manifest.Location{File: o.file, Line: 1, Column: 1, EndLine: 1, EndColumn: 1}
}

func line(text string, number int) string {
	lines := strings.Split(text, "\n")
	if number > len(lines) {
		return ""
	}
	return strings.TrimSuffix(lines[number-1], "\r")
}

// place finds in a template's line what stands at a place of the line that it
// rendered to. What is filled in there is from where that begins to the end of
// the line; of a line that is filled in as a whole, it is all.
func place(from mark, rendered, template string, at manifest.Location) manifest.Location {
	r, t := []rune(strings.TrimLeft(rendered, " ")), []rune(strings.TrimSpace(template))
	start := at.Column - 1 - (utf8.RuneCountInString(rendered) - len(r))
	end := start + max(0, at.EndColumn-at.Column) // an error has no end
	same := 0
	for same < min(len(r), len(t)) && r[same] == t[same] {
		same++
	}
	switch {
	case end <= same:
	case start <= same || strings.HasPrefix(string(t[same:]), "{{"):
		start, end = min(start, same), len(t)
	default:
		start, end = 0, len(t)
	}
	indent := utf8.RuneCountInString(template) - utf8.RuneCountInString(strings.TrimLeft(template, " \t"))
	return manifest.Location{
		File: from.file, Line: from.line, Column: 1 + indent + max(start, 0),
		EndLine: from.line, EndColumn: 1 + indent + max(end, start+1, 1),
	}
}

// markings are the ways to render a chart with marks: with marks in all templates,
// and with marks outside of those that others include, where text is often
// computed with.
func markings(ctx context.Context, root manifest.Root, o Options) []func() marked {
	var out []func() marked
	for _, defines := range []bool{true, false} {
		out = append(out, sync.OnceValue(func() marked {
			m, err := call(ctx, func() (marked, error) { return renderMarked(ctx, root, o, defines) })
			if err != nil {
				return nil // without marks it could be rendered
			}
			return m
		}))
	}
	return out
}

func renderMarked(ctx context.Context, root manifest.Root, o Options, defines bool) (marked, error) {
	c, err := load(root, o)
	if err != nil {
		return nil, err
	}
	var files []string
	done := map[*common.File]bool{}
	for name, f := range c.files() {
		if !done[f] && len(files) < markMost {
			done[f] = true
			f.Data = []byte(addMarks(string(f.Data), len(files), defines))
			files = append(files, c.path(name))
		}
	}
	texts, err := engine.Engine{}.RenderWithContext(ctx, c.Chart, c.values)
	if err != nil {
		return nil, err
	}
	return readMarks(texts, files), nil
}

// entry is how a line begins that is an entry of YAML. Text that templates
// compare or compute with is hardly ever like that.
var entry = regexp.MustCompile(`^(?:-(?: |$)|[\w./"'-]+:)`)

func addMarks(text string, file int, defines bool) string {
	var b strings.Builder
	actions := scan(text)
	number := 0
	at := 0
	for l := range strings.Lines(text) {
		number++
		start := at + len(l) - len(strings.TrimLeft(l, " \t"))
		at += len(l)
		in, inDefine := inside(actions, start)
		literal, _, _ := strings.Cut(strings.TrimSpace(l), "{{")
		if in || inDefine && !defines || number > markMost || !entry.MatchString(literal) {
			b.WriteString(l)
			continue
		}
		indent := len(l) - len(strings.TrimLeft(l, " \t"))
		b.WriteString(l[:indent])
		b.WriteRune(rune(markFile + file))
		b.WriteRune(rune(markLine + number))
		b.WriteString(l[indent:])
	}
	return b.String()
}

func readMarks(texts map[string]string, files []string) marked {
	out := marked{}
	for name, text := range texts {
		m := out[name]
		for l := range strings.SplitSeq(separated(text), "\n") {
			var b strings.Builder
			var first mark
			for _, r := range l {
				switch {
				case r >= markLine && r <= markLine+markMost:
					if first.line == 0 {
						first.line = int(r - markLine)
					}
				case r >= markFile && r <= markFile+markMost:
					if first.file == "" && int(r-markFile) < len(files) {
						first.file = files[r-markFile]
					}
				default:
					b.WriteRune(r)
				}
			}
			m.lines, m.marks = append(m.lines, b.String()), append(m.marks, first)
		}
		out[name] = m
	}
	return out
}

// action is a template's {{ }}, from start to end.
type action struct {
	start, end int
	// keyword is its first word, empty for a comment.
	keyword string
	// define says that what follows it is part of a template that others
	// include.
	define bool
}

// outputs says whether what the action evaluates to is written.
func (a action) outputs() bool {
	switch a.keyword {
	case "", "if", "else", "end", "range", "with", "define", "block", "break", "continue":
		return false
	}
	return true
}

var (
	word       = regexp.MustCompile(`^\{\{(?:-[ \t\r\n])?\s*(/\*|[^\s}]+)`)
	assignment = regexp.MustCompile(`^\{\{-?\s*\$\w*(?:\s*,\s*\$\w+)?\s*:?=`)
)

// scan finds the actions of a template.
func scan(text string) []action {
	var out []action
	var blocks []bool // of those that are open, whether it is a definition
	for at := 0; ; {
		i := strings.Index(text[at:], "{{")
		if i < 0 {
			return out
		}
		a := action{start: at + i}
		a.end = a.start + actionLength(text[a.start:])
		body := text[a.start:a.end]
		if m := word.FindStringSubmatch(body); m != nil && m[1] != "/*" && !assignment.MatchString(body) {
			a.keyword = m[1]
		}
		switch a.keyword {
		case "if", "range", "with", "define", "block":
			blocks = append(blocks, a.keyword == "define")
		case "end":
			blocks = blocks[:max(0, len(blocks)-1)]
		}
		a.define = slices.Contains(blocks, true)
		out = append(out, a)
		at = a.end
	}
}

// actionLength is that of the action at the beginning of the text.
func actionLength(text string) int {
	if m := word.FindStringSubmatch(text); m != nil && m[1] == "/*" {
		if i := strings.Index(text, "*/"); i >= 0 {
			if j := strings.Index(text[i:], "}}"); j >= 0 {
				return i + j + 2
			}
		}
		return len(text)
	}
	var quote byte
	for i := 2; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '`' || c == '\'':
			quote = c
		case strings.HasPrefix(text[i:], "}}"):
			return i + 2
		}
	}
	return len(text)
}

// inside says whether the offset is in an action, and whether in a definition.
func inside(actions []action, offset int) (in, define bool) {
	for _, a := range actions {
		if offset < a.start {
			break
		}
		in, define = offset < a.end, a.define
	}
	return in, define
}

// actionAfter finds the line whose action wrote what came out after a line, but
// isn't marked: the line itself if it has such text put in, else the next one if
// it begins with an action that writes.
func actionAfter(text string, number int) int {
	lines := strings.Split(text, "\n")
	if number > 0 && strings.Contains(lines[number-1], "nindent") {
		return number
	}
	actions := scan(text)
	offset := 0
	for i, l := range lines {
		start, end := offset+len(l)-len(strings.TrimLeft(l, " \t")), offset+len(l)
		offset += len(l) + 1
		if i < number || start == end || strings.TrimSpace(l) == "" {
			continue
		}
		if in, _ := inside(actions, start); !in {
			break
		}
		for _, a := range actions {
			if a.start >= start && a.start < end && a.outputs() {
				return i + 1
			}
		}
	}
	return max(number, 1)
}
