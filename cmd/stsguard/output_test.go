package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestOrderOfArguments holds every format against itself, whatever the order
// of the arguments.
func TestOrderOfArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	const service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n"
	for name, text := range map[string]string{
		"a/web.yaml": lonely, "b/web.yaml": lonely + "\n" + service + service, "b/broken.yaml": "apiVersion: v1\nkind: Service\nmetadata: [", "web.json": lonely + lonely,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range lintFormats {
		want := ""
		permute([]string{"a", "b", "web.json"}, func(args []string) {
			var out strings.Builder
			c := Command{Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard, Getenv: func(string) string { return "" }}
			if code := c.Main(t.Context(), append([]string{"lint", "-o", format, "--level", "advice"}, args...)); code != exitIncomplete {
				t.Fatalf("exit code %d", code)
			}
			if want == "" {
				want = out.String()
			}
			if out.String() != want {
				t.Errorf("%s of %v differs:\n%s\nfrom\n%s", format, args, out.String(), want)
			}
		})
	}
}

// permute calls f with all orders of s.
func permute(s []string, f func([]string)) {
	if len(s) == 0 {
		f(nil)
		return
	}
	for i := range s {
		permute(slices.Delete(slices.Clone(s), i, i+1), func(rest []string) { f(append([]string{s[i]}, rest...)) })
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "report"), filepath.Join(dir, "link")
	write := func(name, text string) {
		t.Helper()
		if err := writeFile(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(name, want string) {
		t.Helper()
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	write(file, "one, and long")
	holds(file, "one, and long")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	write(link, "two")
	holds(file, "two")
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file is %v, %v", info, err)
	}
	if old, err := io.ReadAll(reader); err != nil || string(old) != "one, and long" {
		t.Errorf("who had it open reads %q, %v", old, err)
	}
	if err := writeFile(dir, nil); err == nil {
		t.Error("a directory was written")
	}
	if err := writeFile(filepath.Join(dir, "missing", "report"), nil); err == nil {
		t.Error("a file was written in no directory")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if runtime.GOOS == "linux" {
		if err := writeFile("/dev/full", []byte("x")); err == nil {
			t.Error("a full device was written")
		}
	}
}

func TestNoColor(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there is no /dev/ptmx")
	}
	defer terminal.Close()
	for noColor, want := range map[bool]bool{false: true, true: false} {
		c := Command{Stdout: terminal, Getenv: func(string) string { return "" }}
		if got := c.colorsIn(destination{format: "text"}, &output{noColor: noColor}); got != want {
			t.Errorf("with --no-color=%v, colour is %v", noColor, got)
		}
		if c.colorsIn(destination{"text", "report.txt"}, &output{noColor: noColor}) {
			t.Error("there is colour in a file")
		}
	}
}
