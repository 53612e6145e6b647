package lint

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/stsguard/stsguard/inventory/manifest"
)

// Diff returns the changes as a unified diff that `patch -p1` takes in the
// working directory, which the paths are relative to, and `git apply` if that is
// the top of a repository.
func Diff(files []manifest.Edited) (string, error) {
	var b strings.Builder
	for _, f := range files {
		before := string(f.Before)
		text, err := udiff.ToUnified(label("a/", f.Source.Path), label("b/", f.Source.Path), before, udiff.Lines(before, string(f.After)), udiff.DefaultContextLines)
		if err != nil {
			return "", fmt.Errorf("compare %s with what it is to be: %w", f.Source.Path, err)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// label is a path as it stands in a diff's header: like git, in quotes if it
// has characters that mean something there, and with a tab behind it if it has
// spaces.
func label(prefix, path string) string {
	path = prefix + strings.TrimPrefix(path, "/")
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	switch {
	case b.String() != path:
		return `"` + b.String() + `"`
	case strings.Contains(path, " "):
		return path + "\t"
	}
	return path
}
