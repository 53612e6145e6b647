package manifest

import (
	"bytes"
	"slices"
	"strings"
)

// looked is what a document's lines prove without parsing it.
type looked struct {
	// empty: it holds nothing but blanks and comments.
	empty bool
	// unwanted: parsing it would yield no object of a wanted kind.
	unwanted bool
	// plain: its root mapping can't end before the document does.
	plain bool
	// kind is what the document is likely to be, empty if there is no telling.
	kind string
}

// look doesn't understand YAML, and needn't: anything that isn't obvious is
// left unproven. Every key of a block mapping at the root stands at the same
// column, at the beginning of a line. So if all lines at that column are blank,
// comments, list items or plain keys, then each key of the root is among them,
// whatever else (a line of quoted text, say) may look like one. If each that
// is called kind has a plain value that isn't wanted, the document's kind is
// one of those.
func look(d *document, exotic bool) looked {
	l := looked{empty: true, plain: !exotic && !d.json}
	sure := l.plain
	root, afterKind, directive := -1, false, false
	for rest, first := d.data, true; len(rest) > 0; first = false {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if first && isSeparator(line) {
			continue
		}
		text := bytes.TrimLeft(line, " ")
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		indent := len(line) - len(text)
		l.empty = false
		switch {
		case root < 0:
			root = indent
			directive = text[0] == '%'
			l.plain = l.plain && plainKey(text) != ""
		case indent > root:
			if afterKind {
				sure = false // the value may go on
				afterKind = false
			}
			continue
		case indent < root || bytes.HasPrefix(text, []byte("...")):
			l.plain, sure = false, false
		}
		afterKind = false
		if text[0] == '-' && (len(text) == 1 || text[1] == ' ') {
			continue
		}
		switch plainKey(text) {
		case "":
			sure = false
		case "kind":
			afterKind = true
			l.kind = plainValue(text[len("kind:"):])
			if l.kind == "" || wanted(l.kind) {
				sure = false
			}
		}
	}
	// kubectl takes a directive for a document of its own, and refuses it.
	l.unwanted = sure || !l.empty && !directive && cannotName(d.data)
	return l
}

// isSeparator says whether the line is what splitYAML left at the beginning of
// a document, as YAML understands it too.
func isSeparator(line []byte) bool {
	after, ok := bytes.CutPrefix(line, []byte(separator))
	text := bytes.TrimLeft(after, " ")
	return ok && (len(text) == 0 || text[0] == '#' && len(text) < len(after))
}

// plainKey returns the key that text begins with, if nothing about it could
// mean anything else.
func plainKey(text []byte) string {
	key, after, ok := bytes.Cut(text, []byte(":"))
	if !ok || len(key) == 0 || !isLetter(key[0]) || len(after) > 0 && after[0] != ' ' {
		return ""
	}
	for _, c := range key {
		if !isLetter(c) && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '/' {
			return ""
		}
	}
	return string(key)
}

// plainValue returns the value behind a colon, without a comment, if it is one
// word of letters and digits.
func plainValue(text []byte) string {
	value, comment, _ := strings.Cut(strings.TrimLeft(string(text), " "), " ")
	comment = strings.TrimLeft(comment, " ")
	if comment != "" && comment[0] != '#' {
		return ""
	}
	for i := range len(value) {
		if c := value[i]; !isLetter(c) && (c < '0' || c > '9') {
			return ""
		}
	}
	return value
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// wantedWords holds one word of each wanted kind.
var wantedWords = []string{"Service", "Set", "List", "Pod", "Deployment", "Controller", "Job"}

// cannotName says whether the text lacks the words that a wanted object is
// made of, and the means to write them in another way: escapes and tags.
func cannotName(text []byte) bool {
	if bytes.IndexByte(text, '\\') >= 0 || bytes.IndexByte(text, '!') >= 0 {
		return false
	}
	has := func(word string) bool { return bytes.Contains(text, []byte(word)) }
	return !has("kind") || !slices.ContainsFunc(wantedWords, has)
}

// hasExoticBreak says whether YAML sees the end of a line where others don't.
func hasExoticBreak(text []byte) bool {
	for rest := text; ; {
		i := bytes.IndexByte(rest, '\r')
		if i < 0 {
			break
		}
		if i+1 == len(rest) || rest[i+1] != '\n' {
			return true
		}
		rest = rest[i+2:]
	}
	for _, s := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(text, []byte(s)) {
			return true
		}
	}
	return false
}
