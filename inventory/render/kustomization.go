package render

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
)

func renderKustomization(ctx context.Context, r root, namespace string) World {
	var w World
	for _, part := range r.parts {
		w.Errors = append(w.Errors, part.problems...)
	}
	if len(w.Errors) > 0 {
		return w
	}
	built, err := call(ctx, func() (resmap.ResMap, error) {
		return krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(tracing{filesys.MakeFsOnDisk(), realPath(r.Abs)}, r.Abs)
	})
	if err != nil {
		return fail(manifest.Error{File: path.Join(r.Path, r.file), Message: "can't be built: " + kustomizeReason(err, r)})
	}
	wrote := &written{namespace: namespace, sets: map[string]*manifest.Set{}}
	for _, part := range r.parts {
		for _, file := range part.files {
			wrote.files = append(wrote.files, sourceFile{display(r.Root, file), file})
		}
	}
	texts, objects := map[sourceFile]*bytes.Buffer{}, map[sourceFile][]builtObject{}
	for _, res := range built.Resources() {
		from := sourceFile{path.Join(r.Path, r.file), filepath.Join(r.Abs, r.file)}
		if origin, err := res.GetOrigin(); err == nil && origin != nil && origin.Path != "" && origin.Repo == "" {
			from = sourceFile{path.Join(r.Path, filepath.ToSlash(origin.Path)), filepath.Join(r.Abs, origin.Path)}
		}
		text, err := res.AsYAML()
		if err != nil {
			w.Errors = append(w.Errors, manifest.Error{File: from.shown, Message: fmt.Sprintf("can't be written as YAML: %v", err)})
			continue
		}
		if texts[from] == nil {
			texts[from] = &bytes.Buffer{}
		}
		texts[from].WriteString("---\n")
		objects[from] = append(objects[from], builtObject{line: 1 + bytes.Count(texts[from].Bytes(), []byte("\n")), kind: res.GetKind(), name: res.GetName()})
		texts[from].Write(text)
	}
	for _, from := range slices.SortedFunc(maps.Keys(texts), func(a, b sourceFile) int { return strings.Compare(a.shown, b.shown) }) {
		text := texts[from].Bytes()
		w.Sources = append(w.Sources, manifest.Source{
			Path: from.shown,
			// All of it is applied together, wherever it comes from.
			Dir:    filepath.ToSlash(r.Abs),
			Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
			Origin: &resourceOrigin{written: wrote, from: from, objects: objects[from], lines: strings.Split(string(text), "\n")},
		})
	}
	return w
}

// tracing is a file system in which the kustomization at root asks for the
// origin of each resource.
type tracing struct {
	filesys.FileSystem
	root string
}

func (t tracing) ReadFile(name string) ([]byte, error) {
	data, err := t.FileSystem.ReadFile(name)
	if err != nil || filepath.Dir(name) != t.root || !slices.Contains(manifest.KustomizationFiles, filepath.Base(name)) {
		return data, err
	}
	var fields map[string]any
	if yaml.UnmarshalStrict(data, &fields) != nil || fields == nil {
		return data, nil // kustomize says why
	}
	asked, _ := fields["buildMetadata"].([]any)
	fields["buildMetadata"] = append(slices.Clone(asked), types.OriginAnnotations)
	if traced, err := yaml.Marshal(fields); err == nil {
		return traced, nil
	}
	return data, nil
}

// sourceFile is a file that something is built from.
type sourceFile struct{ shown, abs string }

// display is how a file is displayed that a kustomization refers to.
func display(r manifest.Root, file string) string {
	rel, err := filepath.Rel(realPath(r.Abs), file)
	if err != nil {
		return filepath.ToSlash(file)
	}
	return path.Join(r.Path, filepath.ToSlash(rel))
}

// written is what was written by hand: the files that a kustomization is built
// from, read when they are asked for.
type written struct {
	namespace string
	files     []sourceFile // resources, patches and others

	sync.Mutex
	sets map[string]*manifest.Set
}

// set returns the objects in a file.
func (w *written) set(f sourceFile) *manifest.Set {
	w.Lock()
	defer w.Unlock()
	if w.sets[f.abs] == nil {
		// What is wrong with it was no obstacle to building.
		w.sets[f.abs] = manifest.Read(context.Background(), []manifest.Source{{
			Path: f.shown, Open: func() (io.ReadCloser, error) { return os.Open(f.abs) },
		}}, manifest.Options{Namespace: w.namespace})
	}
	return w.sets[f.abs]
}

// find returns the object in the file that became the one of that kind and
// name, which may have got a prefix or suffix since.
func (w *written) find(f sourceFile, o builtObject) (inventory.Ref, bool) {
	var found inventory.Ref
	longest := 0
	for _, ref := range w.set(f).Refs() {
		kind, _, name := ref.Split()
		if string(kind) == o.kind && strings.Contains(o.name, name) && len(name) > longest {
			found, longest = ref, len(name)
		}
	}
	return found, longest > 0
}

// builtObject is one object in the rendered text.
type builtObject struct {
	line       int // where its text begins
	kind, name string
}

// resourceOrigin leads from what a kustomization builds of one file to that
// file, or to the patch that something comes from.
type resourceOrigin struct {
	*written
	from    sourceFile
	objects []builtObject // as they follow each other
	lines   []string      // of the rendered text
}

// Text returns the file's.
func (o *resourceOrigin) Text(file string) ([]byte, error) {
	for _, f := range append([]sourceFile{o.from}, o.files...) {
		if f.shown == file {
			return os.ReadFile(f.abs)
		}
	}
	return nil, fmt.Errorf("%s is no part of the kustomization", file)
}

// Locate finds the field where a file says the same of the object: the one that
// the object is from, else the last one. If none does, it is where the first of
// these says a part of it, as of a name that got a prefix, else where the object
// begins.
func (o *resourceOrigin) Locate(at manifest.Location, pointer string) manifest.Location {
	first := manifest.Location{File: o.from.shown, Line: 1, Column: 1, EndLine: 1, EndColumn: 1}
	i := sort.Search(len(o.objects), func(i int) bool { return o.objects[i].line > at.Line }) - 1
	if i < 0 {
		return first
	}
	said := region(o.lines, at)
	candidates := append(slices.Clone(o.files), o.from)
	slices.Reverse(candidates)
	for _, f := range candidates {
		ref, ok := o.find(f, o.objects[i])
		if !ok {
			continue
		}
		l := o.set(f).Locate(ref, pointer)
		text, err := os.ReadFile(f.abs)
		if err != nil {
			continue
		}
		says := region(strings.Split(string(text), "\n"), l)
		if says == said {
			return l
		}
		if f == o.from {
			first = o.set(f).Locate(ref, "")
			if says != "" && strings.Contains(said, says) {
				first = l
			}
		}
	}
	return first
}

// region is the text at a place, without quotes.
func region(lines []string, l manifest.Location) string {
	if l.Line < 1 || l.Line > len(lines) {
		return ""
	}
	r := []rune(lines[l.Line-1])
	return strings.Trim(string(r[min(l.Column-1, len(r)):min(l.EndColumn-1, len(r))]), `"'`)
}

var (
	// kustomizeContext is what kustomize puts before the reason: how it came
	// there, and what it tried before.
	kustomizeContext = regexp.MustCompile("(?s)^(?:" +
		`accumulating (?:resources|components): ` +
		`|accumulation err='accumulating resources from '[^']*': (?:'[^']*' must resolve to a file|read [^:]*: is a directory)': ` +
		`|(?:recursed (?:accumulation of|merging from)|couldn't make target for) path '[^']*': ` +
		`|accumulation err='` +
		"|trouble configuring builtin \\w+ with config: `.*?`: " +
		")")
	// kustomizeAttempts is what it tried after.
	kustomizeAttempts = regexp.MustCompile(`(?s)': (?:must build at directory|evalsymlink failure|new root|unable to find one of).*$`)
)

// kustomizeReason shortens what kustomize says.
func kustomizeReason(err error, r root) string {
	message := err.Error()
	for {
		shorter := kustomizeContext.ReplaceAllString(message, "")
		if shorter == message {
			break
		}
		message = shorter
	}
	message = kustomizeAttempts.ReplaceAllString(message, "")
	for _, p := range r.parts {
		message = oneLine(message, manifest.Root{Path: p.Path, Abs: realPath(p.Abs)})
	}
	return message
}
