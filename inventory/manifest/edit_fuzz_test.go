package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	kubectl "k8s.io/apimachinery/pkg/util/yaml"
)

// FuzzEdit holds edits against kubectl's own reader: whatever the text, an edit
// is refused, or changes one field to the eyes of kubectl and at most one line.
func FuzzEdit(f *testing.F) {
	addSeeds(f)
	for _, spec := range []string{
		"spec:\n  ports: []\n", "spec: {ports: []}\n", "spec:\n  clusterIP: \"\" # c\n", "spec:\n  clusterIP:\n",
		"spec: &a\n  clusterIP: *a\n", "spec:\n  selector: {app: 'x'}\n", "spec:\n  <<: {a: b}\n", "? spec\n: ports: []\n",
		"spec:\n  clusterIP: >\n    x\n", "spec: {\n  ports: []\n}\n", "\"spec\":\n  \"ports\": []\n",
	} {
		f.Add([]byte("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n" + spec))
	}
	f.Fuzz(checkEdit)
}

func checkEdit(t *testing.T, data []byte) {
	for _, field := range []Field{{"/spec/clusterIP", "None"}, {"/spec/serviceName", "on"}, {"/spec/selector/app", "1"}} {
		set := readPaths(context.Background(), []string{"-"}, Options{Stdin: bytes.NewReader(data)})
		for ref, o := range set.objects {
			if o.workload != nil {
				continue
			}
			files, refused := set.Edit([]Edit{{Object: ref, Fields: []Field{field}}})
			if refused[0] != nil && len(files) > 0 {
				t.Errorf("%s was refused, and done", field.Pointer)
			}
			for _, f := range files {
				checkEdited(t, f, o, field)
			}
		}
	}
}

func checkEdited(t *testing.T, f Edited, o *object, field Field) {
	was, is := bytes.TrimPrefix(f.Before, []byte("\ufeff")), bytes.TrimPrefix(f.After, []byte("\ufeff"))
	for len(was) > 0 && len(is) > 0 && was[0] == is[0] {
		was, is = was[1:], is[1:]
	}
	for len(was) > 0 && len(is) > 0 && was[len(was)-1] == is[len(is)-1] {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	if bytes.Count(was, []byte("\n")) > 0 || bytes.Count(is, []byte("\n")) > 1 {
		t.Errorf("%s replaces %q by %q", field.Pointer, was, is)
	}
	before, err1 := kubectlValues(f.Before)
	after, err2 := kubectlValues(f.After)
	if len(before) != len(after) || (err1 == nil) != (err2 == nil) {
		t.Errorf("%s: kubectl reads %d values, then %d (%v, %v)", field.Pointer, len(before), len(after), err1, err2)
		return
	}
	changed := 0
	for i := range before {
		if reflect.DeepEqual(before[i], after[i]) {
			continue
		}
		changed++
		if !assign(before[i], o.pointer+field.Pointer, field.Value) || !reflect.DeepEqual(before[i], after[i]) {
			t.Errorf("%s: kubectl reads %v", field.Pointer, after[i])
		}
	}
	// kubectl stops at the first error, which may come before the edit.
	if changed > 1 || changed == 0 && err1 == nil {
		t.Errorf("%s: kubectl reads %d other values", field.Pointer, changed)
	}
}

func kubectlValues(data []byte) (values []any, err error) {
	decoder := kubectl.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var ext runtime.RawExtension
		if err := decoder.Decode(&ext); err == io.EOF {
			return values, nil
		} else if err != nil {
			return values, err
		}
		var v any
		if err := json.Unmarshal(ext.Raw, &v); err != nil {
			return values, err
		}
		values = append(values, v)
	}
}

// TestRandomEdits edits documents made of lines that mean trouble next to each
// other.
func TestRandomEdits(t *testing.T) {
	words := []string{
		"spec:", "  ports: []", "  selector:", "    app: x", "  clusterIP: \"\"", "  clusterIP:", "  clusterIP: ~ # c", "spec: {ports: []}", "spec: {", "}", "ports: [],", "spec: &a",
		"  clusterIP: 'a''b'", "  clusterIP: a", "   b", "  clusterIP: |", "  clusterIP: >-", "    x", "  clusterIP: *a", "x: &a \"\"", "  <<: *a", "<<: {spec: {a: b}}", "  # c", "# c", "",
		"  ? ports", "  : []", "? spec", ": ports: []", "  clusterIP: !!str \"\"", "  !!str clusterIP: \"\"", "  \"clusterIP\": \"\"", "  'ports': []", "\"spec\":", "spec: # c", "  \tports: []",
		"...", "---", "--- # c", "  - a", "- a", "  clusterIP: \"a", "    b\"", "  selector: {app: \"ä\\\"\", b: c}", "  selector: {app: , b: c}", "  selector: {\"app\":1}", "  serviceName: x",
		"kind: StatefulSet", "apiVersion: apps/v1", "kind: Service", "apiVersion: v1", "metadata: {name: a}", "  clusterIP: \"\" \r", "  ports: []\r", "spec:\r", "x: y\u2028", "\ufeff# c", "{{ x }}",
	}
	random := rand.New(rand.NewPCG(3, 4))
	rounds := 5_000
	if testing.Short() {
		rounds = 2_000
	}
	for range rounds {
		var b strings.Builder
		for range 1 + random.IntN(3) {
			b.WriteString([]string{"---\n", "", "--- # c\n"}[random.IntN(3)])
			b.WriteString([]string{
				"apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\n",
				`{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[]}}` + "\n",
			}[random.IntN(3)])
			for range random.IntN(6) {
				b.WriteString(words[random.IntN(len(words))] + "\n")
			}
		}
		text := strings.TrimSuffix(b.String(), []string{"", "\n"}[random.IntN(2)])
		checkEdit(t, []byte(text))
		if t.Failed() {
			t.Fatalf("in:\n%s", text)
		}
	}
}
