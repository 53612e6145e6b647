package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/stsguard/stsguard/inventory"
)

// Location is a region of a file, as SARIF has it: it is on one line unless
// EndLine says otherwise, and EndColumn is one past its last character. Columns
// count code points. All but File are 0 where there is no place to name.
type Location struct {
	File                             string
	Line, Column, EndLine, EndColumn int
}

// Locate returns where the field stands that the JSON pointer names, as it is
// seen from its object. A scalar is located by its value, unless that is empty
// or a block of text; anything else by its key, an object or list item by its
// first key. A field that doesn't exist is located by the nearest thing above
// it that does. What was rendered is located in what it was rendered from. An
// unknown ref has no location.
func (s *Set) Locate(ref inventory.Ref, pointer string) Location {
	o := s.objects[ref]
	if o == nil {
		return Location{}
	}
	d := o.document
	pointer = o.pointer + pointer
	if pointer != "" || !d.quick {
		// Its text is needed again.
		r := s.reopened.take(d.file)
		defer s.reopened.give(r)
		d = r.document(d)
	}
	return d.locate(pointer)
}

// Annotation returns what the object's manifest gives, empty if nothing or if
// the Set doesn't have the object. Those that a rule may see the object has
// itself.
func (s *Set) Annotation(ref inventory.Ref, name string) string {
	o := s.objects[ref]
	if o == nil {
		return ""
	}
	r := s.reopened.take(o.document.file)
	defer s.reopened.give(r)
	n := r.document(o.document).tree().root
	tokens := strings.Split(strings.TrimPrefix(o.pointer+"/metadata/annotations", "/"), "/")
	for _, token := range append(tokens, name) {
		if n == nil {
			return ""
		}
		_, n = child(n, token, 0)
	}
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil {
		return ""
	}
	return n.Value
}

// File returns the path of the source that the object stands in, as it is
// displayed, empty if the Set doesn't have the object.
func (s *Set) File(ref inventory.Ref) string {
	if o := s.objects[ref]; o != nil {
		return o.document.file.Path
	}
	return ""
}

// reopenedFiles are those whose text is held, because places in them are being
// looked up: one for each goroutine that does.
type reopenedFiles struct {
	sync.Mutex
	idle []*reopened
}

// take gives one to a single goroutine, if it can be the file's own.
func (all *reopenedFiles) take(f *file) *reopened {
	all.Lock()
	defer all.Unlock()
	i := slices.IndexFunc(all.idle, func(r *reopened) bool { return r.file == f })
	if i < 0 {
		i = len(all.idle) - 1
	}
	if i < 0 {
		return &reopened{}
	}
	r := all.idle[i]
	all.idle = slices.Delete(all.idle, i, i+1)
	return r
}

func (all *reopenedFiles) give(r *reopened) {
	all.Lock()
	defer all.Unlock()
	all.idle = append(all.idle, r)
}

// reopened is a file whose text is held.
type reopened struct {
	file      *file
	buffer    bytes.Buffer
	text      []byte // in the buffer's memory
	documents map[*document]*document
}

// document returns the document with its text, or without if that isn't what it
// was any more.
func (r *reopened) document(d *document) *document {
	if r.file != d.file {
		// What went wrong now went right before: the file has changed.
		text, _ := d.file.textIn(&r.buffer)
		r.file, r.text, r.documents = d.file, text, map[*document]*document{}
	}
	again := r.documents[d]
	if again == nil {
		again = &document{file: d.file, start: d.start, end: d.end, line: d.line, column: d.column, json: d.json, quick: d.quick, begin: d.begin}
		if d.end <= len(r.text) && maphash.Bytes(seed, r.text[d.start:d.end]) == d.sum {
			again.data = r.text[d.start:d.end]
		}
		r.documents[d] = again
	}
	return again
}

var seed = maphash.MakeSeed()

// forget lets go of the text.
func (d *document) forget() {
	d.sum = maphash.Bytes(seed, d.data)
	d.data, d.parsed = nil, parsed{}
}

func (d *document) locate(pointer string) Location {
	l := d.find(pointer)
	if origin := d.file.Origin; origin != nil {
		return origin.Locate(l, pointer)
	}
	return l
}

// find locates a field in the document's own text.
func (d *document) find(pointer string) Location {
	if pointer == "" && d.quick {
		return d.begin
	}
	t := d.tree()
	l := Location{File: d.file.Path}
	n := (*node)(nil)
	if t.root != nil {
		n = resolve(t.root, pointer)
	}
	if n == nil {
		l.Line, l.Column = d.firstLine(), 1
		l.EndLine, l.EndColumn = l.Line, 1
		return l
	}
	return d.region(n.Line, n.Column, width(n, t.after(n.Line, n.Column)))
}

// region is a part of a line of the document in its file.
func (d *document) region(line, column, width int) Location {
	l := Location{File: d.file.Path}
	l.Line, l.Column = d.position(line, column)
	l.EndLine, l.EndColumn = l.Line, l.Column+width
	return l
}

// firstLine is the first one that says something.
func (d *document) firstLine() int {
	line := d.line
	for text := range bytes.Lines(d.data) {
		text = bytes.TrimSpace(text)
		if len(text) > 0 && text[0] != '#' && !bytes.HasPrefix(text, []byte(separator)) {
			return line
		}
		line++
	}
	return d.line
}

type node = yaml.Node

// parsed is what is known of a document's text, made when it is asked for: of
// most documents it never is.
type parsed struct {
	root *node // nil if err is set, or the document is empty
	err  error // a syntaxError, or another that has no place
	// trailing is where content goes on after the document's end.
	trailing *mark
	lines    [][]byte
	// exotic says that the parser may count more lines than those, ascii that
	// columns count bytes.
	exotic, ascii bool
}

// line returns a line, numbered from 1.
func (p *parsed) line(n int) []byte {
	if n > len(p.lines) {
		return nil // the parser knows more kinds of line breaks
	}
	return p.lines[n-1]
}

// after returns a line from a column on, both numbered from 1.
func (p *parsed) after(n, column int) []byte {
	line := p.line(n)
	if p.ascii {
		return line[min(column-1, len(line)):]
	}
	return line[runes(line, column-1):]
}

type mark struct{ line, column int }

type syntaxError struct {
	mark
	message string
}

func (e syntaxError) Error() string { return e.message }

func (d *document) tree() *parsed {
	if d.parsed.lines == nil {
		if d.json {
			s := jsonScanner{data: d.data, line: 1, column: 1}
			d.parsed.root = s.value()
		} else if root := d.quickTree(); root != nil {
			d.parsed.root = root
		} else {
			d.parsed = parseYAML(d.data)
		}
		d.parsed.splitLines(d.data)
	}
	return &d.parsed
}

func (p *parsed) splitLines(data []byte) {
	p.lines = bytes.Split(data, []byte("\n"))
	p.exotic = hasExoticBreak(data)
	p.ascii = bytes.IndexFunc(data, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// quickTree spares the YAML library what the quick reader did. It returns nil if
// it can't.
func (d *document) quickTree() *node {
	if !d.quick {
		return nil
	}
	root, _ := quickTree(d.data)
	return root
}

func parseYAML(data []byte) (p parsed) {
	defer func() {
		if r := recover(); r != nil {
			p = parsed{err: fmt.Errorf("parser failed: %v", r)}
		}
	}()
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return parsed{err: err}
	}
	var document, next node
	var syntax syntaxError
	if err := placed(loader.Load(&document)); errors.As(err, &syntax) && syntax.message == trailingContent {
		// What comes before it is a document to kubectl's parser.
		if end := offset(data, syntax.mark); end > 0 && end < len(data) {
			p = parseYAML(data[:end])
			p.trailing = &syntax.mark
			return p
		}
		return parsed{err: err}
	} else if err != nil && err != io.EOF {
		return parsed{err: err}
	}
	if len(document.Content) == 0 {
		return parsed{}
	}
	p.root = document.Content[0]
	switch err := placed(loader.Load(&next)); {
	case err == nil && len(next.Content) > 0:
		p.trailing = &mark{next.Content[0].Line, next.Content[0].Column}
	case errors.As(err, &syntax):
		p.trailing = &syntax.mark
	}
	return p
}

// trailingContent is what the YAML library says of content behind the end of
// a document that it knows no other error for.
const trailingContent = "did not find expected <document start>"

// offset turns a mark into a byte offset.
func offset(data []byte, m mark) int {
	at := 0
	for range m.line - 1 {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			return len(data)
		}
		at += i + 1
	}
	for range m.column - 1 {
		_, size := utf8.DecodeRune(data[at:])
		at += size
	}
	return at
}

// placed finds the place in an error of the YAML library.
func placed(err error) error {
	var one *yaml.LoadError
	if !errors.As(err, &one) {
		return err
	}
	return syntaxError{mark{one.Mark.Line, one.Mark.Column}, one.Message}
}

// resolve follows the pointer as far as it leads, and returns the node that
// shows where that is. It returns nil if the tree has none that does.
func resolve(root *node, pointer string) *node {
	value, key := root, (*node)(nil)
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if pointer == "" {
			break
		}
		k, v := child(value, unescape.Replace(token), 0)
		if v == nil {
			// Absent: what is above it, and not its value.
			return shown(key, value, true)
		}
		key, value = k, v
	}
	return shown(key, value, false)
}

var (
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
)

func shown(key, value *node, absent bool) *node {
	target := value
	if value.Kind == yaml.AliasNode {
		target = value.Alias
	}
	scalar := target.Kind == yaml.ScalarNode
	block := value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	empty := value.Kind == yaml.ScalarNode && value.Value == "" && value.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0
	switch {
	case key != nil && (absent || !scalar || block || empty):
		return key
	case value.Kind == yaml.MappingNode && len(value.Content) > 0:
		return value.Content[0]
	}
	return value
}

// child looks a key or an index up. Merged keys count, and what merges them
// can't go round in circles: how often it is followed is limited.
func child(n *node, token string, merges int) (key, value *node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(n.Content) {
			return nil, n.Content[i]
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == token && n.Content[i].Kind == yaml.ScalarNode {
				return n.Content[i], n.Content[i+1]
			}
		}
		for i := 0; i+1 < len(n.Content) && merges < 10; i += 2 {
			if n.Content[i].Value != "<<" {
				continue
			}
			from := []*node{n.Content[i+1]}
			if from[0].Kind == yaml.SequenceNode {
				from = from[0].Content
			}
			for _, m := range from {
				if k, v := child(m, token, merges+1); v != nil {
					return k, v
				}
			}
		}
	}
	return nil, nil
}

// width counts the code points of the node on its line, of which the rest from
// its beginning is given; at least 1.
func width(n *node, rest []byte) int {
	text := strings.TrimRight(string(rest), " \t\r\n")
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0 && strings.HasPrefix(text, `"`):
		for i := 1; i < len(text); i++ {
			if text[i] == '\\' {
				i++
			} else if text[i] == '"' {
				text = text[:i+1]
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0 && strings.HasPrefix(text, "'"):
		for i := 1; i < len(text); i++ {
			if strings.HasPrefix(text[i:], "''") {
				i++
			} else if text[i] == '\'' {
				text = text[:i+1]
			}
		}
	case n.Kind == yaml.AliasNode && strings.HasPrefix(text, "*"+n.Value):
		text = text[:1+len(n.Value)]
	case n.Kind == yaml.ScalarNode && strings.HasPrefix(text, n.Value):
		text = n.Value
	case n.Kind != yaml.ScalarNode:
		text = text[:min(1, len(text))]
	case n.Value != "" && strings.Contains(text, " "+n.Value):
		// It has an anchor or a tag before it.
		text = text[:strings.Index(text, " "+n.Value)+1+len(n.Value)]
	default:
		// It goes on below.
		text, _, _ = strings.Cut(text, " #")
		text = strings.TrimRight(text, " \t")
	}
	return max(1, utf8.RuneCountInString(text))
}

// duplicates finds the keys that a mapping has twice, up to some number.
func (p *parsed) duplicates(most int) []problem {
	var found []problem
	visit(p.root, "", func(n *node, pointer string) {
		if n.Kind != yaml.MappingNode {
			return
		}
		first := make(map[string]*node, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content) && len(found) < most; i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				continue
			}
			if before := first[key.Value]; before != nil {
				found = append(found, problem{line: key.Line, column: key.Column,
					message: display(pointer+"/"+escape.Replace(key.Value)) + ": the key is given twice, the last one counts"})
				continue
			}
			first[key.Value] = key
		}
	})
	return found
}

// unconvertible finds what YAML has and JSON hasn't.
func (p *parsed) unconvertible() *problem {
	var found *problem
	visit(p.root, "", func(n *node, pointer string) {
		if found != nil {
			return
		}
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!float" {
			if v := strings.ToLower(strings.TrimLeft(n.Value, "+-")); v == ".inf" || v == ".nan" {
				found = &problem{line: n.Line, column: n.Column, message: display(pointer) + ": must be a finite number"}
			}
		}
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			if k := n.Content[i]; k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null" {
				found = &problem{line: k.Line, column: k.Column, message: strings.TrimPrefix(display(pointer)+": ", ": ") + "a key must be a string (put it in quotes)"}
				return
			}
		}
	})
	return found
}

// visit calls f for a node and all below it, but not through aliases.
func visit(n *node, pointer string, f func(n *node, pointer string)) {
	if n == nil {
		return
	}
	f(n, pointer)
	for i, c := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			visit(c, pointer+"/"+strconv.Itoa(i), f)
		case n.Kind == yaml.MappingNode && i%2 == 1:
			visit(c, pointer+"/"+escape.Replace(n.Content[i-1].Value), f)
		}
	}
}

// display turns a JSON pointer into what a person would write.
func display(pointer string) string {
	var b strings.Builder
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		token = unescape.Replace(token)
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "", strings.ContainsAny(token, "./ "):
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return b.String()
}
