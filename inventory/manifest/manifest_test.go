package manifest

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stsguard/stsguard/inventory"
)

// service and statefulSet are the smallest that count.
func service(name string) string {
	return "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + "\n"
}

func statefulSet(name string) string {
	return "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: " + name + "\n"
}

func readText(t *testing.T, text string) *Set {
	t.Helper()
	return readPaths(t.Context(), []string{"-"}, Options{Stdin: strings.NewReader(text)})
}

// readPaths reads all that the paths lead to as one world.
func readPaths(ctx context.Context, paths []string, opts Options) *Set {
	found := Find(ctx, paths, opts)
	s := Read(ctx, found.Files, opts)
	s.Errors = append(found.Errors, s.Errors...)
	return s
}

func errorTexts(s *Set) []string {
	var out []string
	for _, e := range s.Errors {
		out = append(out, e.Error())
	}
	return out
}

func check(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func list(s ...string) []string { return s }

func TestRead(t *testing.T) {
	a, b := "Service default/a", "Service default/b"
	for _, tt := range []struct {
		name, text   string
		want, errors []string
		documents    int
	}{
		{"two", service("a") + "---\n" + service("b"), list(a, b), nil, 2},
		{"comment behind a separator", service("a") + "--- # b\n" + service("b"), list(a, b), nil, 2},
		{"comment behind the first separator", "--- # a\n" + service("a"), list(a), nil, 1},
		{"blanks behind a separator", service("a") + "--- \t\n" + service("b"), list(a, b), nil, 2},
		{"text behind a separator", service("a") + "---  é\n" + service("b") + "---\n" + statefulSet("c"),
			list(a, b, "StatefulSet default/c"), list("stdin:5:6: only a comment may follow the document separator --- on its line"), 3},
		{"a certificate at the root column", service("a") + "x: |\n-----BEGIN", list(a),
			list("stdin:6:4: only a comment may follow the document separator --- on its line"), 1},
		{"separator in a block scalar", "kind: ConfigMap\ndata:\n  x: |\n    a\n    ---\n    kind: Service\n---\n" + service("a"), list(a), nil, 2},
		{"end marker", service("a") + "...\n---\n" + service("b"), list(a, b), nil, 2},
		{"content behind an end marker", service("a") + "...\n# c\n" + service("b"), list(a),
			list("stdin:7:1: the document ends before this line, and kubectl ignores the rest (indent it alike, or put --- before it)"), 1},
		{"content behind the end of another kind", "kind: ConfigMap\n...\n" + service("b"), nil,
			list("stdin:3:1: the document ends before this line, and kubectl ignores the rest (indent it alike, or put --- before it)"), 1},
		{"content behind flow style", "{apiVersion: v1, kind: Service, metadata: {name: a}}\nfoo: bar\n", list(a),
			list("stdin:2:1: the document ends before this line, and kubectl ignores the rest (indent it alike, or put --- before it)"), 1},
		{"content behind quotes", "\"a\"\nkind: Service\n", nil,
			list("stdin:2:1: the document ends before this line, and kubectl ignores the rest (indent it alike, or put --- before it)"), 1},
		{"first lines indented", "  apiVersion: v1\n  kind: Service\n  metadata: {name: a}\nspec: {}\n", list(a),
			list("stdin:4:1: the document ends before this line, and kubectl ignores the rest (indent it alike, or put --- before it)"), 1},
		{"all lines indented", "  apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n", list(a), nil, 1},
		{"lone carriage returns", strings.ReplaceAll(service("a")+"---\n"+service("b"), "\n", "\r"), list(a),
			list("stdin:6:1: the document ends before this line, and kubectl ignores the rest (indent it alike, or put --- before it)"), 1},
		{"directive", "%YAML 1.1\n---\n" + service("a"), list(a), list("stdin:2:1: not valid YAML: did not find expected <document start>"), 2},
		{"empty documents", "---\n\n---\n# c\n---\n" + service("a") + "---\n", list(a), nil, 1},
		{"nothing", "", nil, nil, 0},
		{"no object", "foo\n---\n- a\n---\nnull\n---\n12\n", nil, nil, 4},
		{"CRLF", strings.ReplaceAll(service("a")+"---\n"+service("b"), "\n", "\r\n"), list(a, b), nil, 2},
		{"byte order mark", "\ufeff" + service("a"), list(a), nil, 1},
		{"byte order mark before JSON", "\ufeff" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`, list(a), nil, 1},
		{"UTF-16 little endian", utf16Text(service("a")+"---\n"+service("b"), false), list(a, b), nil, 2},
		{"UTF-16 big endian", utf16Text(service("a")+"---\n"+service("b"), true), list(a, b), nil, 2},
		{"odd UTF-16", "\xff\xfea", nil, list("stdin:1:1: incomplete UTF-16 text"), 0},
		{"tab", "apiVersion: v1\nkind: Service\nmetadata:\n\tname: a\n", nil, list("stdin:4:1: not valid YAML: a tab can't indent, use spaces"), 1},
		{"syntax, then another document", service("a") + "---\n" + service("x") + "spec: a: b\n---\n" + service("b"), list(a, b),
			list("stdin:10:8: not valid YAML: mapping values are not allowed in this context"), 3},
		{"template", "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Release.Name }}-x\n", nil,
			list("stdin:4:28: not valid YAML: did not find expected key (if this is a template, render it first)"), 1},
		{"duplicate key", "apiVersion: v1\nkind: Service\nmetadata:\n  name: b\n  labels:\n    a.b/c: x\n    a.b/c: z\n  name: a\n", list(a), list(
			"stdin:7:5: metadata.labels[a.b/c]: the key is given twice, the last one counts",
			"stdin:8:3: metadata.name: the key is given twice, the last one counts"), 1},
		{"duplicate key in JSON", `{"apiVersion":"v1","kind":"Service",` + "\n\t" + `"metadata":{"name":"b"}, "metadata":{"name":"a"}}`, list(a),
			list("stdin:2:27: metadata: the key is given twice, the last one counts"), 1},
		{"duplicate kind", "kind: ConfigMap\n" + service("a"), list(a), list("stdin:3:1: kind: the key is given twice, the last one counts"), 1},
		{"merge key, overridden", "x: &x {name: b}\napiVersion: v1\nkind: Service\nmetadata:\n  <<: *x\n  name: a\n", list(a), nil, 1},
		{"all merged", "x: &x {apiVersion: v1, kind: Service, metadata: {name: a}}\n<<: *x\n", list(a), nil, 1},
		{"aliased kind", "x: &x Service\nkind: *x\napiVersion: v1\nmetadata: {name: a}\n", list(a), nil, 1},
		{"quoted, explicit and tagged", "\"apiVersion\": 'v1'\n? kind\n: !!str Service\nmetadata: {name: a}\n", list(a), nil, 1},
		{"JSON", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}`, list(a, b), nil, 2},
		{"JSON, then YAML", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n---\n" + service("b"), list(a, b), nil, 2},
		{"JSON twice, then YAML", `{"a":1}{"a":2}` + "\n---\n" + service("b"), nil,
			list("stdin:2:2: not valid JSON, as which the file begins: invalid character '-' in numeric literal"), 2},
		{"JSON, then text", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\nfoo", list(a),
			list("stdin:2:2: not valid JSON, as which the file begins: invalid character 'o' in literal false (expecting 'a')"), 1},
		{"flow style", "{apiVersion: v1, kind: Service, metadata: {name: a}}", list(a), nil, 1},
		{"JSON with a comma too many", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},}`, list(a), nil, 1},
		{"broken JSON", `{"kind":"Service"` + "\n" + `"metadata":{}}`, nil, list("stdin:2:1: not valid YAML: did not find expected ',' or '}'"), 1},
		{"JSON with comments", "{\n // c\n \"a\": [1]\n}", nil, nil, 1},
		{"List", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n- apiVersion: v1\n  kind: List\n  items:\n  - {apiVersion: v1, kind: Service, metadata: {name: b}}\n", list(a, b), nil, 1},
		{"ServiceList", "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n- kind: Service\n  metadata: {name: b}\n", list(a, b), nil, 1},
		{"StatefulSetList", "apiVersion: apps/v1\nkind: StatefulSetList\nitems:\n- metadata: {name: a}\n", list("StatefulSet default/a"), nil, 1},
		{"List of other things", "apiVersion: v1\nkind: List\nitems: [a, null, {kind: ConfigMap}, {kind: Service}]\n", nil, list("stdin:3:38: apiVersion is missing"), 1},
		{"items that are none", "apiVersion: v1\nkind: List\nitems: {a: b}\n---\nkind: AllowList\nitems: {a: b}\n", nil, list("stdin:3:1: items: must be a list, not a mapping"), 2},
		{"Lists without end", strings.Repeat(`{"kind":"List","items":[`, 50) + strings.Repeat("]}", 50), nil, list("stdin:1:386: lists stand more than 16 deep in each other"), 1},
		{"older versions", strings.ReplaceAll(statefulSet("a"), "apps/v1", "apps/v1beta1") + "---\n" + strings.ReplaceAll(statefulSet("b"), "apps/v1", "apps/v1beta2"),
			list("StatefulSet default/a", "StatefulSet default/b"), nil, 2},
		{"namesakes", "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: apps.kruise.io/v1beta1\nkind: StatefulSet\nmetadata: {name: a}\n", nil, nil, 2},
		{"version without the kind", "apiVersion: v1\nkind: StatefulSet\nmetadata: {name: a}\n---\nkind: Service\napiVersion:  apps/v1\n", nil, list(
			"stdin:1:13: apiVersion: v1 has no StatefulSet, apps/v1 has",
			"stdin:6:14: apiVersion: apps/v1 has no Service, v1 has"), 2},
		{"no version", "kind: StatefulSet\nmetadata: {name: a}\n", nil, list("stdin:1:1: apiVersion is missing"), 1},
		{"version that is a number", "kind: Service\napiVersion: 1\n", nil, list("stdin:2:13: apiVersion: must be v1"), 1},
		{"no name", "# c\napiVersion: v1\nkind: Service\nmetadata:\n  labels: {a: b}\n---\nkind: Service\napiVersion: v1\n", nil, list(
			"stdin:4:1: metadata.name is missing", "stdin:7:1: metadata.name is missing"), 2},
		{"generated name", "apiVersion: v1\nkind: Service\nmetadata: {generateName: a}\n", list(a), nil, 1},
		{"namespace", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: ns}\n", list("Service ns/a"), nil, 1},
		{"keys in another case", "apiVersion: v1\nKind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {Name: a}\n", nil, list("stdin:7:1: metadata.name is missing"), 2},
		{"booleans", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {publishNotReadyAddresses: on}\n", list(a), nil, 1},
		{"types", `apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: a
  labels:
    app: 1
    on: y
  creationTimestamp: soon
spec:
  replicas: "3"
  serviceName: [a]
  ordinals: 7
  template:
    spec:
      containers:
      - name: x
        ports:
        - containerPort: 99999999999
        - containerPort: 1.5
        resources:
          limits: {cpu: lots}
        readinessProbe:
          httpGet:
            port: true
`, nil, list(
			"stdin:5:3: metadata.labels.true: must be a string, not a boolean (put it in quotes)",
			"stdin:6:10: metadata.labels.app: must be a string, not a number (put it in quotes)",
			`stdin:8:22: metadata.creationTimestamp: must be a time such as 2006-01-02T15:04:05Z, not "soon"`,
			"stdin:10:13: spec.replicas: must be an integer, not a string (take the quotes away)",
			"stdin:11:3: spec.serviceName: must be a string, not a list",
			"stdin:12:13: spec.ordinals: must be a mapping, not a number",
			"stdin:18:26: spec.template.spec.containers[0].ports[0].containerPort: must be an integer of 32 bits, not 99999999999",
			"stdin:19:26: spec.template.spec.containers[0].ports[1].containerPort: must be an integer, not 1.5",
			"stdin:21:25: spec.template.spec.containers[0].resources.limits.cpu: must be a quantity such as 500m or 10Gi, not \"lots\"",
			"stdin:24:19: spec.template.spec.containers[0].readinessProbe.httpGet.port: must be an integer or a string, not a boolean"), 1},
		{"type in a List", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: 7}\n", nil,
			list("stdin:6:20: items[0].metadata.name: must be a string, not a number (put it in quotes)"), 1},
		{"infinity", service("a") + "x: -.inf\n", nil, list("stdin:5:4: x: must be a finite number"), 1},
		{"null key", service("a") + "x:\n  ~: y\n", nil, list("stdin:6:3: x: a key must be a string (put it in quotes)"), 1},
		{"unknown alias", service("a") + "x: *y\n", nil, list("stdin:5:4: not valid YAML: unknown anchor 'y' referenced"), 1},
		{"broken, but of another kind", "kind: ConfigMap\nx: a: b\n", nil, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := readText(t, tt.text)
			check(t, "objects", names(s), tt.want)
			check(t, "errors", errorTexts(s), tt.errors)
			if s.Documents != tt.documents || s.Files != 1 {
				t.Errorf("%d documents in %d files, want %d in 1", s.Documents, s.Files, tt.documents)
			}
		})
	}
}

func utf16Text(text string, bigEndian bool) string {
	var out []byte
	for _, u := range append([]uint16{0xfeff}, utf16.Encode([]rune(text))...) {
		if bigEndian {
			out = append(out, byte(u>>8), byte(u))
		} else {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return string(out)
}

// TestValues makes sure that values are those that kubectl sends.
func TestValues(t *testing.T) {
	s := readText(t, `apiVersion: v1
kind: Service
metadata: {name: a, annotations: {stsguard.dev/ignore: x}}
spec:
  publishNotReadyAddresses: yes
  selector: {app: "on", tier: 'no'}
  ports: [{port: 0x50, targetPort: web}]
`)
	if len(s.Services) != 1 {
		t.Fatal(errorTexts(s))
	}
	got := s.Services[0]
	if !got.PublishNotReadyAddresses || got.Selector["app"] != "on" || got.Ports[0].Port != 80 || got.Ports[0].TargetPort != "web" || got.Annotations["stsguard.dev/ignore"] != "x" {
		t.Errorf("got %+v", got)
	}
	if found := s.Store.ServicesNamed("default", "a"); len(found) != 1 || found[0] != got {
		t.Errorf("the store has %v", found)
	}
	if v := s.APIVersion(got.Ref()); v != "v1" {
		t.Errorf("apiVersion is %q", v)
	}
	if v := s.APIVersion("Service/default/b"); v != "" {
		t.Errorf("apiVersion of an unknown object is %q", v)
	}
}

// TestHostile reads what was made to exhaust memory, stack or patience.
func TestHostile(t *testing.T) {
	bomb := "x0: &x0 [a, a]\n"
	for i := range 60 {
		bomb += fmt.Sprintf("x%d: &x%d [*x%d, *x%d]\n", i+1, i+1, i, i)
	}
	var chain strings.Builder
	chain.WriteString("x0: &x0 [a]\n")
	for i := range 100_000 {
		fmt.Fprintf(&chain, "x%d: &x%d [*x%d]\n", i+1, i+1, i)
	}
	var deep strings.Builder
	deep.WriteString("x0: &x0 a\n")
	for i := range 4 {
		fmt.Fprintf(&deep, "x%d: &x%d %s*x%d%s\n", i+1, i+1, strings.Repeat("[", 3000), i, strings.Repeat("]", 3000))
	}
	long := "x: &x " + strings.Repeat("a", 1<<20) + "\ny:\n" + strings.Repeat("- *x\n", 100_000)
	const excessive = "stdin:1:1: not valid YAML: document contains excessive aliasing"
	for _, tt := range []struct{ name, text, want string }{
		{"aliases of aliases", service("a") + bomb, excessive},
		{"a chain of aliases", service("a") + chain.String(), excessive},
		{"a long text, often", service("a") + long, "stdin:1:1: not valid YAML: aliases expand it to more than 16 MiB or 10000 levels"},
		{"an anchor in itself", service("a") + "x: &x [*x]\n", "stdin:1:1: not valid YAML: anchor 'x' value contains itself"},
		{"an anchor that merges itself", service("a") + "x: &x {<<: *x}\n", "stdin:1:1: not valid YAML: anchor 'x' value contains itself"},
		{"aliases, deep", service("a") + deep.String(), "stdin:1:1: not valid YAML: aliases expand it to more than 16 MiB or 10000 levels"},
		{"flow, deep", service("a") + "x: " + strings.Repeat("[", 100_000), "stdin:5:10004: not valid YAML: "},
		{"blocks, deep", service("a") + "x: \n" + strings.Repeat("- ", 100_000), "stdin:6:20001: not valid YAML: "},
		{"JSON, deep", `{"kind":"Service","x":` + strings.Repeat("[", 1_000_000), "stdin:1:"},
		{"indentation, deep", service("a") + staircase(3000), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			s := readText(t, tt.text)
			got := strings.Join(errorTexts(s), "\n")
			if !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func staircase(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "x:\n")
	}
	return b.String()
}

// tree makes files, directories (ending in a slash) and links ("->" and where).
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if to, ok := strings.CutPrefix(text, "->"); ok && err == nil {
			err = os.Symlink(to, p)
		} else if err == nil {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFind(t *testing.T) {
	root := tree(t, map[string]string{
		"b/x.yaml":               service("bx"),
		"b/x.txt":                service("text"),
		"b/c/x.yml":              service("bcx"),
		"a.json":                 `{"apiVersion":"v1","kind":"Service","metadata":{"name":"json"}}`,
		"b.yaml":                 service("b"),
		".hidden/x.yaml":         service("hidden"),
		"chart/Chart.yaml":       "name: x\n",
		"chart/templates/x.yaml": "{{ broken",
		"b/chart/Chart.yaml":     "name: x\n",
		"stdin":                  service("file"),
		"link.yaml":              "->b/x.yaml",
		"loop/loop":              "->..",
		"dead.yaml":              "->nowhere",
		".links/templates":       "->../chart/templates",
		".links/x.yaml":          "->../chart/templates/x.yaml",
		".links/x.tpl":           "->../chart/templates/x.yaml",
		"out":                    "->" + tree(t, map[string]string{"o.yaml": service("out")}),
	})
	dead := list("dead.yaml: no such file or directory")
	for _, tt := range []struct {
		name                  string
		paths, exclude        []string
		want, leftOut, errors []string
	}{
		{"nothing named", nil, nil, list("a.json", "b.yaml", "b/c/x.yml", "b/x.yaml", "out/o.yaml"), list("b/chart", "chart"), dead},
		{"everything twice", list(".", "./b", "b/x.yaml", root, filepath.Join(root, "b"), "link.yaml", "loop/loop"), nil,
			list("a.json", "b.yaml", "b/c/x.yml", "b/x.yaml", "out/o.yaml"), list("b/chart", "chart"), dead},
		{"a directory", list("b"), nil, list("b/c/x.yml", "b/x.yaml"), list("b/chart"), nil},
		{"any extension", list("b/x.txt"), nil, list("b/x.txt"), nil, nil},
		{"hidden", list(".hidden"), nil, list(".hidden/x.yaml"), nil, nil},
		{"hidden, with all else", list(".hidden", "b/c", "."), list("b.yaml", "*.json", "dead*", "out"), list(".hidden/x.yaml", "b/c/x.yml", "b/x.yaml"), list("b/chart", "chart"), nil},
		{"a chart", list("chart"), nil, nil, list("chart"), nil},
		{"links into a chart", list(".links"), list("x.yaml"), nil, nil, list(".links/templates: it is part of the Helm chart chart, of which only the whole can be rendered: name the chart's directory instead")},
		{"links into a chart that is rendered", list(".links", "chart"), nil, nil, list("chart"), nil},
		{"missing", list("none.yaml", "./none.yaml", "b.yaml"), nil, list("b.yaml"), nil, list("none.yaml: no such file or directory")},
		{"a link", list("link.yaml"), nil, list("link.yaml"), nil, nil},
		{"a file like standard input", list("stdin", "-"), nil, list("./stdin", "stdin"), nil, nil},
		{"exclude by name", nil, list("x.*", "chart", "dead.yaml", "out/"), list("a.json", "b.yaml", "link.yaml"), nil, nil},
		{"exclude by path", nil, list("b/**/x.y*", "./dead.yaml", "**/o.yaml", "**/chart"), list("a.json", "b.yaml", "link.yaml"), nil, nil},
		{"exclude wrongly", list("b.yaml"), list("["), list("b.yaml"), nil, list(`exclude "[": syntax error in pattern`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, reversed := range []bool{false, true} {
				paths := slices.Clone(tt.paths)
				if reversed {
					slices.Reverse(paths)
				}
				opts := Options{WorkDir: root, Exclude: tt.exclude, Stdin: strings.NewReader(service("stdin"))}
				found := Find(t.Context(), paths, opts)
				s := Read(t.Context(), found.Files, opts)
				s.Errors = append(found.Errors, s.Errors...)
				var files, leftOut []string
				for _, v := range s.Services {
					files = append(files, v.Place.File)
				}
				for _, c := range found.Charts {
					leftOut = append(leftOut, c.Path)
				}
				for _, l := range found.LeftOut {
					leftOut = append(leftOut, l.Path)
				}
				check(t, "files", files, tt.want)
				check(t, "left out", leftOut, tt.leftOut)
				check(t, "errors", errorTexts(s), tt.errors)
				if s.Files != len(files) {
					t.Errorf("%d files counted", s.Files)
				}
			}
		})
	}
}

func archive(t *testing.T, names ...string) string {
	t.Helper()
	var b strings.Builder
	zipped := gzip.NewWriter(&b)
	packed := tar.NewWriter(zipped)
	for _, name := range names {
		if err := packed.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(packed.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFindWhatIsRendered(t *testing.T) {
	root := tree(t, map[string]string{
		"web/Chart.yaml":               "name: web",
		"web/charts/db/Chart.yaml":     "name: db",
		"web/templates/x.yaml":         "{{ broken",
		"web/templates/y.yaml":         "{{ broken",
		"templates/x.yaml":             service("x"),
		"packed/web-1.0.0.tgz":         archive(t, "web/values.yaml", "web/Chart.yaml"),
		"packed/deep.tgz":              archive(t, "a/web/Chart.yaml"),
		"packed/broken.tgz":            "not packed at all",
		"over/base/kustomization.yaml": "",
		"over/base/x.yaml":             service("base"),
		"over/test/kustomization.yml":  "",
		"over/prod/Kustomization":      "",
		"over/prod/web/Chart.yaml":     "name: web",
	})
	inTemplates := func(path string) string {
		return path + ": it is part of the Helm chart web, of which only the whole can be rendered: name the chart's directory instead"
	}
	for _, tt := range []struct {
		name                                   string
		paths, exclude                         []string
		files, charts, kustomizations, problem []string
	}{
		{"everything", nil, nil, list("over/base/x.yaml", "templates/x.yaml"),
			list("over/prod/web", "packed/web-1.0.0.tgz", "web"), list("over/base", "over/prod", "over/test"), nil},
		{"excluded", nil, list("*.tgz", "web", "over/test", "Kustomization", "x.yaml"), nil, nil, list("over/base"), nil},
		{"by their own files", list("web/Chart.yaml", "over/test/kustomization.yml", "over/base/x.yaml"), nil,
			list("over/base/x.yaml"), list("web"), list("over/test"), nil},
		{"by both", list("web/Chart.yaml", "web", "over/base", "over/base/kustomization.yaml"), nil,
			list("over/base/x.yaml"), list("web"), list("over/base"), nil},
		{"a subchart", list("web/charts/db"), nil, nil, list("web/charts/db"), nil, nil},
		{"any archive that is named", list("packed/broken.tgz", "packed/web-1.0.0.tgz"), nil, nil, list("packed/broken.tgz", "packed/web-1.0.0.tgz"), nil, nil},
		{"templates", list("web/templates/x.yaml", "web/templates/y.yaml", "templates/x.yaml"), nil, list("templates/x.yaml"), nil, nil,
			list(inTemplates("web/templates/x.yaml"), inTemplates("web/templates/y.yaml"))},
		{"a folder of templates", list("web/templates"), nil, nil, nil, nil, list(inTemplates("web/templates"))},
		{"templates of a chart that is named", list("web/templates/x.yaml", "web"), nil, nil, list("web"), nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, reversed := range []bool{false, true} {
				if reversed {
					slices.Reverse(tt.paths)
				}
				found := Find(t.Context(), tt.paths, Options{WorkDir: root, Exclude: tt.exclude})
				var files, charts, kustomizations, problem []string
				for _, f := range found.Files {
					files = append(files, f.Path)
				}
				for _, c := range found.Charts {
					charts = append(charts, c.Path)
				}
				for _, k := range found.Kustomizations {
					kustomizations = append(kustomizations, k.Path)
				}
				for _, e := range found.Errors {
					problem = append(problem, e.Error())
				}
				check(t, "files", files, tt.files)
				check(t, "charts", charts, tt.charts)
				check(t, "kustomizations", kustomizations, tt.kustomizations)
				check(t, "errors", problem, tt.problem)
			}
		})
	}
}

// elsewhere is where all that is rendered comes from.
type elsewhere struct{}

func (elsewhere) Locate(at Location, pointer string) Location {
	return Location{File: "source of " + at.File + pointer, Line: at.Line + 100, Column: at.Column + 100}
}

func (elsewhere) Text(string) ([]byte, error) { return nil, nil }

func TestOrigin(t *testing.T) {
	text := service("web") + "---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: x}\n--- x\na: [\n"
	s := Read(t.Context(), []Source{{
		Path:   "out",
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
		Origin: elsewhere{},
	}}, Options{})
	check(t, "errors", errorTexts(s), list(
		"source of out:110:105: only a comment may follow the document separator --- on its line (in line 10 of what it renders to)",
		"source of out/spec/replicas:109:118: spec.replicas: must be an integer, not a string (in line 9 of what it renders to)",
	))
	if got, want := s.Locate(s.Services[0].Ref(), "/metadata/name"), (Location{File: "source of out/metadata/name", Line: 104, Column: 109}); got != want {
		t.Errorf("located at %v, want %v", got, want)
	}
	check(t, "refs", []string{string(s.Refs()[0])}, list(string(s.Services[0].Ref())))
}

func TestPaths(t *testing.T) {
	root := tree(t, map[string]string{"work/a.yaml": service("a"), "other/b/b.yaml": service("b")})
	work := filepath.Join(root, "work")
	s := readPaths(t.Context(), []string{"../other", filepath.Join(root, "other"), work, "-"}, Options{WorkDir: work, Stdin: strings.NewReader(service("c"))})
	var got []string
	for _, v := range s.Services {
		dir := strings.TrimPrefix(v.Place.Dir, filepath.ToSlash(root))
		got = append(got, fmt.Sprintf("%d %s in %q", v.Place.Index, v.Place.File, dir))
	}
	check(t, "places", got, list(`1 ../other/b/b.yaml in "/other/b"`, `2 a.yaml in "/work"`, `3 stdin in ""`))
}

func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	root := tree(t, map[string]string{"a.yaml": service("a"), "d/b.yaml": service("b")})
	for _, name := range list("a.yaml", "d") {
		if err := os.Chmod(filepath.Join(root, name), 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(filepath.Join(root, name), 0o755)
	}
	s := readPaths(t.Context(), nil, Options{WorkDir: root})
	check(t, "errors", errorTexts(s), list("a.yaml: open: permission denied", "d: open: permission denied"))
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := readPaths(ctx, []string{"-"}, Options{Stdin: strings.NewReader(service("a"))})
	check(t, "errors", errorTexts(s), list("reading was interrupted: context canceled"))
}

// TestOrder reads many files again and again: neither the order of arguments
// nor of goroutines shows.
func TestOrder(t *testing.T) {
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprintf("d%d/f%d.yaml", i%7, i)] = service(fmt.Sprint("s", i)) + "---\nkind: Service\nx: [\n---\n" + statefulSet(fmt.Sprint("t", i))
	}
	root := tree(t, files)
	paths := list("d0", "d1", "d2", "d3", "d4", "d5", "d6", "d0/f0.yaml", ".")
	var first *Set
	for range 10 {
		paths = append(paths[1:], paths[0])
		s := readPaths(t.Context(), paths, Options{WorkDir: root})
		if first == nil {
			first = s
		}
		if !reflect.DeepEqual(s.Services, first.Services) || !reflect.DeepEqual(s.StatefulSets, first.StatefulSets) || !reflect.DeepEqual(s.Errors, first.Errors) {
			t.Fatal("another order")
		}
	}
	if len(first.Errors) != 50 || len(first.Services) != 50 || first.Documents != 150 {
		t.Errorf("%d errors, %d services, %d documents", len(first.Errors), len(first.Services), first.Documents)
	}
}

func TestLocate(t *testing.T) {
	const text = `# first
kind: ConfigMap
---
# second
apiVersion: v1
kind: Service
metadata:
  name: "a"  # é
  labels: &labels
    app.kubernetes.io/name: web
    x~y: 'it''s'
spec:
  clusterIP:
  selector: *labels
  externalName: |
    text
  type: ClusterIP # c
  ports:
  - name: é
    port: 80
  - {port: 81, name: &n two}
  - <<: {name: merged}
    port: 82
`
	json := "\n\n{\"apiVersion\": \"v1\", \"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"é\\ud83d\\ude00\\\"\", \"x\": null}, \"spec\": {\"ports\": [{\"port\": 80}], \"clusterIP\": \"None\"}} {\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"b\"}}"
	for _, tt := range []struct {
		text    string
		object  int
		pointer string
		want    string // line:column-endColumn
	}{
		{text, 0, "", "5:1-11"},
		{text, 0, "/kind", "6:7-14"},
		{text, 0, "/metadata", "7:1-9"},
		{text, 0, "/metadata/name", "8:9-12"},
		{text, 0, "/metadata/namespace", "7:1-9"},
		{text, 0, "/metadata/labels", "9:3-9"},
		{text, 0, "/metadata/labels/app.kubernetes.io~1name", "10:29-32"},
		{text, 0, "/metadata/labels/x~0y", "11:10-17"},
		{text, 0, "/spec/clusterIP", "13:3-12"},
		{text, 0, "/spec/clusterIPs/0", "12:1-5"},
		{text, 0, "/spec/selector", "14:3-11"},
		{text, 0, "/spec/selector/app.kubernetes.io~1name", "10:29-32"},
		{text, 0, "/spec/externalName", "15:3-15"},
		{text, 0, "/spec/type", "17:9-18"},
		{text, 0, "/spec/ports", "18:3-8"},
		{text, 0, "/spec/ports/0", "19:5-9"},
		{text, 0, "/spec/ports/0/name", "19:11-12"},
		{text, 0, "/spec/ports/0/targetPort", "19:5-9"},
		{text, 0, "/spec/ports/1/name", "21:22-28"},
		{text, 0, "/spec/ports/2/name", "22:16-22"},
		{text, 0, "/spec/ports/7/name", "18:3-8"},
		{text, 0, "/status", "5:1-11"},
		{strings.ReplaceAll(text, "\n", "\r\n"), 0, "/spec/type", "17:9-18"},
		{strings.ReplaceAll(text, "\n", "\r\n"), 0, "/spec/ports/0/name", "19:11-12"},
		{"\ufeff" + text, 0, "/metadata/name", "8:9-12"},
		{json, 0, "", "3:2-14"},
		{json, 0, "/kind", "3:30-39"},
		{json, 0, "/metadata/name", "4:23-40"},
		{json, 0, "/metadata/x", "4:47-51"},
		{json, 0, "/spec/ports/0/port", "4:82-84"},
		{json, 0, "/spec/clusterIP", "4:101-107"},
		{json, 0, "/spec/type", "4:54-60"},
		{json, 1, "/kind", "4:139-148"},
		{"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n", 0, "", "4:3-13"},
		{"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n", 0, "/metadata/name", "6:20-21"},
		{"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n", 0, "/spec/clusterIP", "4:3-13"},
	} {
		s := readText(t, tt.text)
		if len(s.Services) <= tt.object {
			t.Fatal(errorTexts(s))
		}
		l := s.Locate(s.Services[tt.object].Ref(), tt.pointer)
		if l.File != "stdin" || l.EndLine != l.Line {
			t.Errorf("%s: %+v", tt.pointer, l)
		}
		if got := fmt.Sprintf("%d:%d-%d", l.Line, l.Column, l.EndColumn); got != tt.want {
			t.Errorf("%s is at %s, want %s", tt.pointer, got, tt.want)
		}
	}
	if l := (&Set{}).Locate(inventory.Ref("x"), ""); l != (Location{}) {
		t.Errorf("an unknown object is at %+v", l)
	}
}

func TestLocateInAFileThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(service("a") + "---\n" + service("b"))
	s := readPaths(t.Context(), []string{path}, Options{})
	first, second := s.Services[0].Ref(), s.Services[1].Ref()
	write(service("a") + "---\n" + "# " + service("b"))
	if l := s.Locate(first, "/metadata/name"); l.Line < 2 || l.EndColumn == l.Column {
		t.Errorf("what has not changed is at %+v", l)
	}
	if l := s.Locate(second, "/metadata/name"); l.File != path || l.Line == 0 || l.EndColumn != l.Column {
		t.Errorf("what has changed is at %+v", l)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.reopened.idle = nil
	if l := s.Locate(first, "/metadata/name"); l.File != path || l.Line == 0 {
		t.Errorf("what has gone is at %+v", l)
	}
}

func TestCompareIsTheOrderOfReading(t *testing.T) {
	s := readPaths(t.Context(), []string{"-"}, Options{Stdin: strings.NewReader(service("b") + "---\n" + statefulSet("c") + "---\n" + service("a"))})
	b, c, a := s.Services[0].Ref(), s.StatefulSets[0].Ref(), s.Services[1].Ref()
	for _, pair := range [][2]inventory.Ref{{b, c}, {c, a}, {b, a}} {
		if s.Compare(pair[0], pair[1]) >= 0 || s.Compare(pair[1], pair[0]) <= 0 || s.Compare(pair[0], pair[0]) != 0 {
			t.Errorf("%s was read before %s", pair[0], pair[1])
		}
	}
}
