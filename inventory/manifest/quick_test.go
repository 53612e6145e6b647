package manifest

import (
	"encoding/binary"
	gojson "encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// FuzzQuick holds the quick reader against the YAML library: where it says that it
// knows a document, both must give the same objects and the same errors at the
// same places.
func FuzzQuick(f *testing.F) {
	addSeeds(f)
	for _, seed := range quickSeeds {
		f.Add([]byte(seed))
	}
	for text := range strings.SplitSeq(chart("db"), "---\n") {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkQuick(t, data) })
}

// checkQuick says of how many of the documents the quick reader is sure, and of
// how many it is when it knows their shape.
func checkQuick(t *testing.T, data []byte) (sure, fitting int) {
	text, err := utf8Text(data)
	if err != nil {
		return 0, 0
	}
	documents, _ := split(text)
	for _, d := range documents {
		if d.json {
			continue
		}
		json, h, ok := new(quickReader).json(d.data, slot{shape: anything})
		if !ok {
			continue
		}
		sure++
		read := func(decode func(d *document)) *document {
			again := &document{file: &file{Source: Source{Path: "a.yaml"}}, data: d.data, line: d.line, column: d.column}
			decode(again)
			return again
		}
		quick := read(func(d *document) { d.decodeHead(h, json, "", "", "", 0) })
		full := read((*document).decodeYAML)
		if !reflect.DeepEqual(quick.errors, full.errors) {
			t.Errorf("errors %v, want %v, in:\n%s", quick.errors, full.errors, d.data)
		}
		if got, want := contents(quick), contents(full); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v, in:\n%s", got, want, d.data)
		}
		for _, kind := range []string{"Service", "StatefulSet", "Deployment"} {
			shaped := read(func(d *document) { ok = d.decodeQuick(kind) })
			if !ok {
				continue
			}
			fitting++
			if !reflect.DeepEqual(shaped.errors, full.errors) {
				t.Errorf("as a %s, errors %v, want %v, in:\n%s", kind, shaped.errors, full.errors, d.data)
			}
			if got, want := contents(shaped), contents(full); !reflect.DeepEqual(got, want) {
				t.Errorf("as a %s, got %+v, want %+v, in:\n%s", kind, got, want, d.data)
			}
		}
		if library, ok := full.toJSON(); !ok || !equalJSON(t, json, library) {
			t.Errorf("got %s, want %s, in:\n%s", json, library, d.data)
		}
		if root, ok := quickTree(d.data); ok {
			if got, want := outline(root), outline(parseYAML(d.data).root); got != want {
				t.Errorf("got nodes\n%s, want\n%s, in:\n%s", got, want, d.data)
			}
			m, width := quickStart(d.data)
			if got, want := full.region(m.line, m.column, width), full.find(""); got != want {
				t.Errorf("begins at %v, want %v, in:\n%s", got, want, d.data)
			}
		}
	}
	return sure, fitting
}

// TestIsPrintable has each character stand at each place.
func TestIsPrintable(t *testing.T) {
	for c := range 256 {
		for i := range 8 {
			text := []byte("~ 0a~ 0a")
			text[i] = byte(c)
			if got, want := isPrintable(binary.LittleEndian.Uint64(text)), c >= ' ' && c <= '~'; got != want {
				t.Errorf("%q: %t", text, got)
			}
		}
	}
}

// outline is all that is asked of nodes. One without a text has no place.
func outline(root *node) string {
	var b strings.Builder
	visit(root, "", func(n *node, _ string) {
		line, column := n.Line, n.Column
		if n.Kind == yaml.ScalarNode && n.Value == "" && n.Style == 0 {
			line, column = 0, 0
		}
		// A block at the end of a text without a last line break has one or hasn't.
		fmt.Fprintf(&b, "%d:%d %d %d %q\n", line, column, n.Kind, n.Style, strings.TrimSuffix(n.Value, "\n"))
		if n.Kind == yaml.MappingNode {
			for i := 0; i < len(n.Content); i += 2 {
				k := n.Content[i]
				fmt.Fprintf(&b, "%d:%d key %d %q\n", k.Line, k.Column, k.Style, k.Value)
			}
		}
	})
	return b.String()
}

// contents are the objects, less where they stand.
func contents(d *document) []object {
	var out []object
	for _, o := range d.objects {
		c := *o
		c.document = nil
		out = append(out, c)
	}
	return out
}

func equalJSON(t *testing.T, a, b []byte) bool {
	value := func(data []byte) (v any) {
		decoder := gojson.NewDecoder(strings.NewReader(string(data)))
		decoder.UseNumber()
		if err := decoder.Decode(&v); err != nil {
			t.Errorf("%v in %s", err, data)
		}
		return v
	}
	return reflect.DeepEqual(value(a), value(b))
}

// quickSeeds are what has to be told apart.
var quickSeeds = []string{
	"a: 1\nb: -1\nc: 0x1F\nd: 0b1\ne: 0o17\nf: 017\ng: 1_000\nh: 1e3\ni: .5\nj: 1.\nk: +1\nl: -0\nm: 08\nn: 1.2.3\no: 2026-01-02\np: 10Gi\nq: 18446744073709551615\nr: 1:20\n",
	"a: yes\nb: No\nc: on\nd: ~\ne: null\nf: Null\ng: nULL\nh: TRUE\ni: .inf\nj: -.INF\nk: .NaN\nl: '1'\nm: \"true\"\nn:\no: \"\"\n",
	"a: 44136fa355b3678a\nb: 12ab\nc: 12e5\nd: 1f\ne: 0xfa\nf: 0b12\ng: 0b11\nh: 0o7\ni: 0XAB\nj: -0xa\nk: 1_0b\nl: 9a\nm: 12E+5\nn: 1e\n", "on: 1\n", "1: a\n", "~: a\n", "<<: {a: b}\n", "\"<<\": {a: b}\n", "a: <<\n", "a: =\n", "=: a\n", "null: a\n", "-1: a\n",
	"a: 'it''s'\nb: \"\\\"\\\\\\n\\t\"\nc: \"\\x41\"\nd: ''''\ne: \"\\\"\"\n",
	"a: b #c\nd: e#f\ng: \"h\"#i\n", "a: b: c\n", "a: - b\n", "a: -b\n", "a: ---\n", "a: ...\n", "a: --- 1\n", "a: :b\n", "a: ?b\n", "a: ? b\n",
	"a: b\n c\n", "a:\n b\n c\n", "a: \"b\n c\"\n", "a:\n b\n", "a:\n {}\n", "a:\n  null\n", "a:\n []\nb: 1\n",
	"a:\n- b\n- c\nd: 1\n", "a:\n  - b: 1\n    c: 2\n  - - d\n    - e\n  -\n    f: 1\n  -\n  - g\n", "a:\n- b\n c: d\n", "a:\n  b: 1\n c: 2\n", "a:\n b: 1\n  c: 2\n", "- a\n- b\n", "a: 1\n- b\n",
	"a: |\n  b\n\n   c\n  \n\nd: 1\n", "a: |-\n  b\n\nc: 1\n", "a: |+\n  b\n\nc: 1\n", "a: |2\n   b\n", "a: |\nb: 1\n", "a: |\n\n   \n  b\n", "a: |\n      \n  b\n", "a: |\n  b\n # c\nd: 1\n", "a: |\n   b\n  c\n", "a:\n- |\n b\n- c\n", "a:\n- b: |\n   c\n  d: e\n", "a: |\n  b", "a: |\n  b\n   ", "a: |\n \tb\n", "a: |\n\tb\n", "a: >\n  b\n  c\n", "a: | # b\n  c\n", "a: |\n  b\n...\n",
	"a: [b, 'c', \"d\", 1, [], {}, {e: f, g: [h]}] # i\n", "a: [b,c]\n", "a: [b, ]\n", "a: [b c]\n", "a: [-]\n", "a: [- b]\n", "a: [b: c]\n", "a: {b: c, b: d}\n", "a: {b}\n", "a: {b:c}\n", "a: {\"b\":c}\n", "a: {b: }\n", "a: [b\n]\n", "a: [b]: c\n", "a: {b: c}: d\n", "a: [a/b, c.d]x\n", "a: ['b'c]\n",
	"a: 1\nb: 2\na: 3\n", "a:\n  b: 1\n  b: 2\n", "a: &b c\nd: *b\n", "a: !!str 1\n", "a: @b\n", "a: `b`\n", "a: %b\n", "%a: b\n", "a: b\tc\n", "a:\tb\n", "a : b\n", "\"a\": b\n'c': d\n", "\"a\" : b\n", "\"a\":b\n",
	"a: é\nb: \u00a0\nc: \ufffe\nd: \U0001f600\n", "a: <&>\u2028\n", "a: \x7f\n", "a: \x80\n", "---\na: b\n", "--- # c\na: b\n", "---\n---\n", "  a: b\n  c: d\n e: f\n",
	"apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  type: <b>\n  ports:\n  - port: \"80\"\n  selector: [a]\n",
	"apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: a\n  labels:\n    a: 1\n    b: \"&\"\nspec:\n  replicas: a<b\n",
	"kind: \"\"\napiVersion: v1\n", "kind: 1\napiVersion: v1\n", "kind:\napiVersion: v1\n", "kind: Service\napiVersion:\nmetadata:\n  name: a\n", "kind: Service\napiVersion: \"\"\n", "kind: Service\napiVersion: 1\n",
	"kind: ServiceList\nitems:\n  a: b\n", "kind: List\nitems:\n- kind: Service\n  apiVersion: v1\n  metadata:\n    name: a\n- kind: Service\n",
}

// TestQuickMutations changes lines of a rendered chart at random. A quarter of
// what comes of it is still such.
func TestQuickMutations(t *testing.T) {
	var documents [][]string
	for text := range strings.SplitSeq(chart("db"), "---\n") {
		if text != "" {
			documents = append(documents, strings.Split(text, "\n"))
		}
	}
	for _, seed := range quickSeeds {
		documents = append(documents, strings.Split(seed, "\n"))
	}
	random := rand.New(rand.NewPCG(3, 4))
	rounds := 10_000
	if testing.Short() {
		rounds = 2_000
	}
	sure, fitting := 0, 0
	for range rounds {
		lines := slices.Clone(documents[random.IntN(len(documents))])
		for range random.IntN(3) {
			lines = mutate(random, lines, documents)
		}
		text := strings.Join(lines, "\n")
		s, f := checkQuick(t, []byte(text))
		sure, fitting = sure+s, fitting+f
		if t.Failed() {
			t.Fatalf("in:\n%s", text)
		}
	}
	if sure < rounds/4 {
		t.Errorf("sure of %d documents only", sure)
	}
	if fitting < rounds/50 {
		t.Errorf("knew the shape of %d documents only", fitting)
	}
}

func mutate(random *rand.Rand, lines []string, documents [][]string) []string {
	i := random.IntN(len(lines))
	line := lines[i]
	at := random.IntN(len(line) + 1)
	switch random.IntN(8) {
	case 0:
		lines[i] = "# gone"
	case 1:
		other := documents[random.IntN(len(documents))]
		return slices.Insert(lines, i, other[random.IntN(len(other))])
	case 2:
		lines[i] = " " + line
	case 3:
		lines[i] = strings.TrimPrefix(line, " ")
	case 4:
		lines[i] = strings.Repeat("  ", random.IntN(6)) + strings.TrimLeft(line, " ")
	case 5:
		const signs = " -:#'\"|>[]{},&*!%@`\\\t.0~e\n"
		lines[i] = line[:at] + string(signs[random.IntN(len(signs))]) + line[at:]
	case 6:
		lines[i] = line[:at] + line[min(at+1, len(line)):]
	case 7:
		key, _, _ := strings.Cut(line, ":")
		lines[i] = key + ": " + quickValues[random.IntN(len(quickValues))]
	}
	return lines
}

var quickValues = strings.Split("1|-|true|1.5|1.2.3|~|no|\"a\\nb\"|'c'|[d, e]|{f: g}|[]|*h|&i j|!k l|0x1|012|1e5|2026-01-02|a b|a: b|a #b|a#b|$(A).b|-x|--y|/z|:80|"+
	"99999999999999999999|-0|.5|+1|\u00e9|<<|=|?|@|%|`", "|")
