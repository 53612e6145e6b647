package render

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/inventory/manifest"
)

// tree writes files, and returns their directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func check(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// render reads all worlds in the directory; the last of them is that of what is
// rendered, if there is only one.
func render(t *testing.T, ctx context.Context, root string, o Options) (last *manifest.Set, errs []string) {
	t.Helper()
	found := manifest.Find(ctx, nil, manifest.Options{WorkDir: root})
	for w := range Worlds(ctx, found, o) {
		for _, e := range w.Errors {
			errs = append(errs, e.Error())
		}
		if len(w.Sources) > 0 {
			last = manifest.Read(ctx, w.Sources, manifest.Options{})
			for _, e := range last.Errors {
				errs = append(errs, e.Error())
			}
		}
	}
	return last, errs
}

const chartYAML = "apiVersion: v2\nname: web\nversion: 1.0.0\n"

// located is the text at a place, with file, line and column before it.
func located(t *testing.T, root string, l manifest.Location) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, l.File))
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Error{File: l.File, Line: l.Line, Column: l.Column, Message: region(strings.Split(string(text), "\n"), l)}.Error()
}

func TestLines(t *testing.T) {
	const set = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: web\nspec:\n"
	for _, tt := range []struct {
		name      string
		templates map[string]string // set.yaml holds the StatefulSet
		pointer   string
		want      string
	}{
		{"as it stands", map[string]string{"set.yaml": set + "  serviceName: nginx\n"}, "/spec/serviceName", "templates/set.yaml:6:16: nginx"},
		{"below a comment and conditions", map[string]string{"set.yaml": "{{/* one\ntwo */}}\n{{- if true }}\n" + set + "  {{- with .Values }}\n  serviceName: nginx\n  {{- end }}\n{{- end }}\n"},
			"/spec/serviceName", "templates/set.yaml:10:16: nginx"},
		{"filled in", map[string]string{"set.yaml": set + "  serviceName: {{ .Release.Name }} # a comment\n"}, "/spec/serviceName", "templates/set.yaml:6:16: {{ .Release.Name }} # a comment"},
		{"in quotes", map[string]string{"set.yaml": set + "  serviceName: \"a-{{ .Release.Name }}\"\n"}, "/spec/serviceName", "templates/set.yaml:6:16: a-{{ .Release.Name }}"},
		{"filled in as a whole", map[string]string{"set.yaml": set + "{{ toYaml .Values.spec | indent 2 }}\n"}, "/spec/serviceName", "templates/set.yaml:6:1: {{ toYaml .Values.spec | indent 2 }}"},
		{"filled in behind its key", map[string]string{"set.yaml": "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: web}\nspec: {{- toYaml .Values.spec | nindent 2 }}\n"},
			"/spec/serviceName", "templates/set.yaml:4:1: spec: {{- toYaml .Values.spec | nindent 2 }}"},
		{"from a partial", map[string]string{"set.yaml": set + "  {{- include \"spec\" . | nindent 2 }}\n", "_spec.tpl": "{{ define \"spec\" }}\nserviceName: nginx\n{{- end }}"},
			"/spec/serviceName", "templates/_spec.tpl:2:14: nginx"},
		{"in a range", map[string]string{"set.yaml": "{{ range list \"a\" \"web\" }}\n---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: {{ . }}\nspec:\n  serviceName: nginx\n{{ end }}"},
			"/spec/serviceName", "templates/set.yaml:8:16: nginx"},
		{"on the line of the separator", map[string]string{"set.yaml": "# a comment\n---\n{{- with .Values }} # another\n---\n{{- end }}\n---\n{{- if true -}}\n" + set + "  serviceName: nginx\n{{- end }}\n"},
			"/spec/serviceName", "templates/set.yaml:13:16: nginx"},
		{"random", map[string]string{"set.yaml": set + "  serviceName: {{ randAlphaNum 20 }}\n  replicas: 1\n"}, "/spec/replicas", "templates/set.yaml:7:13: 1"},
		{"which hashes its own text", map[string]string{"set.yaml": set + "  serviceName: nginx\n  template: {metadata: {annotations: {sum: {{ include \"sum\" . | sha256sum }}}}}\n", "_sum.tpl": "{{ define \"sum\" }}a: b{{ end }}"},
			"/spec/serviceName", "templates/set.yaml:6:16: nginx"},
		{"which takes a partial apart", map[string]string{
			"set.yaml":  set + "{{- range $k, $v := include \"spec\" . | fromYaml }}\n  {{ $k }}: {{ $v }}\n{{- end }}\n{{- if eq (include \"spec\" .) \"serviceName: nginx\" }}\n  replicas: 2\n{{- end }}\n",
			"_spec.tpl": "{{ define \"spec\" -}}\nserviceName: nginx\n{{- end }}"},
			"/spec/replicas", "templates/set.yaml:10:13: 2"},
		{"whose marks can't be told", map[string]string{"set.yaml": set + "  serviceName: nginx\n{{ if ne (len (include \"all\" .)) 4 }}\n  a: b\n{{ end }}\n", "_all.tpl": "{{ define \"all\" }}{{ tpl (.Files.Get \"x\") . }}a: b{{ end }}"},
			"/spec/serviceName", "templates/set.yaml:6:16: nginx"},
		{"changed by its rendering", map[string]string{"set.yaml": "{{ $_ := set .Values \"n\" (add 1 (default 0 .Values.n)) }}" + set + "  replicas: {{ .Values.n }}\n"},
			"/spec/replicas", "templates/set.yaml:6:13: {{ .Values.n }}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"Chart.yaml": chartYAML, "values.yaml": "spec: {serviceName: nginx}\n"}
			for name, text := range tt.templates {
				files["templates/"+name] = text
			}
			root := tree(t, files)
			s, errs := render(t, t.Context(), root, Options{})
			check(t, "errors", errs, nil)
			for _, set := range s.StatefulSets {
				if set.Name == "web" {
					if got := located(t, root, s.Locate(set.Ref(), tt.pointer)); got != tt.want {
						t.Errorf("located at %s, want %s", got, tt.want)
					}
				}
			}
		})
	}
}

// A subchart stands in a folder of its own name, of another, or in an archive,
// and may go by an alias.
func TestSubcharts(t *testing.T) {
	service := "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Chart.Name }}\n"
	root := tree(t, map[string]string{
		"Chart.yaml": chartYAML + `dependencies:
- {name: db, version: 1.x.x, alias: first, import-values: [{child: exported, parent: imported}]}
- {name: db, version: 1.x.x, alias: second}
- {name: off, version: 1.x.x, tags: [extras]}
`,
		"values.yaml":                           "tags: {extras: false}\n",
		"templates/service.yaml":                service + "  annotations: {stsguard.dev/imported: {{ .Values.imported.name }}}\n",
		"charts/database/Chart.yaml":            "apiVersion: v2\nname: db\nversion: 1.1.0\n",
		"charts/database/values.yaml":           "exported: {name: it-is}\n",
		"charts/database/templates/x/a.yaml":    service,
		"charts/off/Chart.yaml":                 "apiVersion: v2\nname: off\nversion: 1.1.0\n",
		"charts/off/templates/a.yaml":           service,
		"charts/unlisted/Chart.yaml":            "apiVersion: v2\nname: unlisted\nversion: 1.1.0\n",
		"charts/unlisted/templates/_x.yaml":     service,
		"charts/unlisted/templates/NOTES.txt":   service,
		"charts/unlisted/templates/tests/a.yml": service,
	})
	s, errs := render(t, t.Context(), root, Options{})
	check(t, "errors", errs, nil)
	var got []string
	for _, v := range s.Services {
		l := s.Locate(v.Ref(), "/metadata/name")
		got = append(got, v.Name+" "+manifest.Error{File: l.File, Line: l.Line, Column: l.Column}.Error())
	}
	check(t, "Services", got, []string{
		"first charts/database/templates/x/a.yaml:4:9: ",
		"second charts/database/templates/x/a.yaml:4:9: ",
		"unlisted charts/unlisted/templates/tests/a.yml:4:9: ",
		"web templates/service.yaml:4:9: ",
	})
	if got := s.Services[3].Annotations["stsguard.dev/imported"]; got != "it-is" {
		t.Errorf("imported value %q", got)
	}
}

func TestChartErrors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"fail", map[string]string{"templates/a.yaml": "a: {{ fail \"say\\nwhy\" }}"}, "templates/a.yaml:1:7: can't be rendered: say; why"},
		{"a partial's line", map[string]string{"templates/a.yaml": "a: {{ include \"b\" . }}", "templates/_b.tpl": "{{ define \"b\" }}\n{{ .Values.x.y }}{{ end }}"},
			"templates/_b.tpl:2:11: can't be rendered: nil pointer evaluating interface {}.y"},
		{"endless", map[string]string{"templates/a.yaml": `{{ define "r" }}{{ include "r" . }}{{ end }}{{ include "r" . }}`},
			"templates/a.yaml:1:20: can't be rendered: error calling include: rendering template has a nested reference name: r: unable to execute template"},
		{"no template", map[string]string{"templates/a.yaml": `{{ include "r" . }}`},
			`templates/a.yaml:1:4: can't be rendered: error calling include: template: no template "r" associated with template "gotpl"`},
		{"no YAML", map[string]string{"Chart.yaml": "{"}, "Chart.yaml: can't be rendered: cannot load Chart.yaml: error converting YAML to JSON: yaml: line 1: did not find expected node content"},
		{"a remote schema", map[string]string{"values.schema.json": `{"allOf": [{"$ref": "https://example.invalid/schema.json"}]}`}, ""},
		{"a schema that is remote by its id", map[string]string{"values.schema.json": `{"$id": "https://example.invalid/a.json", "$ref": "b.json"}`}, ""},
		{"a schema that isn't met", map[string]string{"values.schema.json": `{"$schema": "https://json-schema.org/draft/2020-12/schema", "required": ["a"]}`},
			"Chart.yaml: can't be rendered: values don't meet the specifications of the schema(s) in the following chart(s): web: - at '': missing property 'a'"},
		{"the network", map[string]string{"templates/a.yaml": `{{ if getHostByName "localhost" }}{{ fail "asked" }}{{ end }}`}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"Chart.yaml": chartYAML}
			for name, text := range tt.files {
				files[name] = text
			}
			_, errs := render(t, t.Context(), tree(t, files), Options{})
			if got := strings.Join(errs, "\n"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Whatever does not end is not waited for.
func TestInterrupted(t *testing.T) {
	root := tree(t, map[string]string{"Chart.yaml": chartYAML, "templates/a.yaml": "{{ range until 3000000 }}{{ end }}"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found := manifest.Find(ctx, nil, manifest.Options{WorkDir: root})
	var errs []string
	for w := range Worlds(ctx, found, Options{}) {
		for _, e := range w.Errors {
			errs = append(errs, e.Error())
		}
		cancel() // before the chart is rendered
	}
	check(t, "errors", errs, nil)
	if w := renderChart(ctx, found.Charts[0], Options{}); len(w.Errors) != 1 || !strings.Contains(w.Errors[0].Message, "interrupted") {
		t.Errorf("errors %v", w.Errors)
	}
}

func TestValues(t *testing.T) {
	root := tree(t, map[string]string{"a.yaml": "a: {b: 1, c: 2}\nlist: [1, 2]\n", "b.yaml": "a: {b: 3}\n", "c.yaml": "- 1\n"})
	file := func(name string) string { return filepath.Join(root, name) }
	got, err := Values([]string{file("a.yaml"), file("b.yaml")}, []string{"a.c=4,list[0]=x", "n=null"})
	if err != nil {
		t.Fatal(err)
	}
	a, list := got["a"].(map[string]any), got["list"].([]any)
	if a["b"] != 3.0 || a["c"] != int64(4) || list[0] != "x" || list[1] != 2.0 || got["n"] != nil {
		t.Errorf("got %v", got)
	}
	if _, err := Values([]string{file("c.yaml")}, nil); err == nil || !strings.Contains(err.Error(), "c.yaml") {
		t.Errorf("got error %v", err)
	}
}

func TestKustomization(t *testing.T) {
	const base = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  type: ClusterIP\n  selector: {app: web}\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string // where the type is
	}{
		{"as it stands", map[string]string{"kustomization.yaml": "resources: [s.yaml]", "s.yaml": base}, "s.yaml:6:9: ClusterIP"},
		{"asked for its origin already", map[string]string{"kustomization.yaml": "resources: [s.yaml]\nbuildMetadata: [originAnnotations]", "s.yaml": base}, "s.yaml:6:9: ClusterIP"},
		{"renamed and moved", map[string]string{"kustomization.yaml": "resources: [s.yaml]\nnamePrefix: a-\nnameSuffix: -z\nnamespace: shop", "s.yaml": "kind: List\napiVersion: v1\nitems: []\n---\n# x\n" + base},
			"s.yaml:11:9: ClusterIP"},
		{"in a patch", map[string]string{"kustomization.yaml": "resources: [s.yaml]\npatches: [{path: p.yaml}]", "s.yaml": base, "p.yaml": strings.ReplaceAll(base, "ClusterIP", "NodePort")}, "p.yaml:6:9: NodePort"},
		{"in an inline patch", map[string]string{"kustomization.yaml": "resources: [s.yaml]\npatches:\n- target: {kind: Service}\n  patch: |\n    - {op: replace, path: /spec/type, value: NodePort}", "s.yaml": base}, "s.yaml:1:1: apiVersion"},
		{"from a base", map[string]string{"over/kustomization.yaml": "resources: [../base]", "base/kustomization.yml": "resources: [s.yaml]", "base/s.yaml": base}, "base/s.yaml:6:9: ClusterIP"},
		{"with fields of old", map[string]string{"over/kustomization.yaml": "bases: [../base]\npatchesStrategicMerge: [p.yaml]\ncommonLabels: {a: b}", "base/kustomization.yml": "resources: [s.yaml]", "base/s.yaml": base,
			"over/p.yaml": strings.ReplaceAll(base, "ClusterIP", "NodePort")}, "over/p.yaml:6:9: NodePort"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := tree(t, tt.files)
			s, errs := render(t, t.Context(), root, Options{})
			check(t, "errors", errs, nil)
			if s == nil || len(s.Services) != 1 {
				t.Fatal("there isn't one Service")
			}
			if got := located(t, root, s.Locate(s.Services[0].Ref(), "/spec/type")); got != tt.want {
				t.Errorf("located at %s, want %s", got, tt.want)
			}
		})
	}
}

// Nothing that kustomize would fetch or run gets to it.
func TestNothingIsFetched(t *testing.T) {
	const plugin = "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\npath: https://example.invalid/p.yaml\n"
	for _, text := range []string{
		"resources: [https://example.invalid/a.yaml]",
		"resources: ['HTTPS://example.invalid/a.yaml']",
		"resources: [github.com/stsguard/example]",
		"resources: ['git@example.invalid:a/b.git']",
		"resources: ['ssh://git@example.invalid/a/b']",
		"resources: ['file:///tmp//a']",
		"bases: ['git::https://example.invalid/a/b']",
		"components: ['https://example.invalid/a/b']",
		"crds: [https://example.invalid/a.yaml]",
		"configurations: [https://example.invalid/a.yaml]",
		"openapi: {path: https://example.invalid/a.yaml}",
		"patches: [{path: https://example.invalid/a.yaml}]",
		"patchesStrategicMerge: [https://example.invalid/a.yaml]",
		"patchesJson6902: [{path: https://example.invalid/a.yaml, target: {version: v1, kind: Service, name: x}}]",
		"replacements: [{path: https://example.invalid/a.yaml}]",
		"configMapGenerator: [{name: x, files: ['a=https://example.invalid/a.yaml']}]",
		"secretGenerator: [{name: x, envs: ['https://example.invalid/a.yaml']}]",
		"generators: [https://example.invalid/a.yaml]",
		"validators: [https://example.invalid/a.yaml]",
		"transformers: [plugin.yaml]",
		"transformers: [" + "\"" + strings.ReplaceAll(plugin, "\n", `\n`) + "\"]",
		"helmCharts: [{name: x}]",
		"configurations: &c [https://example.invalid/a.yaml]\nresources: *c",
		"Resources: [https://example.invalid/a.yaml]",
		"transformers: [plugins]",
	} {
		found := manifest.Find(t.Context(), nil, manifest.Options{WorkDir: tree(t, map[string]string{"kustomization.yaml": text, "plugin.yaml": plugin,
			"plugins/kustomization.yaml": "resources: [plugin.yaml]", "plugins/plugin.yaml": plugin, "github.com/stsguard/example/kustomization.yaml": ""})})
		all := planKustomizations(found.Kustomizations)
		for _, k := range all.roots {
			var problems []manifest.Error
			for _, part := range k.parts {
				problems = append(problems, part.problems...)
			}
			if k.Path == "." && (len(problems) == 0 || problems[0].Line != 1) {
				t.Errorf("%s: problems %v", text, problems)
			}
		}
	}
}

// What several worlds are made from can be shown as it is written.
func TestText(t *testing.T) {
	root := tree(t, map[string]string{
		"web/Chart.yaml":             chartYAML,
		"web/templates/a.yaml":       "a: {{ .Release.Name }}\n",
		"kustom/kustomization.yaml":  "resources: [a.yaml]\n",
		"kustom/a.yaml":              "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n",
		"web/templates/_partial.tpl": "{{ define \"x\" }}{{ end }}",
	})
	found := manifest.Find(t.Context(), nil, manifest.Options{WorkDir: root})
	for w := range Worlds(t.Context(), found, Options{}) {
		for _, s := range w.Sources {
			for _, name := range []string{s.Path, "web/templates/_partial.tpl", "nowhere.yaml"} {
				want, _ := os.ReadFile(filepath.Join(root, name))
				got, err := s.Origin.Text(name)
				other := strings.Split(name, "/")[0] != strings.Split(s.Path, "/")[0]
				if string(got) != string(want) && !other || (err != nil) != other {
					t.Errorf("%s of %s: %q, %v", name, s.Path, got, err)
				}
			}
		}
	}
}
