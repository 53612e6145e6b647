package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// stdin is how standard input is displayed.
const stdin = "stdin"

type statter interface{ Stat() (fs.FileInfo, error) }

// finder walks the paths. All its decisions depend on the set of paths alone:
// what is reached by its own name is kept before what a symbolic link leads
// to, and links are followed in the order of their paths.
type finder struct {
	ctx      context.Context
	workDir  string
	exclude  []string
	seen     map[string]bool   // real paths of files and directories
	links    []string          // absolute paths, still to be followed
	named    map[string]bool   // absolute paths of the arguments
	display  map[string]string // the same, as they were given
	files    []*file
	leftOut  []LeftOut
	problems []Error
}

// find returns the files to read, sorted by displayed path.
func find(ctx context.Context, paths []string, opts Options) ([]*file, []LeftOut, []Error) {
	f := &finder{
		ctx: ctx, workDir: opts.WorkDir,
		seen: map[string]bool{}, named: map[string]bool{}, display: map[string]string{},
	}
	if abs, err := filepath.Abs(f.workDir); err == nil {
		f.workDir = abs
	}
	for _, pattern := range opts.Exclude {
		pattern = strings.TrimPrefix(strings.TrimSuffix(filepath.ToSlash(pattern), "/"), "./")
		if _, err := path.Match(pattern, ""); err != nil {
			f.problems = append(f.problems, Error{Message: fmt.Sprintf("exclude %q: %v", pattern, err)})
			continue
		}
		f.exclude = append(f.exclude, pattern)
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	paths = slices.Clone(paths)
	slices.Sort(paths)
	for _, p := range slices.Compact(paths) {
		if p == "-" {
			f.files = append(f.files, &file{path: stdin, open: func() (io.ReadCloser, error) {
				if opts.Stdin == nil {
					return io.NopCloser(strings.NewReader("")), nil
				}
				return io.NopCloser(opts.Stdin), nil
			}})
			continue
		}
		f.argument(p)
	}
	for len(f.links) > 0 {
		links := f.links
		f.links = nil
		slices.Sort(links)
		for _, l := range links {
			f.follow(l)
		}
	}
	slices.SortFunc(f.files, func(a, b *file) int { return cmp.Compare(a.path, b.path) })
	slices.SortFunc(f.leftOut, func(a, b LeftOut) int { return cmp.Compare(a.Path, b.Path) })
	return f.files, f.leftOut, f.problems
}

func (f *finder) argument(p string) {
	abs := filepath.Clean(p)
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(f.workDir, abs)
	}
	if f.named[abs] {
		return
	}
	f.named[abs] = true
	f.display[abs] = filepath.ToSlash(filepath.Clean(p))
	info, err := os.Lstat(abs)
	if err != nil {
		f.fail(abs, err)
		return
	}
	f.enter(abs, info.Mode())
}

// enter takes what stands at the absolute path.
func (f *finder) enter(abs string, mode fs.FileMode) {
	if f.ctx.Err() != nil || f.excluded(abs) {
		return
	}
	switch {
	case mode&fs.ModeSymlink != 0:
		f.links = append(f.links, abs)
	case mode.IsDir():
		f.directory(abs)
	case !f.named[abs] && !hasManifestName(abs):
	case mode.IsRegular(), f.named[abs]:
		f.file(abs)
	default:
		f.leftOut = append(f.leftOut, LeftOut{f.displayed(abs), "not a regular file"})
	}
}

// follow enters what a symbolic link leads to, under the link's own path.
func (f *finder) follow(abs string) {
	info, err := os.Stat(abs)
	switch {
	case err == nil:
		f.enter(abs, info.Mode())
	case f.named[abs] || hasManifestName(abs):
		f.fail(abs, err)
	}
}

func (f *finder) directory(abs string) {
	if !f.first(abs) {
		return
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		f.fail(abs, err)
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "Chart.yaml" && !e.IsDir() }) {
		f.leftOut = append(f.leftOut, LeftOut{f.displayed(abs), "Helm chart: render it with `helm template` and lint the result"})
		return
	}
	for _, e := range entries {
		below := filepath.Join(abs, e.Name())
		hidden := strings.HasPrefix(e.Name(), ".") && (e.IsDir() || !hasManifestName(e.Name()))
		if !hidden || f.named[below] {
			f.enter(below, e.Type())
		}
	}
}

func (f *finder) file(abs string) {
	if !f.first(abs) {
		return
	}
	f.files = append(f.files, &file{
		path: f.displayed(abs),
		dir:  filepath.ToSlash(filepath.Dir(abs)),
		open: func() (io.ReadCloser, error) { return os.Open(abs) },
	})
}

// first says whether what stands at the path is reached for the first time.
func (f *finder) first(abs string) bool {
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		real = abs // opening it will say why
	}
	if f.seen[real] {
		return false
	}
	f.seen[real] = true
	return true
}

func (f *finder) fail(abs string, err error) {
	f.problems = append(f.problems, Error{File: f.displayed(abs), Message: reason(err)})
}

// displayed is the path relative to the working directory if it is below it,
// else as the argument that led to it was given.
func (f *finder) displayed(abs string) string {
	if rel, err := filepath.Rel(f.workDir, abs); err == nil && filepath.IsLocal(rel) {
		if rel == stdin {
			return "./" + stdin
		}
		return filepath.ToSlash(rel)
	}
	for dir := abs; ; dir = filepath.Dir(dir) {
		if given, ok := f.display[dir]; ok {
			rel, err := filepath.Rel(dir, abs)
			if err != nil {
				return filepath.ToSlash(abs)
			}
			return path.Join(given, filepath.ToSlash(rel))
		}
		if dir == filepath.Dir(dir) {
			return filepath.ToSlash(abs)
		}
	}
}

func (f *finder) excluded(abs string) bool {
	if len(f.exclude) == 0 || abs == f.workDir {
		return false
	}
	name := filepath.Base(abs)
	segments := strings.Split(strings.TrimPrefix(f.displayed(abs), "./"), "/")
	return slices.ContainsFunc(f.exclude, func(pattern string) bool {
		if !strings.Contains(pattern, "/") {
			ok, _ := path.Match(pattern, name)
			return ok
		}
		return matches(strings.Split(pattern, "/"), segments)
	})
}

// matches matches segment by segment, ** standing for any number of them.
func matches(pattern, segments []string) bool {
	for i, p := range pattern {
		if p == "**" {
			for skip := range len(segments) - i + 1 {
				if matches(pattern[i+1:], segments[i+skip:]) {
					return true
				}
			}
			return false
		}
		if i >= len(segments) {
			return false
		}
		if ok, _ := path.Match(p, segments[i]); !ok {
			return false
		}
	}
	return len(pattern) == len(segments)
}

func hasManifestName(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// reason leaves out the path, which stands before the message anyway.
func reason(err error) string {
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file or directory"
	case errors.As(err, &pathErr):
		return fmt.Sprintf("%s: %v", pathErr.Op, pathErr.Err)
	}
	return err.Error()
}
