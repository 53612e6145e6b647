package docs

import (
	"slices"
	"strings"
	"testing"
)

const page = "# Page\n\n```console\nfirst --flag \\\n  more\n\nsecond\n```\n\n## Part\n\n1. Item\n\n   ```yaml\n   key:\n     value\n   ```\n\n```console\n$ shows\nits output\n...\n$ silent\n```\n"

func TestRead(t *testing.T) {
	all, err := read("page.md", page)
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{"page.md", 4, "Page", "console", "first --flag \\\n  more\n\nsecond\n"},
		{"page.md", 15, "Part", "yaml", "key:\n  value\n"},
		{"page.md", 20, "Part", "console", "$ shows\nits output\n...\n$ silent\n"},
	}
	if !slices.Equal(all, want) {
		t.Errorf("got %q", all)
	}
	for i, want := range map[int][]Command{
		0: {{Line: "first --flag    more"}, {Line: "second"}},
		2: {{"shows", "its output\n..."}, {Line: "silent"}},
	} {
		if got := all[i].Commands(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q", all[i], got)
		}
	}
	for _, wrong := range []string{"```console\n", "```console\n```yaml\n```\n", "  ```console\n```\n"} {
		if got, err := read("page.md", wrong); err == nil {
			t.Errorf("%q: got %q", wrong, got)
		}
	}
}

func TestPrinted(t *testing.T) {
	for _, x := range []struct {
		want, out string
		match     bool
	}{
		{"one", "one\n", true},
		{"one", "one\ntwo\n", false},
		{"one\n...", "one\ntwo\nthree\n", true},
		{"...\nthree", "one\ntwo\nthree\n", true},
		{"one...", "one and more\n", true},
		{"one...", "two\n", false},
		{"a.b", "axb\n", false},
	} {
		if got := printed(x.want).MatchString(x.out); got != x.match {
			t.Errorf("%q of %q: %t", x.want, x.out, got)
		}
	}
}

func TestRun(t *testing.T) {
	b := Block{Page: "page.md", Line: 1, Language: "console", Text: "$ echo one; false\none\n$ echo two >file\n$ cat file\n...\n"}
	if got := b.Run(t, t.TempDir(), nil); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
	for line, may := range map[string]bool{
		"stsguard lint deploy/":                          true,
		"kubectl get services -o yaml | stsguard lint -": true,
		"stsguard migrate statefulset/web > plan.md":     true,
		"kubectl stsguard lint deploy/":                  true,
		"helm install stsguard deploy/chart":             false,
		"stsguard audit | grep deny":                     false,
	} {
		if got := stsguardLast.MatchString(line); got != may {
			t.Errorf("%s: %t", strings.TrimSpace(line), got)
		}
	}
}
