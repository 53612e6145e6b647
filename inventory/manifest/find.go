package manifest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
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
	"sync"
)

// stdin is how standard input is displayed.
const stdin = "stdin"

type statter interface{ Stat() (fs.FileInfo, error) }

// Found is what paths lead to.
type Found struct {
	// Files are manifests, sorted by displayed path.
	Files []Source
	// Charts are directories with a Chart.yaml, in which no files are looked
	// for, and archives of such.
	Charts []Root
	// Kustomizations are directories with a kustomization file. Files holds
	// the others in them too: it takes building to know which are used.
	Kustomizations []Root
	// LeftOut is what was found and deliberately not taken, sorted by path.
	LeftOut []LeftOut
	Errors  []Error
}

// Root is a directory or archive that manifests are rendered from.
type Root struct {
	// Path is how it is displayed, Abs where it is.
	Path, Abs string
}

// chartFile makes a directory a chart.
const chartFile = "Chart.yaml"

// KustomizationFiles are the names of files that make a directory a
// kustomization.
var KustomizationFiles = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// finder walks the paths. All its decisions depend on the set of paths alone:
// what is reached by its own name is kept before what a symbolic link leads
// to, and links are followed in the order of their paths.
type finder struct {
	ctx     context.Context
	workDir string
	exclude []string
	seen    map[string]bool   // real paths of files and directories
	links   []string          // absolute paths, still to be followed
	parts   [][2]string       // absolute paths in charts, with their chart's
	named   map[string]bool   // absolute paths of the arguments
	display map[string]string // the same, as they were given
	Found
}

// Find looks for manifests: the files, the directories with all below them, and
// standard input ("-"); no paths mean the working directory. In directories,
// files ending in .yaml, .yml and .json and charts ending in .tgz are taken and
// hidden directories are not. The order of paths makes no difference, nor does
// naming one twice.
func Find(ctx context.Context, paths []string, opts Options) *Found {
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
			f.Errors = append(f.Errors, Error{Message: fmt.Sprintf("exclude %q: %v", pattern, err)})
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
			f.Files = append(f.Files, Source{Path: stdin, Open: standardInput(opts.Stdin)})
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
	for _, p := range f.parts {
		if f.seen[real(p[1])] {
			continue // the chart is rendered, and this with it
		}
		f.Errors = append(f.Errors, Error{File: f.displayed(p[0]),
			Message: fmt.Sprintf("it is part of the Helm chart %s, of which only the whole can be rendered: name the chart's directory instead", f.displayed(p[1]))})
	}
	slices.SortFunc(f.Files, func(a, b Source) int { return cmp.Compare(a.Path, b.Path) })
	for _, roots := range [][]Root{f.Charts, f.Kustomizations} {
		slices.SortFunc(roots, func(a, b Root) int { return cmp.Compare(a.Path, b.Path) })
	}
	slices.SortFunc(f.LeftOut, func(a, b LeftOut) int { return cmp.Compare(a.Path, b.Path) })
	return &f.Found
}

// standardInput keeps what can be read only once.
func standardInput(r io.Reader) func() (io.ReadCloser, error) {
	read := sync.OnceValues(func() ([]byte, error) {
		if r == nil {
			return nil, nil
		}
		return io.ReadAll(r)
	})
	return func() (io.ReadCloser, error) {
		data, err := read()
		return io.NopCloser(bytes.NewReader(data)), err
	}
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
	if chart := chartOf(abs); chart != "" {
		if !f.excluded(abs) {
			f.parts = append(f.parts, [2]string{abs, chart})
		}
		return
	}
	if name := filepath.Base(abs); !info.IsDir() && (name == chartFile || slices.Contains(KustomizationFiles, name)) {
		if f.excluded(abs) {
			return
		}
		// It stands for its directory.
		f.display[filepath.Dir(abs)] = path.Dir(f.display[abs])
		if name == chartFile {
			f.chart(filepath.Dir(abs))
		} else {
			f.kustomization(filepath.Dir(abs))
		}
		return
	}
	f.enter(abs, info.Mode())
}

// chartOf returns the chart's directory if templates stand at the path.
func chartOf(abs string) string {
	for dir := abs; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if filepath.Base(dir) != "templates" {
			continue
		}
		if _, err := os.Lstat(filepath.Join(filepath.Dir(dir), chartFile)); err == nil {
			return filepath.Dir(dir)
		}
	}
	return ""
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
	case slices.Contains(KustomizationFiles, filepath.Base(abs)):
		f.kustomization(filepath.Dir(abs))
	case filepath.Ext(abs) == ".tgz" && (mode.IsRegular() || f.named[abs]):
		if f.named[abs] || isChartArchive(abs) {
			f.chart(abs)
		}
	case !f.named[abs] && !hasManifestName(abs):
	case mode.IsRegular(), f.named[abs]:
		f.file(abs)
	default:
		f.LeftOut = append(f.LeftOut, LeftOut{f.displayed(abs), "not a regular file"})
	}
}

// follow enters what a symbolic link leads to, under the link's own path.
func (f *finder) follow(abs string) {
	info, err := os.Stat(abs)
	switch {
	case err == nil:
		if chart := chartOf(real(abs)); chart != "" && (info.IsDir() || f.named[abs] || hasManifestName(abs)) {
			f.parts = append(f.parts, [2]string{abs, chart})
			return
		}
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
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == chartFile && !e.IsDir() }) {
		f.Charts = append(f.Charts, Root{f.displayed(abs), abs})
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return slices.Contains(KustomizationFiles, e.Name()) }) {
			f.kustomization(abs)
		}
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

// chart takes a chart that is reached by its archive or its Chart.yaml.
func (f *finder) chart(abs string) {
	if f.first(abs) {
		f.Charts = append(f.Charts, Root{f.displayed(abs), abs})
	}
}

// kustomization takes the directory of a kustomization file.
func (f *finder) kustomization(abs string) {
	// The directory may be walked as well, and may have several such files.
	if f.first(filepath.Join(abs, KustomizationFiles[0])) {
		f.Kustomizations = append(f.Kustomizations, Root{f.displayed(abs), abs})
	}
}

// isChartArchive says whether a chart is packed in the file. What can't be
// unpacked is something else that ends in .tgz.
func isChartArchive(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return false
	}
	// Helm packs Chart.yaml first, so there is no need to read all of it.
	entries := tar.NewReader(io.LimitReader(unzipped, 16<<20))
	for {
		header, err := entries.Next()
		if err != nil {
			return false
		}
		if dir, name := path.Split(path.Clean(header.Name)); name == chartFile && strings.Count(dir, "/") == 1 {
			return true
		}
	}
}

func (f *finder) file(abs string) {
	if !f.first(abs) {
		return
	}
	f.Files = append(f.Files, Source{
		Path: f.displayed(abs),
		Dir:  filepath.ToSlash(filepath.Dir(abs)),
		File: abs,
		Open: func() (io.ReadCloser, error) { return os.Open(abs) },
	})
}

// first says whether what stands at the path is reached for the first time.
func (f *finder) first(abs string) bool {
	abs = real(abs)
	if f.seen[abs] {
		return false
	}
	f.seen[abs] = true
	return true
}

// real follows symbolic links.
func real(abs string) string {
	if target, err := filepath.EvalSymlinks(abs); err == nil {
		return target
	}
	return abs // opening it will say why
}

func (f *finder) fail(abs string, err error) {
	f.Errors = append(f.Errors, Error{File: f.displayed(abs), Message: reason(err)})
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
