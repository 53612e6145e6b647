package lint

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/inventory/render"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/report/verdicts"
	"github.com/stsguard/stsguard/verdict"
)

// FixOptions are what one run of [Fix] is about.
type FixOptions struct {
	// Paths are as in [Options].
	Paths     []string
	Reading   manifest.Options
	Rendering render.Options
	Judge     *verdict.Judge
	// CreateMissing adds Services that StatefulSets name and that nobody wrote.
	CreateMissing bool
}

// Fixes are what [Fix] would change, and what it leaves to a person.
type Fixes struct {
	// Files are sorted by path.
	Files []manifest.Edited
	// Applied are the findings that the new texts don't have any more, located
	// where they were.
	Applied []Mended
	// Hints are the findings that are still there, located where they were.
	Hints []Hint
	// Errors are what could not be read or judged, LeftOut what was
	// deliberately not read.
	Errors  []report.Error
	LeftOut []report.LeftOut
	// Notes are warnings about what the manifests say to stsguard.
	Notes []report.Note
	// Read counts the files that were.
	Read int
}

// Mended is a finding that was mended.
type Mended struct {
	report.Finding
	// Immutable says that the API server takes the change only while the object
	// doesn't exist.
	Immutable bool
}

// Hint is a finding that was not mended, and why, if there was a way.
type Hint struct {
	report.Finding
	Reason string
}

// maxRounds is how often the manifests are judged. Mending one thing may show
// another, seldom more than one.
const maxRounds = 20

// Fix mends what rules call safe to mend, in memory: it writes no file. What it
// changed is judged again. A fix counts only if its finding is gone then, and
// nothing new is found on what it edits.
func Fix(ctx context.Context, o FixOptions) *Fixes {
	found := manifest.Find(ctx, o.Paths, o.Reading)
	out := &Fixes{}
	out.fail(found.Errors)
	out.leave(found.LeftOut)
	for rendered := range render.Worlds(ctx, found, o.Rendering) {
		out.fail(rendered.Errors)
		out.leave(rendered.LeftOut)
		f := &fixer{FixOptions: o, sources: rendered.Sources, rendered: rendered.Path != "", texts: map[string]manifest.Edited{}, refused: map[string]string{}}
		f.fix(ctx, out)
	}
	out.Hints = once(out.Hints, func(h Hint) told { return sameFinding(h.Finding) })
	slices.SortStableFunc(out.Applied, func(a, b Mended) int { return order(&a.Finding, &b.Finding) })
	slices.SortStableFunc(out.Hints, func(a, b Hint) int { return order(&a.Finding, &b.Finding) })
	return out
}

func (out *Fixes) fail(errs []manifest.Error) {
	for _, e := range errs {
		out.Errors = append(out.Errors, report.Error(e))
	}
}

func (out *Fixes) leave(files []manifest.LeftOut) {
	for _, l := range files {
		out.LeftOut = append(out.LeftOut, report.LeftOut(l))
	}
}

// fix mends one world.
func (f *fixer) fix(ctx context.Context, out *Fixes) {
	w := f.read(ctx)
	first := w
	f.incomplete = len(out.Errors)+len(w.set.Errors) > 0
	out.Read += w.set.Files
	out.fail(w.set.Errors)
	for _, err := range w.judged.Errors {
		out.Errors = append(out.Errors, report.Error{Message: err.Error()})
	}
	for _, n := range w.judged.Notes {
		out.Notes = append(out.Notes, report.Note{Location: report.Location(w.set.Locate(n.Object, "/metadata/annotations")), Message: n.Message})
	}
	for range maxRounds {
		batch := f.safe(w)
		// What is rendered isn't added to, and the hint must not promise that.
		if len(batch) == 0 && (f.CreateMissing || f.rendered) {
			batch = f.missing(w)
		}
		if len(batch) == 0 || ctx.Err() != nil {
			break
		}
		after, applied := f.apply(ctx, w, batch)
		if after == nil {
			continue
		}
		for _, p := range applied {
			out.Applied = append(out.Applied, Mended{finding(w.set, p.decision, f.namespace()), p.immutable()})
		}
		w = after
	}
	for _, path := range slices.Sorted(maps.Keys(f.texts)) {
		out.Files = append(out.Files, f.texts[path])
	}
	out.Hints = append(out.Hints, f.hints(w, first)...)
}

func order(a, b *report.Finding) int {
	return cmp.Or(
		cmp.Compare(a.Location.File, b.Location.File), cmp.Compare(a.Location.Line, b.Location.Line),
		cmp.Compare(a.Location.Column, b.Location.Column), cmp.Compare(a.Rule, b.Rule),
	)
}

type fixer struct {
	FixOptions
	sources []manifest.Source
	// rendered says that the sources are not what somebody wrote.
	rendered bool
	// texts are the files that are changed so far, by path.
	texts map[string]manifest.Edited
	// refused says of fixes why they can't be applied, by their decision's key.
	refused map[string]string
	// incomplete says that something could not be read.
	incomplete bool
}

func (f *fixer) namespace() string { return cmp.Or(f.Reading.Namespace, "default") }

// world is what was read and judged in one round.
type world struct {
	set      *manifest.Set
	judged   *verdict.Report
	services map[inventory.Ref]*inventory.Service
	sets     map[inventory.Ref]*inventory.StatefulSet
	// names are what objects are called in every round: a Ref changes when an
	// object is added, but not how many of a name stood before it in its file.
	names map[inventory.Ref]string
	refs  map[string]inventory.Ref
	// keys are the decisions by theirs.
	keys map[string]*verdict.Decision
}

func (f *fixer) read(ctx context.Context) *world {
	w := &world{
		set:      manifest.Read(ctx, f.sources, f.Reading),
		services: map[inventory.Ref]*inventory.Service{}, sets: map[inventory.Ref]*inventory.StatefulSet{},
		names: map[inventory.Ref]string{}, refs: map[string]inventory.Ref{}, keys: map[string]*verdict.Decision{},
	}
	w.judged = f.Judge.Report(ctx, w.set.Store, verdict.Levels{Enforce: policies.Strict, Warn: policies.Strict})
	for _, s := range w.set.Services {
		w.services[s.Ref()] = s
		w.name(s.Ref(), s.Place.File)
	}
	for _, s := range w.set.StatefulSets {
		w.sets[s.Ref()] = s
		w.name(s.Ref(), s.Place.File)
	}
	for i := range w.judged.Decisions {
		d := &w.judged.Decisions[i]
		w.keys[w.key(d)] = d
	}
	return w
}

func (w *world) name(ref inventory.Ref, file string) {
	kind, namespace, name := ref.Split()
	for n := 1; w.names[ref] == ""; n++ {
		s := fmt.Sprintf("%s %s/%s %d %s", kind, namespace, name, n, file)
		if _, taken := w.refs[s]; !taken {
			w.names[ref], w.refs[s] = s, ref
		}
	}
}

// key tells a decision from others, in every round.
func (w *world) key(d *verdict.Decision) string {
	return fmt.Sprintf("%s %s %s %s", d.Rule.ID, w.names[d.Object], w.names[d.StatefulSet], d.Path)
}

// counts says whether somebody should mend what was found.
func counts(d *verdict.Decision) bool { return d.Stands && d.Rule.Level != policies.Advice }

// proposal is a fix that may be applied.
type proposal struct {
	decision *verdict.Decision
	key      string
	edit     manifest.Edit
}

// immutable says whether it changes what the API server lets nobody change.
func (p *proposal) immutable() bool {
	return slices.ContainsFunc(p.edit.Fields, func(f manifest.Field) bool {
		return f.Pointer == "/spec/clusterIP" || f.Pointer == "/spec/serviceName"
	})
}

// proposals are the fixes of a world that nothing speaks against so far.
func (f *fixer) proposals(w *world, wanted func(*policies.Fix) bool) []proposal {
	var out []proposal
	for i := range w.judged.Decisions {
		d := &w.judged.Decisions[i]
		key := w.key(d)
		switch {
		case !counts(d) || d.Fix == nil || !wanted(d.Fix) || f.refused[key] != "":
		case f.rendered:
			at := w.set.Locate(cmp.Or(d.Fix.Object, d.Object), patched(d))
			f.refused[key] = fmt.Sprintf("It is rendered from %s:%d: mend it there by hand, or in the values or patches that go into it.", at.File, at.Line)
		case f.incomplete && lacksService(w, d):
			f.refused[key] = "Not everything could be read, and the Service may stand in the rest."
		default:
			out = append(out, proposal{d, key, manifest.Edit{Object: cmp.Or(d.Fix.Object, d.Object)}})
		}
	}
	return out
}

// patched is the field that the decision's fix would change.
func patched(d *verdict.Decision) string {
	if len(d.Fix.Patch) > 0 {
		return d.Fix.Patch[0].Path
	}
	return d.Path
}

// lacksService says whether the decision is about a StatefulSet that names a
// Service which is not there.
func lacksService(w *world, d *verdict.Decision) bool {
	set := w.sets[d.StatefulSet]
	return set != nil && set.ServiceName != "" && inventory.Relate(w.set.Store, set).Governing == nil
}

// safe are the patches that rules call safe.
func (f *fixer) safe(w *world) []proposal {
	type field struct {
		object inventory.Ref
		path   string
	}
	values := map[field]any{}
	conflicts := map[field]bool{}
	all := f.proposals(w, func(fix *policies.Fix) bool { return fix.Safe && len(fix.Patch) > 0 })
	for _, p := range all {
		for _, op := range p.decision.Fix.Patch {
			at := field{p.edit.Object, op.Path}
			if v, ok := values[at]; ok && v != op.Value {
				conflicts[at] = true
			}
			values[at] = op.Value
		}
	}
	var out []proposal
	for _, p := range all {
		reason := elsewhere(w, p.edit.Object)
		for _, op := range p.decision.Fix.Patch {
			value, ok := op.Value.(string)
			switch {
			case !ok || op.Op != "add" && op.Op != "replace":
				reason = "stsguard can't write such a change to a manifest."
			case conflicts[field{p.edit.Object, op.Path}]:
				reason = "Another finding asks for another value in the same place."
			}
			p.edit.Fields = append(p.edit.Fields, manifest.Field{Pointer: op.Path, Value: value})
		}
		if reason != "" {
			f.refused[p.key] = reason
			continue
		}
		out = append(out, p)
	}
	return out
}

// elsewhere says why it isn't certain that a Service is the one which its
// StatefulSets mean.
func elsewhere(w *world, ref inventory.Ref) string {
	service := w.services[ref]
	if service == nil {
		return ""
	}
	for _, set := range inventory.GovernedBy(w.set.Store, service) {
		switch rel := inventory.Relate(w.set.Store, set); {
		case len(rel.Candidates) > 1:
			return fmt.Sprintf("Service %q is there more than once, and any of them may be meant.", service.Name)
		case !inventory.Visible(set, service):
			return fmt.Sprintf("Service %q stands in %s, apart from StatefulSet %q, and may be meant for others.", service.Name, service.Place.File, set.Name)
		}
	}
	return ""
}

// missing are the Services to be created, each once where several StatefulSets
// of one place name it.
func (f *fixer) missing(w *world) []proposal {
	sees := func(a, b *inventory.StatefulSet) bool {
		return inventory.Visible(a, &inventory.Service{Meta: b.Meta}) || inventory.Visible(b, &inventory.Service{Meta: a.Meta})
	}
	var out []proposal
	for _, p := range f.proposals(w, func(fix *policies.Fix) bool { return fix.Create != nil }) {
		set := w.sets[p.edit.Object]
		p.edit.Before = verdicts.Finding(p.decision, f.namespace()).Fix.Create
		reason, covered := "", false
		switch rel := inventory.Relate(w.set.Store, set); {
		case len(rel.NearMisses) > 0 || len(inventory.Elsewhere(w.set.Store, set)) > 0:
			reason = "Another Service may have been meant, so none is created."
		case len(validation.IsDNS1123Label(set.ServiceName)) > 0:
			reason = fmt.Sprintf("%q can't be the name of a Service.", set.ServiceName)
		}
		for i := range out {
			other := &out[i]
			o := w.sets[other.edit.Object]
			if o.Namespace != set.Namespace || o.ServiceName != set.ServiceName || !sees(o, set) {
				continue
			}
			covered = true
			if !sameObject(other.edit.Before, p.edit.Before) {
				reason = fmt.Sprintf("StatefulSet %q and %q name the same Service, and no one Service fits both.", o.Name, set.Name)
				f.refused[other.key] = reason
			}
		}
		switch {
		case reason != "":
			f.refused[p.key] = reason
		case !covered:
			out = append(out, p)
		}
	}
	return slices.DeleteFunc(out, func(p proposal) bool { return f.refused[p.key] != "" })
}

func sameObject(a, b map[string]any) bool { return verdict.Manifest(a) == verdict.Manifest(b) }

// apply writes the fixes and judges what comes of it. If one of them isn't
// right, it is refused, and so is all of this world: nil is returned.
func (f *fixer) apply(ctx context.Context, w *world, batch []proposal) (*world, []proposal) {
	edits := make([]manifest.Edit, len(batch))
	for i, p := range batch {
		edits[i] = p.edit
	}
	files, refused := w.set.Edit(edits)
	var applied []proposal
	for i, p := range batch {
		if refused[i] != nil {
			f.refused[p.key] = notEdited(p.edit.Object, refused[i])
			continue
		}
		applied = append(applied, p)
	}
	if len(files) == 0 {
		for _, p := range applied {
			f.refused[p.key] = "The manifest says so already."
		}
		return nil, nil
	}
	next := *f
	next.sources, next.texts = slices.Clone(f.sources), maps.Clone(f.texts)
	for _, e := range files {
		if before, ok := next.texts[e.Source.Path]; ok {
			e.Before = before.Before
		}
		i := slices.IndexFunc(next.sources, func(s manifest.Source) bool { return s.Path == e.Source.Path })
		next.sources[i].Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(e.After)), nil }
		next.texts[e.Source.Path] = e
	}
	after := next.read(ctx)
	if ctx.Err() != nil {
		return nil, nil // half a world proves nothing
	}
	found := map[string]*verdict.Decision{}
	for i := range after.judged.Decisions {
		d := &after.judged.Decisions[i]
		if name := after.names[d.Object]; counts(d) && w.keys[after.key(d)] == nil && found[name] == nil {
			found[name] = d
		}
	}
	right := true
	for _, p := range applied {
		if reason := spoils(w, after, found, p); reason != "" {
			f.refused[p.key], right = reason, false
		}
	}
	if !right {
		return nil, nil
	}
	f.sources, f.texts = next.sources, next.texts
	return after, applied
}

// notEdited makes a sentence of why an object wasn't. Its place is left out:
// other edits may move it.
func notEdited(ref inventory.Ref, err error) string {
	reason := err.Error()
	var e manifest.Error
	if errors.As(err, &e) {
		reason = e.Message
	}
	kind, _, name := ref.Split()
	return fmt.Sprintf("%s %q is not edited: %s.", kind, name, reason)
}

// spoils says why a fix is not as good as its rule thought: its finding is still
// there, what it edits is among what something new was found on, or a Service
// leads elsewhere now.
func spoils(before, after *world, found map[string]*verdict.Decision, p proposal) string {
	name := before.names[p.edit.Object]
	switch d := found[name]; {
	case after.keys[p.key] != nil:
		return "Mending it as the rule proposes would not be enough."
	case d != nil:
		return fmt.Sprintf("Mending it as the rule proposes would lead to another finding: %s [%s].", d.Headline(), d.Rule.ID)
	}
	if before.sets[p.edit.Object] != nil {
		return replaces(before, after, before.sets[p.edit.Object], after.sets[after.refs[name]])
	}
	was, is := before.services[p.edit.Object], after.services[after.refs[name]]
	same := func(a, b inventory.Selected) bool { return a.Kind == b.Kind && a.Name == b.Name }
	if !slices.EqualFunc(inventory.Govern(before.set.Store, was).Others, inventory.Govern(after.set.Store, is).Others, same) {
		return fmt.Sprintf("Service %q would select the pods of others than before.", was.Name)
	}
	return ""
}

// replaces says why the Service that governs a StatefulSet now should not do so
// in place of the one that did: a Service that leads to others, too, may be for
// something that they do together.
func replaces(before, after *world, was, is *inventory.StatefulSet) string {
	old, governing := inventory.Relate(before.set.Store, was).Governing, inventory.Relate(after.set.Store, is).Governing
	if old == nil || governing == nil || old.Name == governing.Name {
		return ""
	}
	for _, other := range inventory.Govern(after.set.Store, governing).Others {
		return fmt.Sprintf("Service %q also selects the pods of %s %q, and may be meant for something else.", governing.Name, other.Kind, other.Name)
	}
	return ""
}

// hints are the findings that are left, located where they were before. Where
// the way to mend one stands with a finding that repeats it, so does the reason
// why that wasn't done.
func (f *fixer) hints(w, before *world) []Hint {
	type about struct {
		rule string
		ref  inventory.Ref
	}
	reasons := map[about]string{}
	for key, d := range w.keys {
		if d.RepeatedBy != "" && counts(d) {
			_, details, _ := strings.Cut(d.Message, "\n")
			reasons[about{d.RepeatedBy, d.Object}] = cmp.Or(f.refused[key], details)
		}
	}
	var out []Hint
	for i := range w.judged.Decisions {
		d := &w.judged.Decisions[i]
		if !counts(d) || d.Skipped {
			continue
		}
		reason := f.refused[w.key(d)]
		for _, ref := range d.Related {
			if r := reasons[about{d.Rule.ID, ref}]; reason == "" && !strings.Contains(d.Message, r) {
				reason = r
			}
		}
		h := Hint{finding(w.set, d, f.namespace()), reason}
		if was := before.keys[w.key(d)]; was != nil {
			h.Location = finding(before.set, was, f.namespace()).Location
		}
		out = append(out, h)
	}
	return out
}
