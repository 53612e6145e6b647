package manifest

import (
	"strings"
	"testing"

	"github.com/stsguard/stsguard/inventory"
)

func edit(t *testing.T, text string, edits ...func(*Set) Edit) (string, []error) {
	t.Helper()
	opts := Options{Stdin: strings.NewReader(text)}
	set := readPaths(t.Context(), []string{"-"}, opts)
	var all []Edit
	for _, e := range edits {
		all = append(all, e(set))
	}
	files, refused := set.Edit(all)
	switch len(files) {
	case 0:
		return text, refused
	case 1:
		if string(files[0].Before) != text {
			t.Errorf("the text before is %q", files[0].Before)
		}
		return string(files[0].After), refused
	}
	t.Fatalf("%d files", len(files))
	return "", nil
}

// on edits the first Service, or the first StatefulSet if there is none.
func on(fields ...Field) func(*Set) Edit {
	return func(s *Set) Edit {
		if len(s.Services) > 0 {
			return Edit{Object: s.Services[0].Ref(), Fields: fields}
		}
		return Edit{Object: s.StatefulSets[0].Ref(), Fields: fields}
	}
}

func none() func(*Set) Edit { return on(Field{"/spec/clusterIP", inventory.None}) }

const webService = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n"

// TestEdit shows that only what must change does, in every style. What is new
// in a line stands between « and »; a line that is new altogether begins with
// +, what goes away stands between ‹ and ›.
func TestEdit(t *testing.T) {
	for name, tc := range map[string]struct {
		edit   func(*Set) Edit
		marked string
	}{
		"a new field comes first":         {none(), webService + "spec:\n+  clusterIP: None\n  ports:\n  - port: 80\n"},
		"with the indent of the others":   {none(), webService + "spec:\n+      clusterIP: None\n      ports:\n      - port: 80\n"},
		"above a comment of theirs":       {none(), webService + "spec: # c\n+  clusterIP: None\n  # ports\n\n  ports:\n  - port: 80\n"},
		"line ends of Windows":            {none(), strings.ReplaceAll(webService+"spec:\n+  clusterIP: None\n  ports: []\n", "\n", "\r\n")},
		"a byte order mark":               {none(), "\ufeff" + webService + "spec:\n+  clusterIP: None\n  ports: []\n"},
		"no end of the last line":         {none(), webService + "spec:\n+  clusterIP: None\n  selector: {a: b}"},
		"a document between others":       {none(), "---\n# c\n" + "a: b\n--- # d\n" + webService + "spec:\n+  clusterIP: None\n  selector: {a: b}\n...\n---\nx:   y\n"},
		"a document that isn't at column": {none(), "  apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n  spec:\n+   clusterIP: None\n   ports: []\n"},
		"an item of a List":               {none(), "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n  spec:\n+    clusterIP: None\n    ports: []\n"},
		"braces":                          {none(), webService + "spec: {«clusterIP: None, »ports: [{port: 80}]} # c\n"},
		"braces with spaces":              {none(), webService + "spec: { «clusterIP: None, »ports: [] }\n"},
		"braces over lines":               {none(), webService + "spec: {\n+    clusterIP: None,\n    ports: []\n  }\n"},
		"quoted keys":                     {none(), webService + "\"spec\":\n+  \"clusterIP\": \"None\"\n  \"ports\": []\n"},
		"keys in single quotes":           {none(), webService + "'spec':\n+  'clusterIP': 'None'\n  'ports': []\n"},
		"JSON in one line":                {none(), `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {«"clusterIP": "None", »"ports": []}}`},
		"JSON without spaces":             {none(), `{"apiVersion":"v1","kind":"Service","metadata":{"name":"wöb"},"spec":{«"clusterIP":"None",»"ports":[]}}`},
		"JSON over lines": {none(), "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"web\"},\n\t\"spec\": {\n" +
			"+\t\t\"clusterIP\": \"None\",\n\t\t\"ports\": []\n\t}\n}\n"},
		"two values of JSON": {none(), `{"a": "b"}` + "\n" + `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {«"clusterIP": "None", »"ports": []}}` + "\n"},

		"an empty value":            {none(), webService + "spec:\n  clusterIP:« None» # c\n  ports: []\n"},
		"an empty value in braces":  {none(), webService + "spec: {clusterIP:« None» , ports: []}\n"},
		"an empty string":           {none(), webService + "spec:\n  clusterIP: ‹\"\"›«\"None\"»\t# c\n  ports: []\n"},
		"single quotes":             {none(), webService + "spec:\n  clusterIP: ‹''›«'None'»\n  ports: []\n"},
		"null":                      {none(), webService + "spec:\n  clusterIP: ‹null›«None»\n  ports: []\n"},
		"a tilde":                   {none(), webService + "spec:\n  clusterIP: ‹~›«None»  \n  ports: []\n"},
		"null in JSON":              {none(), `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"clusterIP":‹null›«"None"»,"ports":[]}}`},
		"a plain value":             {on(Field{"/spec/selector/app", "db"}), webService + "spec:\n  selector:\n    app: ‹web›«db» # web\n    b: web\n"},
		"quotes with escapes":       {on(Field{"/spec/selector/app", "db"}), webService + "spec:\n  selector: {app: ‹\"w\\\"\\u0065b\"›«\"db\"», b: c}\n"},
		"single quotes in quotes":   {on(Field{"/spec/selector/app", "db"}), webService + "spec:\n  selector: {app: ‹'w''b'›«'db'»}\n"},
		"a key with a slash":        {on(Field{"/spec/selector/a.b~1c", "db"}), webService + "spec:\n  selector:\n    a.b/c: ‹web›«db»\n"},
		"what YAML takes for a yes": {on(Field{"/spec/selector/app", "on"}), webService + "spec:\n  selector:\n    app: ‹web›«\"on\"»\n"},
		"what YAML takes for 1":     {on(Field{"/spec/selector/app", "1"}), webService + "spec:\n  selector:\n    app: ‹web›«\"1\"»\n"},
		"nothing":                   {on(Field{"/spec/selector/app", ""}), webService + "spec:\n  selector:\n    app: ‹web›«\"\"»\n"},
		"two fields at once": {on(Field{"/spec/clusterIP", "None"}, Field{"/spec/selector/app", "db"}),
			webService + "spec:\n+  clusterIP: None\n  selector:\n    app: ‹web›«db»\n"},
		"characters of several bytes before it": {on(Field{"/spec/selector/app", "db"}), webService + "spec:\n  selector: {ä: \"é😀\", app: ‹web›«db»}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			before, want := marks(tc.marked)
			got, refused := edit(t, before, tc.edit)
			if refused[0] != nil {
				t.Fatal(refused[0])
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			// What is so already is left as it is.
			if again, refused := edit(t, got, tc.edit); refused[0] != nil || again != got {
				t.Errorf("a second time: %v\n%s", refused[0], again)
			}
		})
	}
}

// marks takes a marked text apart into what was before and what is after.
func marks(text string) (before, after string) {
	var was, is strings.Builder
	for line := range strings.Lines(text) {
		if added, ok := strings.CutPrefix(line, "+"); ok {
			is.WriteString(added)
			continue
		}
		old, new := true, true
		for _, r := range line {
			switch r {
			case '«':
				old = false
			case '‹':
				new = false
			case '»', '›':
				old, new = true, true
			default:
				if old {
					was.WriteRune(r)
				}
				if new {
					is.WriteRune(r)
				}
			}
		}
	}
	return was.String(), is.String()
}

// TestEditRefused shows that what can't be edited safely stays as it is, and
// where and why.
func TestEditRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Set) Edit
		text string
		want string
	}{
		"an alias":          {none(), webService + "x: &n \"\"\nspec:\n  clusterIP: *n\n  ports: []\n", `stdin:7:14: the alias *n stands there; set spec.clusterIP to "None" by hand`},
		"below an anchor":   {none(), webService + "spec: &s\n  ports: []\n", `stdin:5:1: the anchor &s stands there, and others may use what is below it; set spec.clusterIP to "None" by hand`},
		"an anchored value": {none(), webService + "spec:\n  clusterIP: &ip \"\"\n", `stdin:6:14: the anchor &ip stands there, and others may use what is below it; set spec.clusterIP to "None" by hand`},
		"merged keys":       {none(), "x: &x {ports: []}\n" + webService + "spec:\n  <<: *x\n  type: ClusterIP\n", `stdin:6:1: keys are merged in there with <<; set spec.clusterIP to "None" by hand`},
		"a block of text":   {none(), webService + "spec:\n  clusterIP: |-\n  ports: []\n", `stdin:6:3: a block of text stands there; set spec.clusterIP to "None" by hand`},
		"a tag":             {none(), webService + "spec:\n  clusterIP: !!str \"\"\n", `stdin:6:14: the value has a tag or more than one line; set spec.clusterIP to "None" by hand`},
		"a value of two lines": {on(Field{"/spec/selector/app", "x"}), webService + "spec:\n  selector:\n    app: a\n      b\n",
			`stdin:7:10: the value has a tag or more than one line; set spec.selector.app to "x" by hand`},
		"a key given twice":    {none(), webService + "spec:\n  clusterIP: \"\"\n  clusterIP: \"\"\n", `stdin:6:14: the document has errors, which come first; set spec.clusterIP to "None" by hand`},
		"an explicit key":      {none(), webService + "? spec\n: ? ports\n  : []\n", `stdin:5:3: the mapping is not written below its key; set spec.clusterIP to "None" by hand`},
		"no spec":              {none(), webService, `stdin:1:1: spec is missing; set spec.clusterIP to "None" by hand`},
		"an empty spec":        {none(), webService + "spec: {}\n", `stdin:5:1: it stands in no mapping with other keys; set spec.clusterIP to "None" by hand`},
		"a mapping":            {on(Field{"/spec/selector", "x"}), webService + "spec:\n  selector: {a: b}\n", `stdin:6:3: a mapping or a list stands there; set spec.selector to "x" by hand`},
		"an exotic line break": {none(), webService + "spec:\n  selector: {a: \"b\u2028\"}\n", `stdin:5:1: the document has line breaks that only YAML knows; set spec.clusterIP to "None" by hand`},
		"UTF-16":               {none(), "\xfe\xff" + utf16BE(webService+"spec:\n  ports: []\n"), "stdin:1:1: this file is in UTF-16, which stsguard does not write: convert it to UTF-8"},
		"a document in a List": {before("db"), "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(webService, "\n", "\n  ") + "\n", `stdin:4:3: it stands in a List; put Service "db" before it by hand`},
		"a document in JSON":   {before("db"), `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"}}`, `stdin:1:2: it stands in JSON, which is not split into documents; put Service "db" before it by hand`},
		"one field of two":     {on(Field{"/spec/clusterIP", "None"}, Field{"/spec/a/b", "c"}), webService + "spec:\n  ports: []\n", `stdin:5:1: spec.a is missing; set spec.a.b to "c" by hand`},
		"an object that isn't": {func(*Set) Edit { return Edit{Object: "Service/a/b#9"} }, webService, "edit Service/a/b#9: there is no such object"},
	} {
		t.Run(name, func(t *testing.T) {
			got, refused := edit(t, tc.text, tc.edit)
			if refused[0] == nil || refused[0].Error() != tc.want {
				t.Errorf("got  %v\nwant %s", refused[0], tc.want)
			}
			if got != tc.text {
				t.Errorf("the text was changed:\n%s", got)
			}
		})
	}
}

func utf16BE(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteString(string([]byte{byte(r >> 8), byte(r)}))
	}
	return b.String()
}

// before puts a Service before the first object.
func before(name string) func(*Set) Edit {
	return func(s *Set) Edit {
		e := on()(s)
		e.Before = map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": name}}
		return e
	}
}

func TestEditPutsADocumentBefore(t *testing.T) {
	const db = "apiVersion: v1\nkind: Service\nmetadata:\n  name: db\n---\n"
	for name, tc := range map[string]struct{ text, want string }{
		"at the top":                   {webService, db + webService},
		"behind a separator":           {"---\n" + webService, "---\n" + db + webService},
		"behind another document":      {"a: b\n--- # c\n" + webService + "---\nx: y", "a: b\n--- # c\n" + db + webService + "---\nx: y"},
		"behind a licence":             {"# Licence.\n\n" + webService, "# Licence.\n\n" + db + webService},
		"before its comment":           {"# The web.\n" + webService, db + "# The web.\n" + webService},
		"behind a licence and before":  {"---\n# Licence.\n\n# The web.\n" + webService, "---\n# Licence.\n\n" + db + "# The web.\n" + webService},
		"with the line ends of others": {strings.ReplaceAll(webService, "\n", "\r\n"), strings.ReplaceAll(db+webService, "\n", "\r\n")},
		"behind a byte order mark":     {"\ufeff" + webService, "\ufeff" + db + webService},
	} {
		t.Run(name, func(t *testing.T) {
			got, refused := edit(t, tc.text, before("db"))
			if refused[0] != nil || got != tc.want {
				t.Errorf("%v\ngot\n%q\nwant\n%q", refused[0], got, tc.want)
			}
		})
	}
	got, refused := edit(t, "---\n"+webService+"spec:\n  ports: []\n", none(), before("db"), before("cache"))
	want := "---\n" + db + strings.Replace(db, "db", "cache", 1) + webService + "spec:\n  clusterIP: None\n  ports: []\n"
	if refused[0] != nil || refused[1] != nil || refused[2] != nil || got != want {
		t.Errorf("several edits: %v\ngot\n%s\nwant\n%s", refused, got, want)
	}
}

// TestEditSeveralDocuments shows that a refused edit holds no other one up.
func TestEditSeveralDocuments(t *testing.T) {
	text := webService + "spec: &s\n  ports: []\n---\n" + webService + "spec:\n  ports: []\n"
	all := func(i int) func(*Set) Edit {
		return func(s *Set) Edit {
			return Edit{Object: s.Services[i].Ref(), Fields: []Field{{"/spec/clusterIP", "None"}}}
		}
	}
	got, refused := edit(t, text, all(0), all(1))
	if refused[0] == nil || refused[1] != nil {
		t.Errorf("refused: %v", refused)
	}
	if want := webService + "spec: &s\n  ports: []\n---\n" + webService + "spec:\n  clusterIP: None\n  ports: []\n"; got != want {
		t.Errorf("got\n%s", got)
	}
}
