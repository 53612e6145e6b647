// Package docs has the blocks of code in the README and below docs/, for the tests
// that run them. A test claims blocks by asking for them, and a block that no test
// claims fails this package's own test.
package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Block is a block of code on a page.
type Block struct {
	// Page is the path of the file in the repository, Line that of the block's
	// first line.
	Page string
	Line int
	// Heading is the one that it stands under, without the marks.
	Heading string
	// Language is what it says it is, such as console or yaml.
	Language string
	Text     string
}

// String says where the block is.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

var (
	heading = regexp.MustCompile(`^#+ +(.*)$`)
	fence   = regexp.MustCompile("^( *)```([a-z]*)$")
)

// read takes a page apart. Blocks may be indented, as in lists.
func read(page, text string) ([]Block, error) {
	var out []Block
	under, open, indent := "", false, ""
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open && m != nil:
			if m[2] != "" || m[1] != indent {
				return nil, fmt.Errorf("%s:%d: a block in a block", page, i+1)
			}
			open = false
		case open:
			b := &out[len(out)-1]
			b.Text += strings.TrimPrefix(line, indent) + "\n"
		case m != nil:
			open, indent = true, m[1]
			out = append(out, Block{Page: page, Line: i + 2, Heading: under, Language: m[2]})
		default:
			if h := heading.FindStringSubmatch(line); h != nil {
				under = h[1]
			}
		}
	}
	if open {
		return nil, fmt.Errorf("%s: the last block has no end", page)
	}
	return out, nil
}

// Root is the repository's directory.
func Root(t testing.TB) string {
	t.Helper()
	mod, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("find the repository: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(mod)))
}

// Blocks claims the blocks of a page that begin with this text; with none, all of
// them. The test has to run them. Both arguments have to be literals, since they
// are read from the test's source as well.
func Blocks(t testing.TB, page, begin string) []Block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	all, err := read(page, string(text))
	if err != nil {
		t.Fatal(err)
	}
	var out []Block
	for _, b := range all {
		if strings.HasPrefix(b.Text, begin) {
			out = append(out, b)
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no block that begins with %q", page, begin)
	}
	return out
}

// Command is one of a console block.
type Command struct {
	Line string
	// Shows is what the block says that it prints; empty if it doesn't say.
	Shows string
}

// Commands are those of a console block. With "$ " before them the lines between
// are what they print; without, each line is a command, unless the one before ends
// in a backslash.
func (b Block) Commands() []Command {
	var out []Command
	if strings.HasPrefix(b.Text, "$ ") {
		for _, c := range strings.Split("\n"+b.Text, "\n$ ")[1:] {
			line, shows, _ := strings.Cut(strings.TrimSuffix(c, "\n"), "\n")
			out = append(out, Command{line, shows})
		}
		return out
	}
	for line := range strings.Lines(strings.ReplaceAll(b.Text, "\\\n", " ")) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, Command{Line: line})
		}
	}
	return out
}

// Run runs the commands of a console block one after the other in bash. One that
// shows what it prints has to print that: a line "..." stands for any lines, and
// dots at the end of a line for its rest. Any other one has to succeed; that
// stsguard found something is no failure. It returns what they printed.
func (b Block) Run(t testing.TB, dir string, env []string) string {
	t.Helper()
	var all strings.Builder
	for _, c := range b.Commands() {
		all.WriteString(b.RunCommand(t, c, dir, env))
	}
	return all.String()
}

var stsguardLast = regexp.MustCompile(`(?:^|\| |^kubectl )stsguard [^|]*$`)

// RunCommand runs one of the block's commands.
func (b Block) RunCommand(t testing.TB, c Command, dir string, env []string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-eo", "pipefail", "-c", c.Line)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatalf("%s: %v", b, err)
	}
	code := cmd.ProcessState.ExitCode()
	switch {
	case c.Shows != "" && !printed(c.Shows).Match(out):
		t.Fatalf("%s: $ %s\n%s\nthe docs show\n%s", b, c.Line, out, c.Shows)
	case c.Shows == "" && code != 0 && !(code == 1 && stsguardLast.MatchString(c.Line)):
		t.Fatalf("%s: $ %s\n%sexit code %d", b, c.Line, out, code)
	}
	return string(out)
}

// printed matches what a block shows.
func printed(want string) *regexp.Regexp {
	var b strings.Builder
	for line := range strings.SplitSeq(want, "\n") {
		switch start, open := strings.CutSuffix(line, "..."); {
		case line == "...":
			b.WriteString(`(?:.*\n)*`)
		case open:
			b.WriteString(regexp.QuoteMeta(start) + ".*\n")
		default:
			b.WriteString(regexp.QuoteMeta(line) + "\n")
		}
	}
	return regexp.MustCompile("^" + b.String() + "$")
}
