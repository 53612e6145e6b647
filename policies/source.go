package policies

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Source is one file of rules as it was read.
type Source struct {
	// File is its name in errors, with slashes.
	File, Text string
	// library says that it holds functions and no rule, own that a user wrote
	// it.
	library, own bool
}

// sourcesIn reads lib/lib.rego, if it is there, and rules/<id>/rule.rego.
func sourcesIn(from fs.FS) ([]Source, error) {
	var out []Source
	for _, pattern := range []string{"lib/lib.rego", "rules/*/rule.rego"} {
		files, err := fs.Glob(from, pattern)
		if err != nil {
			return nil, fmt.Errorf("find rules: %w", err)
		}
		for _, file := range files {
			text, err := fs.ReadFile(from, file)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			out = append(out, Source{File: file, Text: string(text), library: strings.HasPrefix(file, "lib/")})
		}
	}
	return out, nil
}

// Read reads a user's directory of rules, DIR/<id>/rule.rego. Tests may stand
// beside a rule; any other Rego file would be one that nobody reads, which is
// an error, as a directory without rules is.
func Read(dir string) ([]Source, error) {
	var out []Source
	for _, pattern := range []string{"*.rego", "*/*.rego"} {
		files, err := glob(dir, pattern)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		for _, file := range files {
			switch {
			case strings.HasSuffix(file, "_test.rego"):
				continue
			case pattern == "*.rego" || path.Base(file) != "rule.rego":
				return nil, fmt.Errorf("%s is not read: a rule stands in %s/ID/rule.rego", file, filepath.ToSlash(dir))
			}
			text, err := os.ReadFile(filepath.FromSlash(file))
			if err != nil {
				return nil, fmt.Errorf("read rules: %w", err)
			}
			out = append(out, Source{File: file, Text: string(text), own: true})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there are no rules in %s: a rule stands in %s/ID/rule.rego", filepath.ToSlash(dir), filepath.ToSlash(dir))
	}
	return out, nil
}

// glob lists the files below dir that match, with slashes. Unlike [fs.Glob] it
// says what it can't read. Hidden folders are left out: a mounted ConfigMap
// keeps its files there once more.
func glob(dir, pattern string) ([]string, error) {
	first, rest, deeper := strings.Cut(pattern, "/")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if ok, _ := path.Match(first, e.Name()); !ok || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		// Links count as what they lead to.
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		switch {
		case deeper && info.IsDir():
			below, err := glob(filepath.Join(dir, e.Name()), rest)
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		case !deeper && !info.IsDir():
			out = append(out, filepath.ToSlash(filepath.Join(dir, e.Name())))
		}
	}
	return out, nil
}

// capabilities are what rules may use: nothing that gives another answer the
// next time, and nothing that reaches out.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, (*ast.Builtin).IsNondeterministic)
	c.AllowNet = []string{}
	return c
}

// told puts what the Rego compiler found into lines that begin with the place.
func told(err error) error {
	var all ast.Errors
	var one *ast.Error
	switch {
	case errors.As(err, &all):
	case errors.As(err, &one):
		all = ast.Errors{one}
	default:
		return err
	}
	var out []error
	for i, e := range all {
		if i > 0 && e.Error() == all[i-1].Error() {
			continue
		}
		message := e.Message
		if name, ok := strings.CutPrefix(message, "undefined function "); ok && ast.BuiltinMap[name] != nil {
			message = name + " is not for rules: they look at the facts alone, so that the same facts always give the same findings"
		}
		out = append(out, fmt.Errorf("%s:%d: %s", e.Location.File, max(1, e.Location.Row), message))
	}
	return errors.Join(out...)
}
