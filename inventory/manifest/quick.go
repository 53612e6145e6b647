package manifest

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	values "sigs.k8s.io/yaml"
)

// json converts YAML that is written as manifests usually are to JSON, many times
// as fast as the YAML library, with the values that the library gives. It says
// false wherever it isn't sure, and of all that is wrong: what that is, and
// where, is the library's to say.
//
// What it knows are mappings and lists in block style, scalars on one line,
// literal blocks of text, and flow style on one line. A line means nothing else
// than that: no anchor, alias, tag, directive or explicit key, no scalar that
// goes on in the next line, no tab but in text, and no key twice.
//
// A document that isn't of the slot's shape is one that it isn't sure of, either.
// The JSON, which is there until the next is read, is what the shape wants of it.
func (r *quickReader) json(data []byte, to slot) (json []byte, h head, ok bool) {
	if !isQuickText(data) {
		return nil, h, false
	}
	*r = quickReader{rest: data, out: slices.Grow(r.out[:0], len(data)+len(data)/4), keys: r.keys[:0]}
	if !r.document(to) {
		return nil, h, false
	}
	return r.out, r.head, true
}

// quickStart says where the first key stands in a document that the quick reader
// is sure of, and how wide it is.
func quickStart(data []byte) (m mark, width int) {
	r := quickReader{rest: data}
	r.first()
	_, rest, _ := cutKey(r.text)
	key := r.text[:len(r.text)-len(rest)-len(":")]
	return mark{r.number, r.indent + 1}, utf8.RuneCount(key)
}

// quickTree is to the YAML library's nodes what JSON is to its values.
// Neither comments nor tags are in them.
func quickTree(data []byte) (root *node, ok bool) {
	if !isQuickText(data) {
		return nil, false
	}
	var above node
	r := quickReader{rest: data, nodes: []*node{&above}}
	if !r.document(slot{shape: ignored}) {
		return nil, false
	}
	return above.Content[0], true
}

const (
	// maxQuickDepth is how deep a document may be for the quick reader.
	maxQuickDepth = 100
	// maxQuickKeys is how many keys a mapping may have for it: each is compared
	// with all.
	maxQuickKeys = 64
	// maxQuickKey is how long a key may be for it. The library has a limit, too.
	maxQuickKey = 256
)

// isQuickText says whether the text has no character that YAML doesn't allow,
// or takes for the end of a line where others don't.
func isQuickText(data []byte) bool {
	for i := 0; i < len(data); {
		if len(data)-i >= 8 && isPrintable(binary.LittleEndian.Uint64(data[i:])) {
			i += 8
			continue
		}
		c := data[i]
		if c < utf8.RuneSelf {
			if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
				return false
			}
			i++
			continue
		}
		switch r, size := utf8.DecodeRune(data[i:]); {
		case r == utf8.RuneError, r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r >= 0xfffe && r <= 0xffff:
			return false
		default:
			i += size
		}
	}
	return true
}

// isPrintable says whether eight bytes are all from ' ' to '~': none is below,
// which takes from the highest bit, and none adds to it.
func isPrintable(bytes uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	return ((bytes-each*' ')|(bytes+each)|bytes)&high == 0
}

// quickReaders keep their memory for the next document.
var quickReaders = sync.Pool{New: func() any { return new(quickReader) }}

// quickReader stands at one line that says something.
type quickReader struct {
	rest   []byte // behind the line
	line   []byte
	number int    // of the line, from 1
	indent int    // where text begins; -1 at the end
	text   []byte // the line, or what is left of it

	out  []byte // JSON
	head head
	keys [][]byte // those of all mappings that aren't finished

	nodes []*node // those that aren't finished; nil if nobody wants nodes
}

func (r *quickReader) document(to slot) bool {
	r.first()
	return r.indent >= 0 && r.mapping(r.indent, 0, to) && r.indent < 0
}

// first goes on to the document's first key.
func (r *quickReader) first() {
	r.next()
	if r.number == 1 && isSeparator(r.line) {
		r.next()
	}
}

// node adds a node to the one that isn't finished. The text is what its line
// holds from its beginning on.
func (r *quickReader) node(kind yaml.Kind, style yaml.Style, value, text []byte) *node {
	if r.nodes == nil {
		return nil
	}
	before := r.line[:len(r.line)-len(text)]
	n := &node{Kind: kind, Style: style, Value: string(value), Line: r.number, Column: 1 + utf8.RuneCount(before)}
	above := r.nodes[len(r.nodes)-1]
	above.Content = append(above.Content, n)
	return n
}

// begin adds a node and leaves it unfinished until end.
func (r *quickReader) begin(kind yaml.Kind, style yaml.Style, text []byte) {
	if n := r.node(kind, style, nil, text); n != nil {
		r.nodes = append(r.nodes, n)
	}
}

func (r *quickReader) end() {
	if r.nodes != nil {
		r.nodes = r.nodes[:len(r.nodes)-1]
	}
}

// next goes on to the next line that isn't blank or a comment.
func (r *quickReader) next() {
	for len(r.rest) > 0 {
		r.line, r.rest = cutLine(r.rest)
		r.number++
		r.text = bytes.TrimLeft(r.line, " ")
		if len(r.text) > 0 && r.text[0] != '#' {
			r.indent = len(r.line) - len(r.text)
			return
		}
	}
	r.indent, r.text = -1, nil
}

func cutLine(data []byte) (line, rest []byte) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return data[:i], data[i+1:]
	}
	return data, nil
}

// isItem says whether the text begins a list's item.
func isItem(text []byte) bool {
	return text[0] == '-' && (len(text) == 1 || text[1] == ' ')
}

// mapping reads the mapping whose keys stand at the indent.
func (r *quickReader) mapping(indent, depth int, to slot) bool {
	if depth > maxQuickDepth || !to.open('{') {
		return false
	}
	first := len(r.keys)
	r.begin(yaml.MappingNode, 0, r.text)
	r.mark(to, '{')
	for r.indent == indent {
		key, rest, ok := cutKey(r.text)
		if !ok || !r.key(key, r.text, first, to) {
			return false
		}
		start, of := len(r.out), to.field(key)
		if !r.value(rest, indent, true, depth, of) || !r.decide(of, start) {
			return false
		}
		if depth == 0 && of.json {
			r.head.set(key, r.out[start:len(r.out):len(r.out)])
		}
		r.mark(to, ',')
	}
	r.keys = r.keys[:first]
	r.close(to, '}')
	r.end()
	return r.indent < indent
}

// mark writes a character between values.
func (r *quickReader) mark(to slot, c byte) {
	if to.json {
		r.out = append(r.out, c)
	}
}

// close ends a mapping or a list behind its last member, if it has one.
func (r *quickReader) close(to slot, bracket byte) {
	if last := len(r.out) - 1; to.json && r.out[last] == ',' {
		r.out = r.out[:last]
	}
	r.mark(to, bracket)
}

// decide has the slot's type decide on the JSON from an offset on, if it does that
// by itself.
func (r *quickReader) decide(to slot, start int) bool {
	if to.form != ownForm {
		return true
	}
	value := r.out[start:]
	r.out = r.out[:start]
	return to.putOwn(value)
}

// list reads the list whose items stand at the indent. It may end where a
// mapping at the same indent goes on.
func (r *quickReader) list(indent, depth int, to slot) bool {
	if depth > maxQuickDepth || !to.open('[') {
		return false
	}
	r.begin(yaml.SequenceNode, 0, r.text)
	r.mark(to, '[')
	for r.indent == indent && isItem(r.text) {
		text := bytes.TrimLeft(r.text[1:], " ")
		column := indent + len(r.text) - len(text)
		start, of, ok := len(r.out), to.item(), false
		switch {
		case len(text) > 0 && isItem(text):
			r.indent, r.text = column, text
			ok = r.list(column, depth+1, of) && r.indent < column
		case len(text) > 0 && beginsMapping(text):
			r.indent, r.text = column, text
			ok = r.mapping(column, depth+1, of)
		default:
			ok = r.value(r.text[1:], indent, false, depth, of)
		}
		if !ok || !r.decide(of, start) {
			return false
		}
		r.mark(to, ',')
	}
	r.close(to, ']')
	r.end()
	return r.indent <= indent
}

// beginsMapping says whether the text begins with a key.
func beginsMapping(text []byte) bool {
	_, _, ok := cutKey(text)
	return ok
}

// cutKey takes a key and its colon off the text, which isn't empty. A key that
// may be something else than a string is none.
func cutKey(text []byte) (key, rest []byte, ok bool) {
	if text[0] == '"' || text[0] == '\'' {
		if key, rest, ok = unquote(text); !ok {
			return nil, nil, false
		}
	} else {
		end := wordEnd(text)
		key, rest = text[:end], text[end:]
		if end == 0 || key[0] == '-' || isSpecial(key) || isNumeric(key) {
			return nil, nil, false
		}
	}
	if len(rest) == 0 || rest[0] != ':' || len(rest) > 1 && rest[1] != ' ' {
		return nil, nil, false
	}
	return key, rest[1:], true
}

// key takes a key, with which the text begins. It must not be among those from
// first on.
func (r *quickReader) key(key, text []byte, first int, to slot) bool {
	if string(key) == "<<" || len(key) > maxQuickKey || len(r.keys)-first == maxQuickKeys {
		return false
	}
	for _, other := range r.keys[first:] {
		if bytes.Equal(other, key) {
			return false
		}
	}
	r.keys = append(r.keys, key)
	r.node(yaml.ScalarNode, quoteStyle(text), key, text)
	if to.json {
		r.quote(key)
		r.out = append(r.out, ':')
	}
	return true
}

// value reads what stands behind a key or a list's dash at the indent, and
// below it, and goes on to the next line.
func (r *quickReader) value(text []byte, indent int, ofKey bool, depth int, to slot) bool {
	text = bytes.TrimLeft(text, " ")
	switch {
	case isRest(text):
		r.next()
		switch {
		case r.indent > indent && isItem(r.text):
			return r.list(r.indent, depth+1, to) && r.indent <= indent
		case r.indent > indent && beginsMapping(r.text):
			return r.mapping(r.indent, depth+1, to) && r.indent <= indent
		case r.indent > indent:
			return r.inline(r.text, depth, to) && r.indent <= indent
		case r.indent == indent && ofKey && isItem(r.text):
			return r.list(indent, depth+1, to)
		}
		// It has no place of its own.
		return (r.node(yaml.ScalarNode, 0, nil, r.text) == nil || ofKey) && r.scalar([]byte("null"), to)
	case text[0] == '|':
		return r.literal(text, indent, to)
	}
	return r.inline(text, depth, to) && r.indent <= indent
}

// inline reads a value that is all on one line, and goes on to the next.
func (r *quickReader) inline(text []byte, depth int, to slot) bool {
	ok := false
	switch text[0] {
	case '[', '{', '"', '\'':
		text, ok = r.flow(text, depth+1, to)
		ok = ok && isComment(text)
	default:
		ok = r.plain(text, to)
	}
	r.next()
	return ok
}

// isRest says whether nothing follows but a comment, which the text begins
// with.
func isRest(text []byte) bool { return len(text) == 0 || text[0] == '#' }

// isComment says whether nothing follows a value but blanks and a comment.
func isComment(text []byte) bool {
	rest := bytes.TrimLeft(text, " ")
	return len(rest) == 0 || rest[0] == '#' && len(rest) < len(text)
}

// plain reads a scalar without quotes, to the end of the line.
func (r *quickReader) plain(text []byte, to slot) bool {
	switch c := text[0]; {
	case (c == '-' || c == ':') && (len(text) == 1 || text[1] == ' '):
		return false
	case isWord[c], c == ':', c >= utf8.RuneSelf:
	case strings.IndexByte("+$()=~\\^;", c) >= 0:
	default:
		return false
	}
	end := len(text)
	for i, c := range text {
		switch c {
		case '\t':
			return false
		case ':':
			if i+1 == len(text) || text[i+1] == ' ' {
				return false
			}
		case '#':
			if text[i-1] == ' ' {
				end = i
			}
		}
		if end < len(text) {
			break
		}
	}
	s := bytes.TrimRight(text[:end], " ")
	r.node(yaml.ScalarNode, 0, s, text)
	return r.scalar(s, to)
}

// scalar takes what a scalar without quotes stands for.
func (r *quickReader) scalar(s []byte, to slot) bool {
	switch {
	case isInteger(s), string(s) == "true", string(s) == "false", string(s) == "null":
	case isNumeric(s) || isSpecial(s):
		list, err := values.YAMLToJSONStrict(append([]byte("- "), s...))
		if err != nil {
			return false
		}
		if s = list[1 : len(list)-1]; s[0] == '"' {
			t, _ := text(s)
			return r.string([]byte(t), to)
		}
	default:
		return r.string(s, to)
	}
	if to.json {
		r.out = append(r.out, s...)
	}
	return to.put(s)
}

// isInteger says whether the text is an integer in the same form as JSON has
// it.
func isInteger(s []byte) bool {
	if string(s) == "0" {
		return true
	}
	if len(s) == 0 || len(s) > 18 || s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isNumeric says whether the text may be a number, by what it is made of. A
// checksum is none, unless it has an x for a digit.
func isNumeric(s []byte) bool {
	if c := s[0]; c != '+' && c != '-' && c != '.' && (c < '0' || c > '9') {
		return false
	}
	digits, dots, hex := 0, 0, false
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '.':
			dots++
		case strings.IndexByte("acdfACDF", c) >= 0:
			hex = true
		case strings.IndexByte("+-_beoxBEOX", c) < 0:
			return false
		}
	}
	return digits > 0 && dots < 2 && (!hex || bytes.ContainsAny(s, "xX"))
}

// isSpecial says whether the text is a word that may mean something else: true,
// say.
func isSpecial(s []byte) bool {
	if len(s) > 5 || strings.IndexByte("yYnNtTfFoO~.+-", s[0]) < 0 {
		return false
	}
	return slices.ContainsFunc(specials, func(word string) bool {
		return len(word) == len(s) && strings.EqualFold(word, string(s))
	})
}

var specials = []string{"y", "yes", "n", "no", "true", "false", "on", "off", "null", "~", ".nan", ".inf", "+.inf", "-.inf"}

// unquote takes a quoted scalar off the text, if it ends there and if nothing
// in it needs more than a look.
func unquote(text []byte) (s, rest []byte, ok bool) {
	quote := text[0]
	start := 1
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\t':
			return nil, nil, false
		case c == '\\' && quote == '"':
			s = append(s, text[start:i]...)
			if i++; i == len(text) {
				return nil, nil, false
			}
			switch text[i] {
			case '"', '\\':
				s = append(s, text[i])
			case 'n':
				s = append(s, '\n')
			case 't':
				s = append(s, '\t')
			default:
				return nil, nil, false
			}
			start = i + 1
		case c == quote && quote == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
			s = append(s, text[start:i]...)
			start = i + 1
		case c == quote && s == nil:
			return text[start:i], text[i+1:], true
		case c == quote:
			return append(s, text[start:i]...), text[i+1:], true
		}
	}
	return nil, nil, false
}

func quoteStyle(text []byte) yaml.Style {
	switch text[0] {
	case '"':
		return yaml.DoubleQuotedStyle
	case '\'':
		return yaml.SingleQuotedStyle
	}
	return 0
}

// flow reads a value in flow style, and returns what follows.
func (r *quickReader) flow(text []byte, depth int, to slot) (rest []byte, ok bool) {
	switch {
	case len(text) == 0 || depth > maxQuickDepth:
		return nil, false
	case text[0] == '"' || text[0] == '\'':
		unquoted, rest, ok := unquote(text)
		r.node(yaml.ScalarNode, quoteStyle(text), unquoted, text)
		return rest, ok && r.string(unquoted, to)
	case text[0] != '[' && text[0] != '{':
		end := wordEnd(text)
		if end == 0 || text[0] == '-' {
			return nil, false
		}
		r.node(yaml.ScalarNode, 0, text[:end], text)
		return text[end:], r.scalar(text[:end], to)
	}
	opening, closing, kind := text[0], byte(']'), yaml.SequenceNode
	if opening == '{' {
		closing, kind = '}', yaml.MappingNode
	}
	if !to.open(opening) {
		return nil, false
	}
	r.begin(kind, yaml.FlowStyle, text)
	first := len(r.keys)
	r.mark(to, opening)
	text = bytes.TrimLeft(text[1:], " ")
	if len(text) > 0 && text[0] == closing {
		r.mark(to, closing)
		r.end()
		return text[1:], true
	}
	for {
		var of slot
		if opening == '{' {
			if len(text) == 0 {
				return nil, false
			}
			key, value, ok := cutKey(text)
			if !ok || !r.key(key, text, first, to) {
				return nil, false
			}
			text, of = bytes.TrimLeft(value, " "), to.field(key)
		} else {
			of = to.item()
		}
		start := len(r.out)
		if text, ok = r.flow(text, depth+1, of); !ok || !r.decide(of, start) {
			return nil, false
		}
		r.mark(to, ',')
		text = bytes.TrimLeft(text, " ")
		switch {
		case len(text) > 0 && text[0] == closing:
			r.keys = r.keys[:first]
			r.close(to, closing)
			r.end()
			return text[1:], true
		case len(text) == 0 || text[0] != ',':
			return nil, false
		}
		text = bytes.TrimLeft(text[1:], " ")
	}
}

// literal reads the lines below a bar, all of which are text.
func (r *quickReader) literal(bar []byte, parent int, to slot) bool {
	header, strip := bytes.CutPrefix(bar[1:], []byte("-"))
	if len(bytes.TrimLeft(header, " ")) > 0 {
		return false
	}
	n := r.node(yaml.ScalarNode, yaml.LiteralStyle, nil, bar)
	var text []byte
	indent, found, breaks := parent+1, false, 0
	for len(r.rest) > 0 {
		line, rest := cutLine(r.rest)
		spaces := len(line) - len(bytes.TrimLeft(line, " "))
		blank := spaces == len(line)
		if !blank && spaces < indent {
			break
		}
		if !found {
			// The first line decides on the indent, if nothing disputes it.
			if blank && spaces > indent || !blank && line[spaces] == '\t' {
				return false
			}
			if !blank {
				indent, found = spaces, true
			}
		}
		r.rest = rest
		r.number++
		if found && len(line) > indent {
			for range breaks {
				text = append(text, '\n')
			}
			text = append(text, line[indent:]...)
			breaks = 0
		}
		breaks++
	}
	if len(text) > 0 && !strip {
		text = append(text, '\n')
	}
	if n != nil {
		n.Value = string(text)
	}
	r.next()
	return r.string(text, to) && r.indent <= parent
}

// string takes a string.
func (r *quickReader) string(s []byte, to slot) bool {
	if to.json {
		r.quote(s)
	}
	return to.putText(s)
}

// quote writes a string as encoding/json does.
func (r *quickReader) quote(s []byte) {
	r.out = append(r.out, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			continue
		}
		r.out = append(r.out, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			r.out = append(r.out, '\\', c)
		case '\n':
			r.out = append(r.out, '\\', 'n')
		case '\t':
			r.out = append(r.out, '\\', 't')
		default:
			const hex = "0123456789abcdef"
			r.out = append(r.out, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	r.out = append(append(r.out, s[start:]...), '"')
}

func wordEnd(text []byte) int {
	end := 0
	for end < len(text) && isWord[text[end]] {
		end++
	}
	return end
}

// isWord holds the characters of keys, and of scalars in flow style: none of
// them has a meaning there, but a dash at the beginning.
var isWord = func() (is [256]bool) {
	for c := range is {
		is[c] = isLetter(byte(c)) || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '/'
	}
	return is
}()
