package manifest

import (
	"bytes"
	"cmp"
	gojson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	goyaml "go.yaml.in/yaml/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory"
)

// document is one YAML document or JSON value.
type document struct {
	file *file
	// data is nil once it was decoded: start and end say where it was in the
	// file's text, and sum whether it still is there.
	data       []byte
	start, end int
	sum        uint64
	// line and column are where data begins in the file.
	line, column int
	json         bool
	plain        bool   // see looked
	kind         string // see looked
	quick        bool   // the quick reader was sure of it
	// typed is what it was read into, while it is decoded, if it is of its kind's
	// shape.
	typed any
	// begin is where its first key stands in the file, if it is quick.
	begin Location

	objects []*object
	errors  []Error

	parsed
}

// object is one Service, StatefulSet or other workload.
type object struct {
	document   *document
	pointer    string // its place in the document
	apiVersion string
	service    *inventory.Service
	set        *inventory.StatefulSet
	workload   *inventory.Workload
}

const (
	// maxExpanded is how large a document may become when the aliases in it
	// are written out. What the API server takes is smaller.
	maxExpanded = 16 << 20
	// maxDepth is how deep it may become by that; without aliases, the parser
	// allows the same.
	maxDepth = 10_000
	// maxNesting is how deep Lists may stand within each other.
	maxNesting = 16
	// maxErrors is how many errors are told of one object or document.
	maxErrors = 10
)

// apiVersions are those whose Services and StatefulSets count; the first of
// each is the one to use.
var apiVersions = map[string][]string{
	string(inventory.KindService):     {"v1"},
	string(inventory.KindStatefulSet): {"apps/v1", "apps/v1beta2", "apps/v1beta1"},
}

// workloads are the kinds of what else makes pods, with the groups they are in.
// What versions of an API they have makes no difference.
var workloads = map[string][]string{
	"Pod":                   {""},
	"ReplicationController": {""},
	"Deployment":            {"apps", "extensions"},
	"DaemonSet":             {"apps", "extensions"},
	"ReplicaSet":            {"apps", "extensions"},
	"Job":                   {"batch"},
	"CronJob":               {"batch"},
}

// wanted says whether a document of the kind may hold an object that counts.
func wanted(kind string) bool {
	return apiVersions[kind] != nil || workloads[kind] != nil || isList(kind)
}

func isList(kind string) bool { return strings.HasSuffix(kind, "List") }

func (d *document) decode() {
	if d.json {
		d.decodeObject(d.withoutDuplicates(), "", "", "", 0)
	} else if !d.decodeQuick(d.kind) && !d.decodeQuick("") {
		d.decodeYAML()
	}
}

// decodeQuick reads it without the YAML library, if it is of the kind's shape, or
// if no kind is given. It says false if it isn't sure.
func (d *document) decodeQuick(kind string) bool {
	r := quickReaders.Get().(*quickReader)
	defer quickReaders.Put(r)
	to, typed := slotOf(kind)
	data, h, ok := r.json(d.data, to)
	if !ok {
		return false
	}
	if is, _ := text(h.Kind); typed != nil && is != kind {
		return false
	}
	d.quick, d.typed = true, typed
	m, width := quickStart(d.data)
	d.begin = d.region(m.line, m.column, width)
	d.decodeHead(h, data, "", "", "", 0)
	d.typed = nil
	return true
}

// decodeYAML has the YAML library read it.
func (d *document) decodeYAML() {
	data, ok := d.toJSON()
	if !ok {
		return
	}
	if !d.plain {
		d.checkTrailing()
	}
	d.decodeObject(data, "", "", "", 0)
}

// withoutDuplicates complains about keys given twice in JSON, and leaves the
// last of each, which is what counts.
func (d *document) withoutDuplicates() []byte {
	var value any
	strict, err := json.UnmarshalStrict(d.data, &value, json.DisallowDuplicateFields)
	if err != nil || len(strict) == 0 {
		return d.data
	}
	d.failAll(d.tree().duplicates(maxErrors))
	data, err := gojson.Marshal(value)
	if err != nil {
		return d.data
	}
	return data
}

// toJSON converts YAML with kubectl's values: of a key given twice, which is
// an error, the last. It says false, having told why, if that can't be done.
func (d *document) toJSON() ([]byte, bool) {
	if hasName(d.data, '*') && hasName(d.data, '&') {
		if _, err := convert(d.data, expand); err != nil {
			d.failYAML(err)
			return nil, false
		}
	}
	data, err := convert(d.data, yaml.YAMLToJSONStrict)
	if err == nil {
		return data, true
	}
	if strings.Contains(err.Error(), "already set in map") {
		// A key given in place of a merged one is no duplicate.
		found := d.tree().duplicates(maxErrors)
		if len(found) > 0 || bytes.Contains(d.data, []byte("<<")) {
			d.failAll(found)
			if data, err = convert(d.data, yaml.YAMLToJSON); err == nil {
				return data, true
			}
		}
	}
	d.failYAML(err)
	return nil, false
}

// hasName says whether the sign stands before what could be a name, as those
// of all anchors and aliases do, and much else does too.
func hasName(data []byte, sign byte) bool {
	for {
		i := bytes.IndexByte(data, sign)
		if i < 0 || i+1 == len(data) {
			return false
		}
		data = data[i+1:]
		if c := data[0]; isLetter(c) || c >= '0' && c <= '9' || c == '_' || c == '-' {
			return true
		}
	}
}

// expand refuses YAML that its aliases would make so large or so deep that it
// exhausts memory or stack. Of the parser's own limit, on the number of nodes,
// a long text that is repeated knows nothing.
func expand(data []byte) ([]byte, error) {
	var value any
	if err := goyaml.Unmarshal(data, &value); err != nil {
		return nil, err
	}
	size := 0
	var measure func(v any, depth int)
	measure = func(v any, depth int) {
		size++
		if depth > maxDepth {
			size = maxExpanded + 1
		}
		if size > maxExpanded {
			return
		}
		switch v := v.(type) {
		case string:
			size += len(v)
		case []any:
			for _, item := range v {
				measure(item, depth+1)
			}
		case map[any]any:
			for key, item := range v {
				measure(key, depth+1)
				measure(item, depth+1)
			}
		}
	}
	measure(value, 0)
	if size > maxExpanded {
		return nil, fmt.Errorf("aliases expand it to more than %d MiB or %d levels", maxExpanded>>20, maxDepth)
	}
	return nil, nil
}

// convert doesn't let a panic of the YAML library on hostile input out.
func convert(data []byte, f func([]byte) ([]byte, error)) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("yaml: parser failed: %v", r)
		}
	}()
	if !bytes.HasSuffix(data, []byte("\n")) {
		// kubectl's reader ends every line, which a block scalar can tell.
		data = append(bytes.Clone(data), '\n')
	}
	return f(data)
}

// checkTrailing complains about what follows the document's end without a
// separator: kubectl drops it without a word.
func (d *document) checkTrailing() {
	if t := d.tree(); t.err == nil && t.trailing != nil {
		d.errors = append(d.errors, d.at(t.trailing.line, t.trailing.column,
			"the document ends before this line, and kubectl ignores the rest (indent it alike, or put --- before it)"))
	}
}

// head is what an object says of itself at its root.
type head struct {
	APIVersion gojson.RawMessage `json:"apiVersion"`
	Kind       gojson.RawMessage `json:"kind"`
	Items      gojson.RawMessage `json:"items"`
}

func (h *head) set(key []byte, value gojson.RawMessage) {
	switch string(key) {
	case "apiVersion":
		h.APIVersion = value
	case "kind":
		h.Kind = value
	case "items":
		h.Items = value
	}
}

// text returns the string that a JSON value is, empty if it is none. It is
// absent if it is null or not there.
func text(value gojson.RawMessage) (s string, absent bool) {
	if len(value) == 0 || string(value) == "null" {
		return "", true
	}
	if end := len(value) - 1; value[0] == '"' && bytes.IndexByte(value, '\\') < 0 && utf8.Valid(value) {
		return string(value[1:end]), false // as nearly all are
	}
	if json.UnmarshalCaseSensitivePreserveInts(value, &s) != nil {
		return "", false
	}
	return s, false
}

// decodeObject reads one object, and those in it if it is a list.
func (d *document) decodeObject(data []byte, pointer, apiVersion, kind string, depth int) {
	var h head
	if bytes.HasPrefix(data, []byte("{")) && json.UnmarshalCaseSensitivePreserveInts(data, &h) == nil {
		d.decodeHead(h, data, pointer, apiVersion, kind, depth)
	}
}

// decodeHead reads an object that has the head. The kind and apiVersion of the
// list that it is in are its own where it has none.
func (d *document) decodeHead(h head, data []byte, pointer, apiVersion, kind string, depth int) {
	if k, absent := text(h.Kind); k != "" {
		if k != kind {
			kind, apiVersion = k, ""
		}
	} else if !absent && string(h.Kind) != `""` {
		return
	}
	version, noVersion := text(h.APIVersion)
	if version != "" {
		apiVersion = version
	}
	if isList(kind) {
		d.decodeItems(h.Items, pointer, apiVersion, strings.TrimSuffix(kind, "List"), depth)
		return
	}
	versions := apiVersions[kind]
	group, _, grouped := strings.Cut(apiVersion, "/")
	switch {
	case workloads[kind] != nil:
		if !grouped {
			group = ""
		}
		if slices.Contains(workloads[kind], group) {
			d.decodeWorkload(data, pointer, apiVersion, kind)
		}
	case versions == nil:
	case slices.Contains(versions, apiVersion):
		d.decodeWanted(data, pointer, apiVersion, kind)
	case apiVersion == "" && noVersion:
		d.fail(pointer, "apiVersion is missing")
	case apiVersion == "":
		d.fail(pointer+"/apiVersion", fmt.Sprintf("apiVersion: must be %s", versions[0]))
	case !grouped || group == "apps":
		d.fail(pointer+"/apiVersion", fmt.Sprintf("apiVersion: %s has no %s, %s has", apiVersion, kind, versions[0]))
	}
}

func (d *document) decodeItems(data []byte, pointer, apiVersion, kind string, depth int) {
	if len(data) == 0 {
		return
	}
	if depth == maxNesting {
		d.fail(pointer, fmt.Sprintf("lists stand more than %d deep in each other", maxNesting))
		return
	}
	if kind == "" {
		apiVersion = "" // v1 is that of a List, not of its items
	}
	var items []gojson.RawMessage
	if err := json.UnmarshalCaseSensitivePreserveInts(data, &items); err != nil {
		if kind == "" || wanted(kind) {
			d.failAll(mistakes(reflect.TypeFor[[]gojson.RawMessage](), data, pointer+"/items"))
		}
		return
	}
	for i, item := range items {
		d.decodeObject(item, pointer+"/items/"+strconv.Itoa(i), apiVersion, kind, depth+1)
	}
}

func (d *document) decodeWanted(data []byte, pointer, apiVersion, kind string) {
	o := &object{document: d, pointer: pointer, apiVersion: apiVersion}
	typed := d.typed
	if typed == nil {
		if typed = new(appsv1.StatefulSet); kind == string(inventory.KindService) {
			typed = new(corev1.Service)
		}
		if err := json.UnmarshalCaseSensitivePreserveInts(data, typed); err != nil {
			found := mistakes(reflect.TypeOf(typed), data, pointer)
			if len(found) == 0 {
				found = []problem{{pointer: pointer, message: strings.TrimPrefix(err.Error(), "json: ")}}
			}
			d.failAll(found)
			return
		}
	}
	ok := false
	named := func(name *string, generateName string) bool {
		*name = cmp.Or(*name, generateName)
		return *name != ""
	}
	switch t := typed.(type) {
	case *inventory.ServiceJSON:
		ok, o.service = named(&t.Metadata.Name, t.Metadata.GenerateName), t.Service()
	case *inventory.StatefulSetJSON:
		ok, o.set = named(&t.Metadata.Name, t.Metadata.GenerateName), t.StatefulSet()
	case *corev1.Service:
		ok, o.service = named(&t.Name, t.GenerateName), inventory.FromService(t)
	case *appsv1.StatefulSet:
		ok, o.set = named(&t.Name, t.GenerateName), inventory.FromStatefulSet(t)
	}
	if !ok {
		d.fail(pointer+"/metadata/name", "metadata.name is missing")
		return
	}
	d.objects = append(d.objects, o)
}

// workloadJSON is what is read of a workload, whatever its kind.
type workloadJSON struct {
	Metadata metaJSON `json:"metadata"`
	Spec     struct {
		Template    templateJSON `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template templateJSON `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
}

type templateJSON struct {
	Metadata metaJSON `json:"metadata"`
}

type metaJSON struct {
	Namespace    string            `json:"namespace"`
	Name         string            `json:"name"`
	GenerateName string            `json:"generateName"`
	Labels       map[string]string `json:"labels"`
}

// decodeWorkload reads which labels the pods have. Whatever else is wrong with
// it is not for this program to say.
func (d *document) decodeWorkload(data []byte, pointer, apiVersion, kind string) {
	w, ok := d.typed.(*workloadJSON)
	if !ok {
		w = new(workloadJSON)
		if json.UnmarshalCaseSensitivePreserveInts(data, w) != nil {
			return
		}
	}
	labels := w.Spec.Template.Metadata.Labels
	switch kind {
	case "Pod":
		labels = w.Metadata.Labels
	case "CronJob":
		labels = w.Spec.JobTemplate.Spec.Template.Metadata.Labels
	}
	d.objects = append(d.objects, &object{document: d, pointer: pointer, apiVersion: apiVersion, workload: &inventory.Workload{
		Meta:      inventory.Meta{Namespace: w.Metadata.Namespace, Name: cmp.Or(w.Metadata.Name, w.Metadata.GenerateName)},
		Kind:      inventory.Kind(kind),
		PodLabels: labels,
	}})
}

// problem is an error at a place in a document: at a field, or where line says.
type problem struct {
	pointer      string
	line, column int
	message      string
}

func (d *document) failAll(problems []problem) {
	for i, p := range problems {
		if i == maxErrors {
			return
		}
		if p.line > 0 {
			d.errors = append(d.errors, d.at(p.line, p.column, p.message))
		} else {
			d.fail(p.pointer, p.message)
		}
	}
}

func (d *document) fail(pointer, message string) {
	d.errors = append(d.errors, d.file.errorAt(d.find(pointer), pointer, message))
}

// at is an error at a line and column of the document, not of the file.
func (d *document) at(line, column int, message string) Error {
	l := Location{File: d.file.Path}
	l.Line, l.Column = d.position(line, column)
	return d.file.errorAt(l, "", message)
}

// position is a line and column of the document in its file.
func (d *document) position(line, column int) (int, int) {
	if d.json && line == 1 {
		column += d.column - 1
	}
	return d.line + line - 1, column
}

// errorAt is an error at a place in the file's text. Where that was rendered,
// who looks for it needs to know both places.
func (f *file) errorAt(l Location, pointer, message string) Error {
	if f.Origin != nil {
		message = fmt.Sprintf("%s (in line %d of what it renders to)", message, l.Line)
		l = f.Origin.Locate(l, pointer)
	}
	return Error{File: l.File, Line: l.Line, Column: l.Column, Message: message}
}

// failYAML tells why the document can't be converted. Of the two parsers, the
// one that the values come from says no column, and sometimes no line.
func (d *document) failYAML(err error) {
	line, column, message := 0, 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := v2Line.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[2])
		message = m[3]
	}
	t := d.tree()
	if t.err != nil {
		var l syntaxError
		if errors.As(t.err, &l) {
			line, column, message = l.line, l.column, l.message
		}
	} else if p := t.unconvertible(); p != nil {
		d.failAll([]problem{*p})
		return
	} else if line == 0 {
		d.fail("", "not valid YAML: "+message)
		return
	}
	switch text := t.line(max(line, 1)); {
	case column > 0 && column <= len(text) && text[column-1] == '\t' && len(bytes.TrimLeft(text[:column], " \t")) == 0:
		message = "a tab can't indent, use spaces"
	case bytes.Contains(d.data, []byte("{{")):
		message += " (if this is a template, render it first)"
	}
	d.errors = append(d.errors, d.at(max(line, 1), max(column, 1), "not valid YAML: "+message))
}

var v2Line = regexp.MustCompile(`(?s)^(unmarshal errors:\s*)?line (\d+): (.*)$`)
