package render

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory/manifest"
)

// kustomization is one kustomization file with what it refers to.
type kustomization struct {
	manifest.Root
	file      string // its base name
	text      string
	component bool
	// foreign: kustomize doesn't know such a file, which is a manifest of
	// somebody else's. Flux has one of that name.
	foreign bool
	// unreadable: nobody can tell what it refers to.
	unreadable bool
	// files and dirs are the real paths of what it refers to.
	files, dirs []string
	// problems are references that can't be followed.
	problems []manifest.Error
}

// plan is what to build.
type plan struct {
	// all are by real path, those that others include among them.
	all map[string]*kustomization
	// roots are those to build.
	roots   []root
	leftOut []manifest.LeftOut
	taken   map[string]bool // real paths of files
}

// root is a kustomization to build, with all that it includes.
type root struct {
	*kustomization
	parts []*kustomization
}

// planKustomizations follows the references of all kustomizations. One that
// another includes isn't built by itself.
func planKustomizations(found []manifest.Root) *plan {
	p := &plan{all: map[string]*kustomization{}, taken: map[string]bool{}}
	included := map[string]bool{}
	for _, r := range found {
		p.visit(realPath(r.Abs), r)
	}
	for _, k := range p.all {
		for _, dir := range k.dirs {
			included[dir] = true
		}
		for _, file := range k.files {
			p.taken[file] = true
		}
		if k.unreadable {
			p.leftOut = append(p.leftOut, manifest.LeftOut{
				Path: k.Path, Reason: "the manifests in it may be patches, which can't be told as long as its " + k.file + " can't be read",
			})
		}
	}
	covered := map[string]bool{}
	// Of those that include each other in a circle, the first is built: it says
	// what is wrong.
	for _, circular := range []bool{false, true} {
		for _, r := range found {
			dir := realPath(r.Abs)
			k := p.all[dir]
			switch {
			case covered[dir], included[dir] && !circular, k.foreign:
			case k.component:
				p.leftOut = append(p.leftOut, manifest.LeftOut{Path: k.Path, Reason: "kustomize component that no kustomization here includes"})
				covered[dir] = true
			default:
				p.roots = append(p.roots, root{k, p.parts(dir, covered)})
			}
		}
	}
	return p
}

// takes says whether some kustomization refers to the file, or may.
func (p *plan) takes(s manifest.Source) bool {
	if len(p.all) == 0 || s.File == "" {
		return false
	}
	file := realPath(s.File)
	k := p.all[filepath.Dir(file)]
	return p.taken[file] || k != nil && k.unreadable
}

// parts are the kustomization in a directory and all that it includes.
func (p *plan) parts(dir string, covered map[string]bool) []*kustomization {
	var out []*kustomization
	seen := map[string]bool{}
	var visit func(dir string)
	visit = func(dir string) {
		if seen[dir] {
			return
		}
		seen[dir], covered[dir] = true, true
		out = append(out, p.all[dir])
		for _, d := range p.all[dir].dirs {
			visit(d)
		}
	}
	visit(dir)
	return out
}

// The fields that refer to files and directories: those that kustomize looks
// for in the network otherwise, other lists, and those of items.
var (
	resourceFields = []string{"resources", "bases", "components", "generators", "transformers", "validators"}
	fileFields     = []string{"crds", "configurations", "patchesStrategicMerge"}
	itemFields     = []string{"patches", "patchesJson6902", "replacements", "configMapGenerator", "secretGenerator", "openapi"}
	pathFields     = []string{"path", "paths", "files", "env", "envs"}
	helmFields     = []string{"helmCharts", "helmChartInflationGenerator"}
)

// visit reads the kustomization in a directory and those that it refers to.
func (p *plan) visit(dir string, r manifest.Root) {
	if p.all[dir] != nil {
		return
	}
	k := &kustomization{Root: r, file: manifest.KustomizationFiles[0]}
	p.all[dir] = k
	var text []byte
	for _, name := range manifest.KustomizationFiles {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			k.file, text = name, data
			break
		}
	}
	k.text = string(text)
	var head metav1.TypeMeta
	if yaml.Unmarshal(text, &head) == nil && head.APIVersion != "" && !strings.HasPrefix(head.APIVersion, "kustomize.config.k8s.io/") {
		k.foreign = true
		return
	}
	var parsed types.Kustomization
	if parsed.Unmarshal(text) != nil {
		k.unreadable = true // building it will say why
		return
	}
	k.component = parsed.Kind == types.ComponentKind
	canonical, err := yaml.Marshal(parsed)
	var content map[string]any
	if err != nil || yaml.Unmarshal(canonical, &content) != nil {
		k.fail("", "can't be read")
		return
	}
	for _, field := range slices.Sorted(maps.Keys(content)) {
		items, _ := content[field].([]any)
		switch {
		case slices.Contains(helmFields, field) && len(items) > 0:
			k.fail(field, field+": charts aren't inflated in kustomizations here: run `kustomize build --enable-helm` and lint what it prints")
		case slices.Contains(resourceFields, field):
			for _, item := range items {
				p.refer(k, field, fmt.Sprint(item))
			}
		case slices.Contains(fileFields, field):
			for _, item := range items {
				k.refer(fmt.Sprint(item))
			}
		case slices.Contains(itemFields, field):
			paths(content[field], "", func(name, file string) {
				if !k.refer(file) {
					k.fail(file, fmt.Sprintf(missing, field+": "+name, file))
				}
			})
		}
	}
}

// fail is a problem with a value in the kustomization file.
func (k *kustomization) fail(value, message string) {
	e := manifest.Error{File: path.Join(k.Path, k.file), Line: 1, Column: 1, Message: message}
	for i, line := range strings.Split(k.text, "\n") {
		line, _, _ = strings.Cut(line, " #")
		if before, _, ok := strings.Cut(line, value); ok && !strings.HasPrefix(line, "#") {
			e.Line, e.Column = i+1, utf8.RuneCountInString(before)+1
			break
		}
	}
	k.problems = append(k.problems, e)
}

const (
	missing = "%s: %s: no such file or directory"
	remote  = "%q is elsewhere, and nothing is fetched: run `kustomize build` and lint what it prints"
)

// refer follows a reference to a resource or another kustomization. It may be a
// text of its own where it is to a generator or transformer.
func (p *plan) refer(k *kustomization, field, value string) {
	if strings.Contains(value, "\n") {
		k.plugin(value, value[:strings.Index(value, "\n")])
		return
	}
	target := filepath.Join(k.Abs, filepath.FromSlash(value))
	info, err := os.Stat(target)
	switch {
	case isURL(value), (err != nil || info.IsDir()) && isRepository(value):
		k.fail(value, fmt.Sprintf(remote, value))
	case errors.Is(err, fs.ErrNotExist):
		k.fail(value, fmt.Sprintf(missing, field, value))
	case err != nil: // building it will say why
	case info.IsDir():
		dir := realPath(target)
		k.dirs = append(k.dirs, dir)
		p.visit(dir, manifest.Root{Path: path.Join(k.Path, value), Abs: target})
	default:
		k.files = append(k.files, realPath(target))
		if text, err := os.ReadFile(target); err == nil {
			k.plugin(string(text), value)
		}
	}
}

// refer follows a reference to a file, and says whether there is one.
func (k *kustomization) refer(value string) bool {
	if isURL(value) {
		k.fail(value, fmt.Sprintf(remote, value))
		return true
	}
	target := filepath.Join(k.Abs, filepath.FromSlash(value))
	if info, err := os.Stat(target); err == nil && !info.IsDir() {
		k.files = append(k.files, realPath(target))
	} else if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return true
}

// paths calls f for each field, however deep, that refers to a file.
func paths(value any, field string, f func(field, file string)) {
	switch v := value.(type) {
	case string:
		if !slices.ContainsFunc(pathFields, func(name string) bool { return strings.EqualFold(name, field) }) {
			return
		}
		if _, after, ok := strings.Cut(v, "="); ok && strings.EqualFold(field, "files") {
			v = after
		}
		if v != "" {
			f(field, v)
		}
	case []any:
		for _, item := range v {
			paths(item, field, f)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			paths(v[name], name, f)
		}
	}
}

// plugin follows the references in what may configure a generator or
// transformer. Not every path there is one in the file system.
func (k *kustomization) plugin(text, at string) {
	if !strings.Contains(text, konfig.BuiltinPluginApiVersion) {
		return
	}
	for document := range strings.SplitSeq("\n"+text, "\n---") {
		var content any
		if yaml.Unmarshal([]byte(document), &content) != nil {
			continue // building it will say why
		}
		paths(content, "", func(_, file string) {
			if isURL(file) {
				k.fail(at, fmt.Sprintf(remote, file))
			} else {
				k.refer(file)
			}
		})
	}
}

// isURL says whether kustomize would send for the file.
func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// isRepository says whether kustomize would clone what isn't in the file
// system: only its origin tells a repository from a path.
func isRepository(s string) bool {
	return (&resource.Origin{}).Append(s).Repo != ""
}

// realPath follows symbolic links.
func realPath(file string) string {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		return target
	}
	return file
}
