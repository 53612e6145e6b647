package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// show writes lines as number, text and what is pointed at, in brackets.
func show(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		text := []rune(l.Text)
		b.WriteString(strings.Join([]string{
			string(rune('0' + l.Number)), " ", string(text[:l.Start]), "[", string(text[l.Start:l.End]), "]", string(text[l.End:]), "\n",
		}, ""))
	}
	return b.String()
}

func TestExcerpt(t *testing.T) {
	for _, x := range []struct{ name, text, pointer, want string }{
		{"a line between its neighbours", service("a") + "spec: {}\n", "/metadata/name", "3 []metadata:\n4   name: [a]\n5 []spec: {}\n"},
		{"the first line", service("a"), "", "1 [apiVersion]: v1\n2 []kind: Service\n"},
		{"the last line", service("a"), "/metadata/name", "3 []metadata:\n4   name: [a]\n"},
		{"nothing of other documents", "kind: X\n---\n" + service("a") + "---\nkind: X\n", "/apiVersion", "3 apiVersion: [v1]\n4 []kind: Service\n"},
		{"no blank lines", "apiVersion: v1\nkind: Service\nmetadata:\n\n  name: ä\n \n", "/metadata/name", "5   name: [ä]\n"},
		{"line ends of Windows", strings.ReplaceAll(service("a"), "\n", "\r\n"), "/metadata/name", "3 []metadata:\n4   name: [a]\n"},
		{"line breaks of other kinds", service("a") + "spec:\r  type: ClusterIP\n", "/metadata/name", ""},
		{"the second JSON value of a line", `{} {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`, "/metadata/name",
			`1 {"apiVersion":"v1","kind":"Service","metadata":{"name":["a"]}}` + "\n"},
	} {
		s := readText(t, x.text)
		if len(s.Services) != 1 {
			t.Errorf("%s: %d Services, errors %v", x.name, len(s.Services), s.Errors)
			continue
		}
		ref := s.Services[0].Ref()
		if got := show(s.Excerpt(ref, s.Locate(ref, x.pointer), 1, 1)); got != x.want {
			t.Errorf("%s:\n%swant\n%s", x.name, got, x.want)
		}
	}
}

// A long line is cut around what is pointed at, whatever its length in bytes.
func TestExcerptOfLongLine(t *testing.T) {
	filler := strings.Repeat("ä", 5000)
	text := `{"x":"` + filler + `","apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"y":"` + filler + `"}`
	s := readText(t, text)
	ref := s.Services[0].Ref()
	for pointer, want := range map[string]string{
		"/metadata/name": "\"web\"",
		"/x":             "\"" + strings.Repeat("ä", longest-6),
		"/y":             "\"" + strings.Repeat("ä", longest-lead-1),
	} {
		lines := s.Excerpt(ref, s.Locate(ref, pointer), 1, 1)
		if len(lines) != 1 {
			t.Fatalf("%s: %d lines", pointer, len(lines))
		}
		l := lines[0]
		if n := utf8.RuneCountInString(l.Text); n > longest+2 || !strings.HasSuffix(l.Text, cut) || strings.HasPrefix(l.Text, cut) != (pointer != "/x") {
			t.Errorf("%s: %d code points: %s", pointer, n, l.Text)
		}
		if got := string([]rune(l.Text)[l.Start:l.End]); got != want {
			t.Errorf("%s: points at %q, want %q", pointer, got, want)
		}
	}
}

func TestNoExcerptOfAFileThatChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, []byte(service("a")), 0o600); err != nil {
		t.Fatal(err)
	}
	s := readPaths(t.Context(), []string{file}, Options{})
	ref := s.Services[0].Ref()
	l := s.Locate(ref, "/metadata/name")
	if len(s.Excerpt(ref, l, 0, 0)) != 1 {
		t.Error("there is no excerpt to begin with")
	}
	s.reopened.idle = nil
	if err := os.WriteFile(file, []byte("password: secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.Excerpt(ref, l, 1, 1); got != nil {
		t.Errorf("got %v", got)
	}
	if got := s.Excerpt("Service/default/b", l, 1, 1); got != nil {
		t.Errorf("of an object that isn't there: %v", got)
	}
}
