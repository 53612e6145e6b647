package manifest

import (
	"bytes"
	"cmp"
	gojson "encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory"
)

// Edit is a change to one object's manifest.
type Edit struct {
	Object inventory.Ref
	// Fields are to have these values. All are written, or none.
	Fields []Field
	// Before is an object to be put before this one, in a document of its own.
	Before map[string]any
}

// Field is a field of an object and the value that it is to have.
type Field struct {
	// Pointer is a JSON pointer into the object. All but the last part of it
	// must exist.
	Pointer string
	Value   string
}

// Edited is a source whose text edits changed.
type Edited struct {
	Source        Source
	Before, After []byte
}

// Edit writes the edits into the texts that the objects come from, and returns
// those that it changed, in the order of their paths, with an error for each
// edit that was refused, nil for the others. No file is touched.
//
// Only the bytes that must change do. An edit is refused unless the new text,
// decoded as kubectl does, is the old object with just these fields changed.
func (s *Set) Edit(edits []Edit) ([]Edited, []error) {
	refused := make([]error, len(edits))
	files := map[*file]*editing{}
	for i, e := range edits {
		o := s.objects[e.Object]
		if o == nil {
			refused[i] = fmt.Errorf("edit %s: there is no such object", e.Object)
			continue
		}
		f := files[o.document.file]
		if f == nil {
			f = &editing{file: o.document.file, pieces: map[int]*piece{}}
			f.open()
			f.sound = sync.OnceValue(f.holdsTogether)
			files[f.file] = f
		}
		refused[i] = f.apply(o, e)
	}
	for i, e := range edits {
		if o := s.objects[e.Object]; o != nil && refused[i] == nil && !files[o.document.file].sound() {
			refused[i] = Error{File: o.document.file.Path, Message: "the edits would reach into other documents of the file"}
		}
	}
	var out []Edited
	for _, f := range files {
		if !f.sound() {
			continue
		}
		if after := f.text(); !bytes.Equal(after, f.raw) {
			out = append(out, Edited{Source: f.file.Source, Before: f.raw, After: after})
		}
	}
	slices.SortFunc(out, func(a, b Edited) int { return cmp.Compare(a.Source.Path, b.Source.Path) })
	return out, refused
}

// editing is a file that is being edited.
type editing struct {
	file *file
	err  error
	// raw is the file as it was, body the part of it behind a byte order mark.
	raw, body []byte
	// pieces are the documents that were changed, by where they start.
	pieces map[int]*piece
	// sound says, once all edits are made, whether they hold together.
	sound func() bool
}

// piece is what stands in the place of one document.
type piece struct {
	end int
	// before is a document put before it, with the separator behind.
	before, data []byte
}

func (f *editing) open() {
	if f.raw, f.err = readAll(f.file.Open, new(bytes.Buffer)); f.err != nil {
		f.err = Error{File: f.file.Path, Message: reason(f.err)}
		return
	}
	if f.body, f.err = utf8Text(f.raw); f.err != nil || !bytes.HasSuffix(f.raw, f.body) {
		f.body, f.err = nil, Error{File: f.file.Path, Line: 1, Column: 1, Message: "this file is in UTF-16, which stsguard does not write: convert it to UTF-8"}
	}
}

// text is the file as it is now.
func (f *editing) text() []byte {
	out := slices.Clone(f.raw[:len(f.raw)-len(f.body)])
	at := 0
	for _, start := range slices.Sorted(maps.Keys(f.pieces)) {
		p := f.pieces[start]
		out = slices.Concat(out, f.body[at:start], p.before, p.data)
		at = p.end
	}
	return append(out, f.body[at:]...)
}

func (f *editing) apply(o *object, e Edit) error {
	d := o.document
	if f.err != nil {
		return f.err
	}
	if d.end > len(f.body) || maphash.Bytes(seed, f.body[d.start:d.end]) != d.sum {
		return Error{File: d.file.Path, Message: "the file has changed since it was read"}
	}
	p := f.pieces[d.start]
	if p == nil {
		p = &piece{end: d.end, data: f.body[d.start:d.end]}
	}
	now := *p
	var err error
	for _, field := range e.Fields {
		if now.data, err = d.with(now.data).write(o.pointer+field.Pointer, field.Value); err != nil {
			return err
		}
	}
	if e.Before != nil {
		if now.before, now.data, err = d.with(now.data).precede(o.pointer, now.before, e.Before); err != nil {
			return err
		}
	}
	f.pieces[d.start] = &now
	return nil
}

// holdsTogether says whether the new text falls into the documents that were
// edited, and the others as they were.
func (f *editing) holdsTogether() bool {
	if f.err != nil {
		return true
	}
	var want [][]byte
	old, _ := split(f.body)
	for _, d := range old {
		if p := f.pieces[d.start]; p == nil {
			want = append(want, d.data)
		} else {
			parts, _ := split(slices.Concat(p.before, p.data))
			for _, part := range parts {
				want = append(want, part.data)
			}
		}
	}
	text := f.text()
	got, _ := split(text[len(f.raw)-len(f.body):])
	return slices.EqualFunc(got, want, func(d *document, data []byte) bool { return bytes.Equal(d.data, data) })
}

// with is the document with another text in its place.
func (d *document) with(data []byte) *document {
	return &document{file: d.file, data: data, line: d.line, column: d.column, json: d.json, errors: d.errors}
}

// refuse says why the field can't be written.
func (d *document) refuse(pointer, message string) error {
	l := d.locate(pointer)
	return Error{File: l.File, Line: l.Line, Column: l.Column, Message: message}
}

// write returns the text with one field changed.
func (d *document) write(pointer, value string) ([]byte, error) {
	at, text, err := d.place(pointer, value)
	if err != nil {
		return nil, d.refuse(pointer, fmt.Sprintf("%s; set %s to %q by hand", err, display(pointer), value))
	}
	after := slices.Concat(d.data[:at.start], []byte(text), d.data[at.end:])
	if !d.verified(after, pointer, value) {
		return nil, d.refuse(pointer, fmt.Sprintf("its YAML is too unusual to be edited safely; set %s to %q by hand", display(pointer), value))
	}
	return after, nil
}

// region is a part of a document, from start to before end.
type region struct{ start, end int }

// place finds what is to be replaced, nothing for a field that is not there,
// and what with.
func (d *document) place(pointer, value string) (region, string, error) {
	if len(d.errors) > 0 {
		return region{}, "", errors.New("the document has errors, which come first")
	}
	if !d.json && hasExoticBreak(d.data) {
		return region{}, "", errors.New("the document has line breaks that only YAML knows")
	}
	n := d.tree().root
	if n == nil {
		return region{}, "", errors.New("the document can't be read")
	}
	var key *node
	tokens := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, token := range tokens {
		token = unescape.Replace(token)
		if err := editable(n); err != nil {
			return region{}, "", err
		}
		k, v := child(n, token, 0)
		switch {
		case v != nil:
			key, n = k, v
		case i < len(tokens)-1:
			return region{}, "", fmt.Errorf("%s is missing", display("/"+strings.Join(tokens[:i+1], "/")))
		case n.Kind != yaml.MappingNode || len(n.Content) == 0:
			return region{}, "", errors.New("it stands in no mapping with other keys")
		default:
			return d.insertion(key, n, token, value)
		}
	}
	return d.replacement(key, n, value)
}

// editable says why nothing below the node can be edited: it may be used in
// more than one place.
func editable(n *node) error {
	switch {
	case n.Kind == yaml.AliasNode:
		return fmt.Errorf("the alias *%s stands there", n.Value)
	case n.Anchor != "":
		return fmt.Errorf("the anchor &%s stands there, and others may use what is below it", n.Anchor)
	}
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == "<<" {
			return errors.New("keys are merged in there with <<")
		}
	}
	return nil
}

// insertion puts a key first in a mapping that has others: in a line of its own
// behind the mapping's key or, in braces, before the first of them.
func (d *document) insertion(key, mapping *node, name, value string) (region, string, error) {
	first := mapping.Content[0]
	style := first.Style & (yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle)
	pair := d.scalar(name, style) + ": " + d.scalar(value, style)
	at := offset(d.data, mark{first.Line, first.Column})
	indent := d.data[lineStart(d.data, at):at]
	blank := len(bytes.TrimLeft(indent, " \t")) == 0
	if mapping.Style&yaml.FlowStyle != 0 {
		end, ok := scalarEnd(d.data, at, first)
		if ok && style != 0 && end+1 < len(d.data) && d.data[end] == ':' && !isBlank(d.data[end+1]) {
			pair = d.scalar(name, style) + ":" + d.scalar(value, style)
			if !blank {
				return region{at, at}, pair + ",", nil
			}
		}
		if blank {
			return region{at, at}, pair + "," + lineEnd(d.data, lineStart(d.data, at)-1) + string(indent), nil
		}
		return region{at, at}, pair + ", ", nil
	}
	if key == nil || !blank || bytes.IndexByte(indent, '\t') >= 0 || key.Line >= first.Line {
		return region{}, "", errors.New("the mapping is not written below its key")
	}
	newline := bytes.IndexByte(d.data[offset(d.data, mark{key.Line, key.Column}):], '\n')
	at = offset(d.data, mark{key.Line, key.Column}) + newline
	return region{at + 1, at + 1}, string(indent) + pair + lineEnd(d.data, at), nil
}

// replacement puts a value in place of another, in its style.
func (d *document) replacement(key, n *node, value string) (region, string, error) {
	if err := editable(n); err != nil {
		return region{}, "", err
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		return region{}, "", errors.New("a mapping or a list stands there")
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return region{}, "", errors.New("a block of text stands there")
	}
	style := n.Style & (yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle)
	if n.Value == "" && style == 0 && key != nil {
		// Nothing stands behind the colon.
		end, ok := scalarEnd(d.data, offset(d.data, mark{key.Line, key.Column}), key)
		for ok && end < len(d.data) && d.data[end] == ' ' {
			end++
		}
		if !ok || end == len(d.data) || d.data[end] != ':' {
			return region{}, "", errors.New("its key is written in an unusual way")
		}
		return region{end + 1, end + 1}, " " + d.scalar(value, 0), nil
	}
	at := offset(d.data, mark{n.Line, n.Column})
	end, ok := scalarEnd(d.data, at, n)
	if !ok {
		return region{}, "", errors.New("the value has a tag or more than one line")
	}
	return region{at, end}, d.scalar(value, style), nil
}

// scalar writes a string in a style, or in quotes where YAML would take it for
// something else without.
func (d *document) scalar(text string, style yaml.Style) string {
	quoted, err := gojson.Marshal(text)
	switch {
	case err != nil || d.json || style == yaml.DoubleQuotedStyle:
		return string(quoted)
	case style == yaml.SingleQuotedStyle:
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	for _, c := range []byte(text) {
		if !isLetter(c) && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '/' {
			return string(quoted)
		}
	}
	var read any
	if sigsyaml.Unmarshal([]byte(text), &read) != nil || read != text {
		return string(quoted)
	}
	return text
}

// scalarEnd finds where a scalar of one line that begins at the offset ends.
func scalarEnd(data []byte, at int, n *node) (int, bool) {
	line := data[at:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	quote := byte(0)
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		quote = '"'
	case n.Style&yaml.SingleQuotedStyle != 0:
		quote = '\''
	default:
		return at + len(n.Value), n.Value != "" && bytes.HasPrefix(line, []byte(n.Value))
	}
	if len(line) == 0 || line[0] != quote {
		return 0, false
	}
	for i := 1; i < len(line); i++ {
		switch {
		case line[i] == '\\' && quote == '"':
			i++
		case line[i] == quote && quote == '\'' && i+1 < len(line) && line[i+1] == quote:
			i++
		case line[i] == quote:
			return at + i + 1, true
		}
	}
	return 0, false
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func lineStart(data []byte, at int) int { return bytes.LastIndexByte(data[:at], '\n') + 1 }

// lineEnd is how the line ends whose line feed is at the offset.
func lineEnd(data []byte, newline int) string {
	if newline > 0 && data[newline-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// verified says whether the new text is the old document with just that field
// changed.
func (d *document) verified(after []byte, pointer, value string) bool {
	want, ok := d.value()
	if !ok || !utf8.Valid(after) || !assign(want, pointer, value) {
		return false
	}
	edited := d.with(after)
	got, ok := edited.value()
	if !ok || !reflect.DeepEqual(got, want) {
		return false
	}
	edited.decode()
	return len(edited.errors) == 0
}

// value is the document as kubectl sees it.
func (d *document) value() (value any, ok bool) {
	data := d.data
	if !d.json {
		var err error
		if data, err = convert(data, sigsyaml.YAMLToJSONStrict); err != nil {
			return nil, false
		}
	}
	decoder := gojson.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return value, decoder.Decode(&value) == nil
}

// assign gives the field below root its value.
func assign(root any, pointer, value string) bool {
	tokens := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for _, token := range tokens[:len(tokens)-1] {
		switch in := root.(type) {
		case map[string]any:
			root = in[unescape.Replace(token)]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(in) {
				return false
			}
			root = in[i]
		}
	}
	in, ok := root.(map[string]any)
	if ok {
		in[unescape.Replace(tokens[len(tokens)-1])] = value
	}
	return ok
}

// precede returns the document in two parts, the first of which has one more
// object at its end.
func (d *document) precede(pointer string, before []byte, object map[string]any) (first, rest []byte, err error) {
	byHand := fmt.Sprintf("; put %v %q before it by hand", object["kind"], nameOf(object))
	switch {
	case len(d.errors) > 0:
		return nil, nil, d.refuse(pointer, "the document has errors, which come first"+byHand)
	case d.json:
		return nil, nil, d.refuse(pointer, "it stands in JSON, which is not split into documents"+byHand)
	case pointer != "":
		return nil, nil, d.refuse(pointer, "it stands in a List"+byHand)
	}
	text, err := sigsyaml.Marshal(object)
	if err != nil {
		return nil, nil, d.refuse(pointer, err.Error())
	}
	header := d.header()
	if len(before) > 0 {
		header = 0 // it went before already
	}
	eol := "\n"
	if i := bytes.IndexByte(d.data, '\n'); i >= 0 {
		eol = lineEnd(d.data, i)
	}
	text = append(text, separator+"\n"...)
	text = bytes.ReplaceAll(text, []byte("\n"), []byte(eol))
	first, rest = slices.Concat(before, d.data[:header], text), d.data[header:]
	parts, errs := split(slices.Concat(first, rest))
	wantOld, ok := d.value()
	if !ok || len(errs) > 0 || len(parts) < 2 {
		return nil, nil, d.refuse(pointer, "its YAML is too unusual to be edited safely"+byHand)
	}
	created, ok1 := d.with(parts[len(parts)-2].data).value()
	old, ok2 := d.with(parts[len(parts)-1].data).value()
	if !ok1 || !ok2 || !reflect.DeepEqual(old, wantOld) || !sameJSON(created, object) {
		return nil, nil, d.refuse(pointer, "its YAML is too unusual to be edited safely"+byHand)
	}
	return first, rest, nil
}

// header is how much of the text stays at the top of the file: a separator, and
// comments with an empty line behind.
func (d *document) header() int {
	at, end := 0, 0
	for line := range bytes.Lines(d.data) {
		text := bytes.TrimSpace(line)
		at += len(line)
		switch {
		case at == len(line) && bytes.HasPrefix(line, []byte(separator)):
			end = at
		case len(text) == 0:
			end = at
		case text[0] != '#':
			return end
		}
	}
	return end
}

func nameOf(object map[string]any) any {
	meta, _ := object["metadata"].(map[string]any)
	return meta["name"]
}

// sameJSON says whether both are the same as JSON.
func sameJSON(a, b any) bool {
	x, err1 := gojson.Marshal(a)
	y, err2 := gojson.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
