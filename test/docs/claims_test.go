package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// claim is what a test asks for: the blocks of a page that begin with a text.
type claim struct{ page, begin string }

func (c claim) covers(b Block) bool { return c.page == b.Page && strings.HasPrefix(b.Text, c.begin) }

// TestEveryBlockIsRun holds the blocks of the README and of docs/ against the calls
// of Blocks in all tests.
func TestEveryBlockIsRun(t *testing.T) {
	root := Root(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	var blocks []Block
	for _, file := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		all, err := read(filepath.ToSlash(name), string(text))
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, all...)
	}
	claims := claimed(t, root)
	for _, b := range blocks {
		if !slices.ContainsFunc(claims, func(c claim) bool { return c.covers(b) }) {
			begin, _, _ := strings.Cut(b.Text, "\n")
			t.Errorf("%s: no test runs %q: have one ask for it with docs.Blocks", b, begin)
		}
	}
}

// claimed are the claims of all tests.
func claimed(t *testing.T, root string) []claim {
	t.Helper()
	var out []claim
	files := token.NewFileSet()
	if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "bin" || entry.Name() == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 3 {
				return true
			}
			called, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || called.Sel.Name != "Blocks" {
				return true
			}
			if of, ok := called.X.(*ast.Ident); !ok || of.Name != "docs" {
				return true
			}
			page, isPage := literal(call.Args[1])
			begin, isBegin := literal(call.Args[2])
			if !isPage || !isBegin {
				t.Errorf("%s: docs.Blocks wants literals", files.Position(call.Pos()))
				return true
			}
			out = append(out, claim{page, begin})
			return true
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// literal is the value of a literal text.
func literal(e ast.Expr) (text string, ok bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}
