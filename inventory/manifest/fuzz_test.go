package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubectl "k8s.io/apimachinery/pkg/util/yaml"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The oracle finds objects with kubectl's own reader, and nothing of this
// package but the table of API versions.

// oracleStream returns "Kind namespace/name" of each object in a file, as far
// as kubectl reads it.
func oracleStream(data []byte) (names []string, err error) {
	decoder := kubectl.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var ext runtime.RawExtension
		if err := decoder.Decode(&ext); err == io.EOF {
			return names, nil
		} else if err != nil {
			return names, err
		}
		names = append(names, oracleObject(ext.Raw, "", "", 0)...)
	}
}

func oracleObject(data []byte, apiVersion, kind string, depth int) []string {
	var object map[string]any
	if strictjson.UnmarshalCaseSensitivePreserveInts(data, &object) != nil || object == nil || depth > maxNesting {
		return nil
	}
	if own, _ := object["kind"].(string); own == "" {
		if object["kind"] != nil && object["kind"] != "" {
			return nil
		}
		object["kind"] = kind
		if v, _ := object["apiVersion"].(string); v == "" {
			object["apiVersion"] = apiVersion
		}
	} else {
		if v, _ := object["apiVersion"].(string); v == "" && own == kind {
			object["apiVersion"] = apiVersion
		}
		kind = own
	}
	apiVersion, _ = object["apiVersion"].(string)
	if item, ok := strings.CutSuffix(kind, "List"); ok {
		items, _ := object["items"].([]any)
		if item == "" {
			apiVersion = ""
		}
		var names []string
		for _, i := range items {
			data, _ := json.Marshal(i)
			names = append(names, oracleObject(data, apiVersion, item, depth+1)...)
		}
		return names
	}
	if !slices.Contains(apiVersions[kind], apiVersion) {
		return nil
	}
	data, _ = json.Marshal(object)
	var typed metav1.Object = &corev1.Service{}
	if kind == "StatefulSet" {
		typed = &appsv1.StatefulSet{}
	}
	if strictjson.UnmarshalCaseSensitivePreserveInts(data, typed) != nil {
		return nil
	}
	name := typed.GetName()
	if name == "" {
		name = typed.GetGenerateName()
	}
	if name == "" {
		return nil
	}
	return []string{kind + " " + typed.GetNamespace() + "/" + name}
}

func names(s *Set) []string {
	var out []string
	next := [2]int{}
	for range len(s.Services) + len(s.StatefulSets) {
		i, j := next[0], next[1]
		if j == len(s.StatefulSets) || i < len(s.Services) && s.Services[i].Place.Index < s.StatefulSets[j].Place.Index {
			out = append(out, "Service "+s.Services[i].Namespace+"/"+s.Services[i].Name)
			next[0]++
		} else {
			out = append(out, "StatefulSet "+s.StatefulSets[j].Namespace+"/"+s.StatefulSets[j].Name)
			next[1]++
		}
	}
	return out
}

func addSeeds(f *testing.F) {
	const service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n"
	const config = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: |\n    kind: Service\n    ---\n"
	for _, seed := range []string{
		service, config,
		service + "--- # c\n" + service,
		config + "---\n" + service,
		config + "...\n" + service,
		"--- # c\n" + service,
		"---#c\n" + service,
		"--- x\n" + service,
		"%YAML 1.1\n---\n" + service,
		"\ufeff" + service,
		config + "---\n\ufeff" + service,
		strings.ReplaceAll(service, "\n", "\r\n"),
		strings.ReplaceAll(config, "\n", "\r") + service,
		strings.ReplaceAll(service, "\n", "\u2028"),
		"a: b\u0085kind: Service\u0085apiVersion: v1\n",
		"  " + strings.ReplaceAll(service, "\n", "\n  ") + "\nx: y\n",
		"kind: ConfigMap\nkind: Service\napiVersion: v1\nmetadata: {name: a}\n",
		"kind: Config\n  Map\n", "kind: Foo\n\n  # c\n  BarList\nitems: []\n",
		"kind:\n  Service\napiVersion: v1\nmetadata: {name: a}\n",
		"kind: Service # c\napiVersion: v1\nmetadata: {name: a}\n",
		"kind : Service\napiVersion: v1\nmetadata: {name: a}\n",
		"\"kind\": Service\napiVersion: v1\nmetadata: {name: a}\n",
		"? kind\n: Service\napiVersion: v1\nmetadata: {name: a}\n",
		"!!str kind: Service\napiVersion: v1\nmetadata: {name: a}\n",
		"kind: !!binary U2VydmljZQ==\napiVersion: v1\nmetadata: {name: a}\n",
		"kind: \"Serv\\x69ce\"\napiVersion: v1\nmetadata: {name: a}\n",
		"kind: |-\n  Service\napiVersion: v1\nmetadata: {name: a}\n",
		"x: &a {kind: Service, apiVersion: v1, metadata: {name: a}}\n<<: *a\n",
		"x: &a Service\nkind: *a\napiVersion: v1\nmetadata: {name: a}\n",
		"{apiVersion: v1, kind: Service, metadata: {name: a}}\n",
		"{apiVersion: v1,\nkind: Service, metadata: {name: a}}\n",
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n---\n" + service,
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}` + "\n---\n" + service,
		`{"apiVersion":"v1","k\u0069nd":"Service","metadata":{"name":"a"},"x":1,"x":2}`,
		"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n",
		"apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n",
		"apiVersion: apps/v1\nkind: StatefulSetList\nitems:\n- metadata: {name: a}\n",
		"- kind: Service\n", "foo\n", "null\n", "~", "\t", "a:\tb\n\tkind: Service\n", "a: \"\nkind: Foo\n\"\nkind: Service\n",
		"a: 'x\nkind: Foo\n'\n", "a: [\nkind: Foo\n]\nkind: Service\napiVersion: v1\n",
		"kind: Deployment\nmetadata:\n  generateName: x-\n", "kind: Service\nmetadata:\n  labels: {a: 1}\n",
	} {
		f.Add([]byte(seed))
	}
}

// FuzzSkip holds the proof by which documents are skipped against a parse.
func FuzzSkip(f *testing.F) {
	addSeeds(f)
	f.Fuzz(checkSkip)
}

func checkSkip(t *testing.T, data []byte) {
	text, err := utf8Text(data)
	if err != nil {
		return
	}
	documents, _ := split(text)
	for _, d := range documents {
		l := look(d, hasExoticBreak(text))
		if !l.unwanted && !l.empty {
			continue
		}
		content := d.data
		if !d.json {
			if content, err = yaml.YAMLToJSON(d.data); err != nil {
				continue
			}
		}
		if found := oracleObject(content, "", "", 0); found != nil {
			t.Errorf("skipped %v in:\n%s", found, d.data)
		}
	}
}

// FuzzRead holds the whole reading against kubectl's.
func FuzzRead(f *testing.F) {
	addSeeds(f)
	f.Fuzz(checkRead)
}

func checkRead(t *testing.T, data []byte) {
	s := readPaths(context.Background(), []string{"-"}, Options{Stdin: bytes.NewReader(data), Namespace: "\x00"})
	got := names(s)
	for i := range got {
		got[i] = strings.Replace(got[i], "\x00", "", 1)
	}
	for _, o := range s.objects {
		for _, p := range []string{"", "/metadata/name", "/spec/clusterIP", "/spec/ports/0/name"} {
			if l := o.document.locate(o.pointer + p); l.Line < 1 || l.Column < 1 || l.EndColumn < 1 {
				t.Errorf("%s is located at %+v", p, l)
			}
		}
	}
	for _, e := range s.Errors {
		if e.Line < 1 || e.Column < 1 {
			t.Errorf("error without a place: %+v", e)
		}
	}
	want, err := oracleStream(data)
	rest := got
	for _, w := range want {
		i := slices.Index(rest, w)
		if i < 0 {
			if len(s.Errors) == 0 {
				t.Errorf("got %q, want %q (kubectl's error: %v)", got, want, err)
			}
			return
		}
		rest = rest[i+1:]
	}
	if err == nil && len(s.Errors) == 0 && len(got) != len(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestRandomLines holds both against documents made of lines that mean trouble
// next to each other, which a fuzzer seldom finds.
func TestRandomLines(t *testing.T) {
	words := []string{
		"apiVersion: v1", "metadata: {name: a}", "kind: Service", "kind: ConfigMap", "kind: StatefulSet", "apiVersion: apps/v1", "kind: ServiceList", "kind:",
		"  Service", "  name: b", "metadata:", "\"kind\": Service", "? kind", ": Service", "kind: 'Service'", "kind: |-", "kind: >", "kind: [", "kind: \"",
		"x: |", "x: >", "x: \"", "\"", "x: '", "'", "x: [", "]", "x: {", "}", "x: &a", "x: &a Service", "kind: *a", "<<: *a", "&b kind: Service", "!!str kind: Service",
		"- a", "- kind: Service", "-", "items:", "- {kind: Service, apiVersion: v1, metadata: {name: c}}", "  - metadata: {name: d}",
		"...", "---", "--- # c", "---#c", "# c", "  # c", "", " ", "\t", "  \t", "\tkind: Service", "kind:\tService", "kind: Service # c", "kind: Foo#c", "kind: Foo # c", "kind : Service",
		"%YAML 1.1", "\ufeffkind: Service", "x: y\u2028kind: Service", "x: y\u0085kind: Service", "x: y\rkind: Service", "kind: Con\r", "kind: Service\r", "kind: \"Serv\\", "  ice\"", "kind: !!binary U2VydmljZQ==",
		"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"e\"}}", "{", "\"kind\": \"Service\",",
	}
	random := rand.New(rand.NewPCG(1, 2))
	rounds := 20_000
	if testing.Short() {
		rounds = 2_000
	}
	for range rounds {
		var b strings.Builder
		indent := ""
		if random.IntN(5) == 0 {
			indent = "  "
		}
		for range 1 + random.IntN(9) {
			if random.IntN(20) > 0 {
				b.WriteString(indent)
			}
			// The first few make a Service; without them little would be found.
			n := len(words)
			if random.IntN(2) == 0 {
				n = 4
			}
			b.WriteString(words[random.IntN(n)] + "\n")
		}
		checkSkip(t, []byte(b.String()))
		checkRead(t, []byte(b.String()))
		if t.Failed() {
			t.Fatalf("in:\n%s", b.String())
		}
	}
}
