package lint_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

func fixAll(t *testing.T, judge *verdict.Judge, dir string, createMissing bool) *lint.Fixes {
	t.Helper()
	return lint.Fix(t.Context(), lint.FixOptions{Reading: manifest.Options{WorkDir: dir}, Judge: judge, CreateMissing: createMissing})
}

// open are the open findings in the directory: rule, file, object and
// StatefulSet of each.
func open(t *testing.T, judge *verdict.Judge, dir string) map[string]int {
	t.Helper()
	r := lint.Run(t.Context(), lint.Options{
		Reading: manifest.Options{WorkDir: dir}, Judge: judge, FailOn: policies.Strict, Show: policies.Strict,
	})
	out := map[string]int{}
	for _, f := range r.Findings {
		if f.Status == report.Open {
			out[key(f)]++
		}
	}
	return out
}

func key(f report.Finding) string {
	return fmt.Sprintf("%s %s %s/%s %s", f.Rule, f.Location.File, f.Object.Namespace, f.Object.Name, f.StatefulSet)
}

// checkFixed writes what is to be fixed in the directory, and holds what comes
// of it against what was promised. It returns how many findings were mended.
func checkFixed(t *testing.T, judge *verdict.Judge, dir string, createMissing bool) int {
	t.Helper()
	before := open(t, judge, dir)
	fixes := fixAll(t, judge, dir, createMissing)
	for _, f := range fixes.Files {
		checkLines(t, f, createMissing)
	}
	if (len(fixes.Files) == 0) != (len(fixes.Applied) == 0) {
		t.Errorf("%d files, %d applied", len(fixes.Files), len(fixes.Applied))
	}
	diff, err := lint.Diff(fixes.Files)
	if err != nil {
		t.Fatal(err)
	}
	if written, err := lint.Write(fixes.Files); err != nil || len(written) != len(fixes.Files) {
		t.Fatal(written, err)
	}
	after := open(t, judge, dir)
	for _, m := range fixes.Applied {
		if n := after[key(m.Finding)]; n > 0 && n >= before[key(m.Finding)] {
			t.Errorf("%s is still found", key(m.Finding))
		}
	}
	if again := fixAll(t, judge, dir, createMissing); len(again.Files) > 0 || len(again.Applied) > 0 {
		t.Errorf("a second run changes %d files", len(again.Files))
	}
	checkDiff(t, dir, fixes.Files, diff)
	return len(fixes.Applied)
}

// checkLines demands that all lines but a few are the same. Only new objects
// take many.
func checkLines(t *testing.T, f manifest.Edited, createMissing bool) {
	t.Helper()
	was, is := bytes.SplitAfter(f.Before, []byte("\n")), bytes.SplitAfter(f.After, []byte("\n"))
	kept := 0
	for len(was) > 0 && len(is) > 0 {
		switch {
		case bytes.Equal(was[0], is[0]):
			was, is, kept = was[1:], is[1:], kept+1
		case len(is) > 1 && bytes.Equal(was[0], is[1]):
			is = is[1:]
		case len(is) > 1 && len(was) > 1 && bytes.Equal(was[1], is[1]):
			was, is = was[1:], is[1:]
		case createMissing:
			is = is[1:]
		default:
			t.Errorf("%s: %q became %q", f.Source.Path, was[0], is[0])
			return
		}
	}
	if len(was)+len(is) > 0 {
		t.Errorf("%s: after %d lines that were kept, %d lines became %d", f.Source.Path, kept, len(was), len(is))
	}
}

// checkDiff takes the diff back with git, which must lead to what was before.
func checkDiff(t *testing.T, dir string, files []manifest.Edited, diff string) {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil || len(files) == 0 {
		return
	}
	c := exec.Command(git, "apply", "--reverse", "-")
	c.Dir, c.Stdin, c.Env = dir, strings.NewReader(diff), append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("git apply: %v: %s", err, out)
		return
	}
	for _, f := range files {
		got, err := os.ReadFile(f.Source.File)
		if err != nil || !bytes.Equal(got, f.Before) {
			t.Errorf("%s isn't what it was (%v)", f.Source.Path, err)
		}
	}
}

// mendable are the rules of which some fixture can be mended.
var mendable = []string{
	"clusterip-none-missing", "selector-mismatch", "service-external-name", "service-name-missing", "service-not-found", "service-not-headless",
}

// TestFixFixtures mends every rule's fixtures.
func TestFixFixtures(t *testing.T) {
	judge := newJudge(t, config.Default())
	files, err := filepath.Glob("../policies/rules/*/testdata/fail-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	mended := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, ".requests.yaml") {
			continue
		}
		rule := filepath.Base(filepath.Dir(filepath.Dir(file)))
		for _, createMissing := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%s/%v", rule, filepath.Base(file), createMissing), func(t *testing.T) {
				dir := t.TempDir()
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "fixture.yaml"), string(data))
				if checkFixed(t, judge, dir, createMissing) > 0 {
					mended[rule] = true
				}
			})
		}
	}
	for _, rule := range mendable {
		if !mended[rule] {
			t.Errorf("no fixture of %s was mended", rule)
		}
	}
}

// TestFixCorpus mends manifests that nobody here wrote.
func TestFixCorpus(t *testing.T) {
	const corpus = "../../shared/corpus"
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("there is no corpus beside the repository: %v", err)
	}
	if testing.Short() {
		t.Skip("it takes a while")
	}
	conf := config.Default()
	conf.Exemptions = config.Exemptions{}
	judge := newJudge(t, conf)
	for _, createMissing := range []bool{false, true} {
		mended := 0
		for _, world := range worlds(t, corpus) {
			dir := t.TempDir()
			from := filepath.Join(corpus, world)
			if info, err := os.Stat(from); err != nil {
				t.Fatal(err)
			} else if info.IsDir() {
				err = os.CopyFS(filepath.Join(dir, "world"), os.DirFS(from))
				if err != nil {
					t.Fatal(err)
				}
			} else {
				data, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "world.yaml"), string(data))
			}
			t.Run(world, func(t *testing.T) { mended += checkFixed(t, judge, dir, createMissing) })
		}
		t.Logf("%d findings were mended", mended)
	}
}

const strict = "apiVersion: v1\nkind: Service\nmetadata: {name: %s-headless}\nspec:\n  selector: {a: b}\n"

func TestWriteKeepsWhatAFileIs(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real", "a.txt"), filepath.Join(dir, "links", "a.yaml")
	write(t, file, fmt.Sprintf(strict, "a"))
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../real/a.txt", link); err != nil {
		t.Skip(err)
	}
	fixes := fixAll(t, newJudge(t, config.Default()), dir, false)
	if written, err := lint.Write(fixes.Files); err != nil || !slices.Equal(written, []string{"links/a.yaml"}) {
		t.Fatal(written, err)
	}
	if to, err := os.Readlink(link); err != nil || to != "../real/a.txt" {
		t.Errorf("the link leads to %s (%v)", to, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), "clusterIP: None") {
		t.Errorf("%s (%v)", data, err)
	}
	checkNothingElse(t, filepath.Dir(file), 1)
}

// TestWriteRefuses shows that a file that somebody else wrote meanwhile stays,
// and that all others do if one can't be written.
func TestWriteRefuses(t *testing.T) {
	judge := newJudge(t, config.Default())
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write(t, a, fmt.Sprintf(strict, "a"))
	write(t, b, fmt.Sprintf(strict, "b"))
	fixes := fixAll(t, judge, dir, false)
	write(t, a, "changed: meanwhile\n")
	if written, err := lint.Write(fixes.Files); err == nil || err.Error() != "write a.yaml: somebody changed it meanwhile; run stsguard again" || len(written) > 0 {
		t.Errorf("%v, %v", written, err)
	}
	if data, _ := os.ReadFile(a); string(data) != "changed: meanwhile\n" {
		t.Errorf("a.yaml: %s", data)
	}
	checkNothingElse(t, dir, 2)

	write(t, a, fmt.Sprintf(strict, "a"))
	fixes = fixAll(t, judge, dir, false)
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	if written, err := lint.Write(fixes.Files); err == nil || !strings.HasPrefix(err.Error(), "write b.yaml: ") || len(written) > 0 {
		t.Errorf("%v, %v", written, err)
	}
	if data, _ := os.ReadFile(a); string(data) != fmt.Sprintf(strict, "a") {
		t.Errorf("a.yaml: %s", data)
	}
	checkNothingElse(t, dir, 1)
}

func checkNothingElse(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != want {
		t.Errorf("there is %v (%v)", entries, err)
	}
}

func TestDiffHeaders(t *testing.T) {
	for path, want := range map[string]string{
		"a/b.yaml":   "--- a/a/b.yaml\n+++ b/a/b.yaml\n",
		"/a/b.yaml":  "--- a/a/b.yaml\n+++ b/a/b.yaml\n",
		"a b.yaml":   "--- a/a b.yaml\t\n+++ b/a b.yaml\t\n",
		"a\n\"b\\c":  "--- \"a/a\\012\\\"b\\\\c\"\n+++ \"b/a\\012\\\"b\\\\c\"\n",
		"größe.yaml": "--- a/größe.yaml\n+++ b/größe.yaml\n",
	} {
		got, err := lint.Diff([]manifest.Edited{{Source: manifest.Source{Path: path}, Before: []byte("a"), After: []byte("b")}})
		if want += "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n"; err != nil || got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}
