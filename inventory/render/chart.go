package render

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory/manifest"
)

// loaded is a chart that is ready to be rendered, once: templates can change
// the values.
type loaded struct {
	*chart.Chart
	values common.Values
	// shown gives the displayed path of the folder that stands behind what
	// the engine calls a chart, such as web/charts/db.
	shown map[string]string
}

var errLibraryChart = errors.New("library chart: it has nothing of its own to render")

func renderChart(ctx context.Context, root manifest.Root, o Options) World {
	type rendered struct {
		chart *loaded
		texts map[string]string
	}
	r, err := call(ctx, func() (r rendered, err error) {
		if r.chart, err = load(root, o); err == nil {
			r.texts, err = engine.Engine{}.RenderWithContext(ctx, r.chart.Chart, r.chart.values)
		}
		return r, err
	})
	switch {
	case errors.Is(err, errLibraryChart):
		return World{LeftOut: []manifest.LeftOut{{Path: root.Path, Reason: err.Error()}}}
	case err != nil:
		return fail(chartError(err, root, r.chart))
	}
	all := &templates{texts: map[string]string{}, marked: markings(ctx, root, o)}
	for name, text := range r.chart.templates() {
		all.texts[r.chart.path(name)] = text
	}
	var w World
	for _, name := range slices.Sorted(maps.Keys(r.texts)) {
		text := []byte(separated(r.texts[name]))
		if path.Base(name) == "NOTES.txt" || len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		file := r.chart.path(name)
		w.Sources = append(w.Sources, manifest.Source{
			Path: file,
			// All of it is applied together, wherever in the chart it stands.
			Dir:    filepath.ToSlash(root.Abs),
			Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
			Origin: &templateOrigin{templates: all, name: name, file: file, text: string(text)},
		})
	}
	return w
}

// glued finds separators of documents that have content behind them: trimming
// actions take line ends away.
var glued = regexp.MustCompile(`(?m)^---[ \t]*([^#\s-])`)

// separated begins a line where Helm begins a document. kubectl, which never
// sees the text, would refuse it.
func separated(text string) string { return glued.ReplaceAllString(text, "---\n$1") }

// load does what Helm does before it renders.
func load(root manifest.Root, o Options) (*loaded, error) {
	c, err := loader.Load(root.Abs)
	if err != nil {
		return nil, err
	}
	if c.Metadata.Type == "library" {
		return nil, errLibraryChart
	}
	capabilities, err := o.capabilities()
	if err != nil {
		return nil, err
	}
	if want, have := c.Metadata.KubeVersion, capabilities.KubeVersion.String(); want != "" && !chartutil.IsCompatibleRange(want, have) {
		return nil, fmt.Errorf("the chart needs Kubernetes %s and is rendered for %s: give the version with --kube-version", want, have)
	}
	if missing := missingDependencies(c); len(missing) > 0 {
		return nil, fmt.Errorf("its dependencies are not in charts/: %s: run `helm dependency build` first", strings.Join(missing, ", "))
	}
	l := &loaded{Chart: c, shown: map[string]string{}}
	l.show(c, c.Name(), root.Path)
	if err := chartutil.ProcessDependencies(c, o.Values); err != nil {
		return nil, err
	}
	dropRemoteSchemas(c)
	l.values, err = commonutil.ToRenderValues(c, o.Values, common.ReleaseOptions{
		Name:      cmp.Or(o.ReleaseName, "release-name"),
		Namespace: cmp.Or(o.Namespace, "default"),
		Revision:  1,
		IsInstall: true,
	}, capabilities)
	return l, err
}

func missingDependencies(c *chart.Chart) []string {
	var missing []string
	for _, d := range c.Metadata.Dependencies {
		if !slices.ContainsFunc(c.Dependencies(), func(have *chart.Chart) bool { return have.Name() == d.Name }) {
			missing = append(missing, d.Name)
		}
	}
	return missing
}

// dropRemoteSchemas lets go of schemas of values that lie partly elsewhere:
// Helm would fetch the rest.
func dropRemoteSchemas(c *chart.Chart) {
	var schema any
	if json.Unmarshal(c.Schema, &schema) == nil && refersElsewhere(schema) {
		c.Schema = nil
	}
	for _, d := range c.Dependencies() {
		dropRemoteSchemas(d)
	}
}

func refersElsewhere(schema any) bool {
	switch s := schema.(type) {
	case []any:
		return slices.ContainsFunc(s, refersElsewhere)
	case map[string]any:
		for key, value := range s {
			ref, ok := value.(string)
			elsewhere := key == "$ref" && !strings.HasPrefix(ref, "#") || key == "$schema" && !strings.Contains(ref, "://json-schema.org/")
			if ok && elsewhere || refersElsewhere(value) {
				return true
			}
		}
	}
	return false
}

// show finds the folders that charts come from. The engine calls a chart by
// its name or alias, and a folder or archive may be called otherwise.
func (l *loaded) show(c *chart.Chart, name, folder string) {
	l.shown[name] = folder
	for _, d := range c.Dependencies() {
		below := path.Join(folder, "charts", d.Name())
		for _, f := range c.Raw {
			parts := strings.Split(f.Name, "/")
			switch {
			case parts[0] != "charts":
			case len(parts) == 3 && parts[2] == "Chart.yaml":
				var meta struct{ Name, Version string }
				if yaml.Unmarshal(f.Data, &meta) == nil && meta.Name == d.Name() && meta.Version == d.Metadata.Version {
					below = path.Join(folder, "charts", parts[1])
				}
			case len(parts) == 2 && parts[1] == d.Name()+"-"+d.Metadata.Version+".tgz":
				below = path.Join(folder, f.Name)
			}
		}
		l.show(d, name+"/charts/"+d.Name(), below)
		for _, as := range c.Metadata.Dependencies {
			if as.Name == d.Name() && as.Alias != "" {
				l.show(d, name+"/charts/"+as.Alias, below)
			}
		}
	}
}

// path is how a template is displayed that the engine calls by name.
func (l *loaded) path(name string) string {
	for at := 0; ; {
		i := strings.Index(name[at:], "/templates/")
		if i < 0 {
			return name
		}
		at += i
		if folder, ok := l.shown[name[:at]]; ok {
			return path.Join(folder, name[at:])
		}
		at++
	}
}

// templates are the texts of all templates, by the engine's names.
func (l *loaded) templates() map[string]string {
	texts := map[string]string{}
	for name, f := range l.files() {
		texts[name] = string(f.Data)
	}
	return texts
}

// files are all templates, by the engine's names. Two names may share one.
func (l *loaded) files() map[string]*common.File {
	files := map[string]*common.File{}
	var visit func(c *chart.Chart)
	visit = func(c *chart.Chart) {
		for _, f := range c.Templates {
			files[path.Join(c.ChartFullPath(), f.Name)] = f
		}
		for _, d := range c.Dependencies() {
			visit(d)
		}
	}
	visit(l.Chart)
	return files
}

var (
	// templateAt finds places as the engine writes them.
	templateAt = regexp.MustCompile(`([^\s()]+/templates/[^\s:()]+):(\d+)(?::(\d+))?`)
	// templateNoise is what the engine says besides the place and the reason.
	templateNoise = regexp.MustCompile(`(?s)^(?:parse error|execution error) at \([^)]*\): |^template: [^ ]+: |executing "[^"]*" at <.*?>:\s*`)
)

// chartError finds the template, line and column in what Helm says of why a
// chart can't be rendered. Of the templates that include each other, the
// innermost is named, where it went wrong.
func chartError(err error, root manifest.Root, c *loaded) manifest.Error {
	if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
		err = fmt.Errorf("%s: %w", oneLine(pathErr.Path, root), pathErr.Err)
	}
	e := manifest.Error{File: root.Path, Message: "can't be rendered: " + oneLine(err.Error(), root)}
	if filepath.Ext(root.Abs) != ".tgz" {
		e.File = path.Join(root.Path, "Chart.yaml")
	}
	if c == nil {
		return e
	}
	places := templateAt.FindAllStringSubmatchIndex(err.Error(), -1)
	if len(places) == 0 {
		return e
	}
	at := places[len(places)-1]
	text := err.Error()
	file := text[at[2]:at[3]]
	template, ok := c.templates()[file]
	if !ok {
		return e
	}
	e.File = c.path(file)
	e.Line, _ = strconv.Atoi(text[at[4]:at[5]])
	e.Column = 1
	if at[6] >= 0 {
		e.Column, _ = strconv.Atoi(text[at[6]:at[7]])
		lines := strings.Split(template, "\n")
		if e.Line <= len(lines) && e.Column <= len(lines[e.Line-1]) {
			e.Column = len([]rune(lines[e.Line-1][:e.Column])) + 1
		}
	}
	if last := text[at[1]:]; !strings.HasPrefix(last, ")") && strings.TrimSpace(last) != "" {
		text = strings.TrimPrefix(last, ":")
	}
	e.Message = "can't be rendered: " + oneLine(templateNoise.ReplaceAllString(strings.TrimSpace(text), ""), root)
	return e
}
