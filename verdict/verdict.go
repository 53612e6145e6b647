// Package verdict decides what becomes of findings: configuration, namespace
// levels, exceptions, what was wrong before, who asks, and whether it is a
// dry-run. It is the one place where that is decided, for every face.
package verdict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/parallel"
	"github.com/stsguard/stsguard/policies"
)

// Decision is a finding and what becomes of it.
type Decision struct {
	policies.Finding
	// Related are the other objects that the finding is about.
	Related []inventory.Ref
	Mode    config.Mode
	// Skipped says that the finding is excused: it counts for nothing and
	// shows in reports only.
	Skipped bool
	// Annotated says that it is skipped by the word of an annotation.
	Annotated bool
	// Reason says why it is skipped, or why it is milder than its rule.
	Reason string
	// Also are the other StatefulSets of which the same was said: of what is
	// wrong with a Service, each time that one of its StatefulSets is judged.
	Also []inventory.Ref
	// RepeatedBy is the rule that says the same, for which it is skipped.
	RepeatedBy string
	// Stands says that something is to be mended: nobody excused it, though
	// another finding may say the same.
	Stands bool
	// governs says that a Service was judged that governs StatefulSets.
	governs bool
	// asked is the mode that configuration and namespace ask for, before
	// anything softened it; own says that the rule's own configuration does.
	asked config.Mode
	own   bool
}

// outweighs says whether d has the greater consequences.
func (d *Decision) outweighs(other *Decision) bool {
	if d.Skipped != other.Skipped {
		return other.Skipped
	}
	return d.Mode.Compare(other.Mode) > 0
}

// off says whether nobody asked for the finding.
func (d *Decision) off() bool { return d.asked == config.Off }

// Judge applies one configuration to what the rules find. It is safe for
// concurrent use.
type Judge struct {
	engine *policies.Engine
	config *config.Configuration
	// advice says that the configuration gives a rule that advises a mode, and
	// so has it heard of in admission.
	advice bool
	// own is the namespace that stsguard runs in, which it leaves alone.
	own   string
	clock func() time.Time
}

// New gives the rules the configuration's parameters. The clock decides which
// exceptions have expired. Nothing in the namespace own is judged; it may be
// empty.
func New(rules *policies.Rules, c *config.Configuration, own string, clock func() time.Time) *Judge {
	parameters := policies.Parameters{}
	advice := false
	for id, r := range c.Rules {
		parameters[id] = r.Parameters
		rule := rules.Catalog.Rule(id)
		advice = advice || rule != nil && rule.Level == policies.Advice && r.Mode != "" && r.Mode != config.Off
	}
	return &Judge{engine: rules.Engine(parameters), config: c, advice: advice, own: own, clock: clock}
}

// Catalog is every rule.
func (j *Judge) Catalog() policies.Catalog { return j.engine.Catalog }

// Notes are what the user should know of the configuration itself: the
// exceptions that count no more.
func (j *Judge) Notes() []string {
	return j.config.Notes(j.clock())
}

// levels are what a namespace asks for.
type levels struct {
	enforce, warn, audit policies.Level
	// labelled says which of them the namespace's own label gives.
	labelled map[config.Mode]bool
	// invalid names the labels whose value counts as strict for want of a
	// valid one.
	invalid []string
}

// The labels of a Namespace.
const (
	labelEnforce = inventory.AnnotationPrefix + "enforce"
	labelWarn    = inventory.AnnotationPrefix + "warn"
	labelAudit   = inventory.AnnotationPrefix + "audit"
)

func (j *Judge) levels(ns *inventory.Namespace) levels {
	d := j.config.Defaults
	l := levels{enforce: d.Enforce, warn: d.Warn, audit: d.Audit, labelled: map[config.Mode]bool{}}
	if ns == nil {
		return l
	}
	for _, x := range []struct {
		label string
		mode  config.Mode
		level *policies.Level
	}{{labelEnforce, config.Enforce, &l.enforce}, {labelWarn, config.Warn, &l.warn}, {labelAudit, config.Audit, &l.audit}} {
		value, ok := ns.Labels[x.label]
		if !ok {
			continue
		}
		l.labelled[x.mode] = true
		*x.level = policies.Level(value)
		if !config.ValidLevel(*x.level) {
			*x.level = policies.Strict
			l.invalid = append(l.invalid, fmt.Sprintf("the label %s of namespace %q is %q, which is not none, baseline or strict, and counts as strict", x.label, ns.Name, value))
		}
	}
	return l
}

// heard is what is left of a mode where the namespace wants to hear of less.
func (l levels) heard(m config.Mode) config.Mode {
	if m == config.Warn && l.warn == config.None {
		m = config.Audit
	}
	if m == config.Audit && l.audit == config.None {
		m = config.Off
	}
	return m
}

// mode is what the configuration and the namespace make of a rule. A
// namespace's own "none" beats the rule's mode, and that beats the levels;
// advice never denies.
func (j *Judge) mode(r *policies.Rule, l levels) config.Mode {
	m := j.config.Rules[r.ID].Mode
	if m == "" {
		switch {
		case l.enforce.Includes(r.Level):
			m = config.Enforce
		case l.warn.Includes(r.Level):
			m = config.Warn
		case l.audit.Includes(r.Level):
			m = config.Audit
		default:
			m = config.Off
		}
	}
	if r.Level == policies.Advice && !l.enforce.Includes(policies.Advice) {
		m = m.AtMost(config.Warn)
	}
	if m == config.Enforce && l.labelled[config.Enforce] && l.enforce == config.None {
		m = config.Warn
	}
	if m == config.Warn && l.labelled[config.Warn] && l.warn == config.None {
		m = config.Audit
	}
	if m == config.Audit && l.labelled[config.Audit] && l.audit == config.None {
		m = config.Off
	}
	return m
}

// Exempts says whether nothing in the namespace is judged.
func (j *Judge) Exempts(namespace string) bool {
	return namespace == j.own && j.own != "" || slices.Contains(j.config.Exemptions.Namespaces, namespace)
}

// excuse looks for an exception or an annotation that lets findings of the
// rule pass. An exception matches the finding's object or its StatefulSet; an
// annotation counts on the governing Service too.
func (j *Judge) excuse(r *policies.Rule, objects, others []*inventory.Meta) (reason string, annotated, ok bool) {
	for _, e := range j.config.Exceptions {
		if e.Rule != r.ID || e.Expired(j.clock()) {
			continue
		}
		for _, m := range objects {
			if m.Name == e.Name && (e.Namespace == "" || e.Namespace == m.Namespace) {
				return e.Reason, false, true
			}
		}
	}
	if !j.config.AllowIgnoreAnnotations {
		return "", false, false
	}
	for _, m := range slices.Concat(objects, others) {
		if slices.Contains(ignored(m), r.ID) {
			return cmp.Or(m.Annotations[annotationIgnoreReason], "no reason given in "+annotationIgnoreReason), true, true
		}
	}
	return "", false, false
}

// The annotations of a Service or a StatefulSet.
const (
	annotationIgnore       = inventory.AnnotationPrefix + "ignore"
	annotationIgnoreReason = inventory.AnnotationPrefix + "ignore-reason"
)

func ignored(m *inventory.Meta) []string {
	return strings.FieldsFunc(m.Annotations[annotationIgnore], func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// unknownIgnores says which of the annotation's ids are of no rule.
func (j *Judge) unknownIgnores(m *inventory.Meta) []string {
	var out []string
	for _, id := range ignored(m) {
		if j.engine.Catalog.Rule(id) == nil {
			out = append(out, fmt.Sprintf("the annotation %s of %q names %q, which is not a rule", annotationIgnore, m.Name, id))
		}
	}
	return out
}

// judgement is the findings about one StatefulSet, or about one Service and
// those that it governs.
type judgement struct {
	findings []policies.Finding
	// set is the StatefulSet whose relation was judged, with its governing
	// Service and the others that select its pods.
	set     *inventory.StatefulSet
	service *inventory.Service
	related []*inventory.Service
	// governed are the StatefulSets of a Service that was judged.
	governed []*inventory.StatefulSet
}

func (j *Judge) relation(ctx context.Context, rel *inventory.Relation, extent policies.Extent) (judgement, error) {
	findings, err := j.engine.Relation(ctx, rel, extent)
	return judgement{findings: findings, set: rel.StatefulSet, service: rel.Governing, related: rel.Services}, err
}

func (j *Judge) service(ctx context.Context, g *inventory.Governance, extent policies.Extent) (judgement, error) {
	findings, err := j.engine.Service(ctx, g, extent)
	return judgement{findings: findings, service: g.Service, governed: g.StatefulSets}, err
}

// controller is who manages what was judged: the StatefulSet, or the Service,
// or every StatefulSet that the Service governs.
func (in *judgement) controller() string {
	if in.set != nil {
		return in.set.Controller
	}
	if in.service != nil && in.service.Controller != "" {
		return in.service.Controller
	}
	if len(in.governed) == 0 || slices.ContainsFunc(in.governed, func(s *inventory.StatefulSet) bool { return s.Controller == "" }) {
		return ""
	}
	return in.governed[0].Controller
}

// decide applies configuration, exceptions and annotations to each finding.
func (j *Judge) decide(in judgement, l levels) []Decision {
	out := make([]Decision, 0, len(in.findings))
	for _, f := range in.findings {
		d := Decision{Finding: f, Mode: j.mode(f.Rule, l), governs: len(in.governed) > 0, own: j.config.Rules[f.Rule.ID].Mode != ""}
		d.asked = d.Mode
		var objects, others []*inventory.Meta
		see := func(ref inventory.Ref, m *inventory.Meta, counts bool) {
			if ref != f.Object {
				d.Related = append(d.Related, ref)
			}
			if counts || ref == f.Object {
				objects = append(objects, m)
			} else {
				others = append(others, m)
			}
		}
		if in.set != nil {
			see(in.set.Ref(), &in.set.Meta, true)
		}
		if in.service != nil {
			see(in.service.Ref(), &in.service.Meta, false)
		}
		for _, s := range in.related {
			if s.Ref() == f.Object {
				see(f.Object, &s.Meta, true)
			}
		}
		if f.AtMostWarn && d.Mode == config.Enforce {
			d.Mode, d.Reason = l.heard(config.Warn), "it rests on a Service that does not exist"
		}
		reason, annotated, ok := j.excuse(f.Rule, objects, others)
		if !ok {
			reason, annotated, ok = j.excuseGoverned(f.Rule, in.governed)
		}
		if ok {
			d.Skipped, d.Annotated, d.Reason = true, annotated, reason
		}
		d.Stands = !d.Skipped
		out = append(out, d)
	}
	if owner := in.controller(); owner != "" {
		l.soften(out, j.config.Controllers.Mode, owner+" manages it")
	}
	return out
}

// excuseGoverned looks for what lets every StatefulSet that a Service governs
// pass.
func (j *Judge) excuseGoverned(r *policies.Rule, governed []*inventory.StatefulSet) (reason string, annotated, ok bool) {
	for _, set := range governed {
		if reason, annotated, ok = j.excuse(r, []*inventory.Meta{&set.Meta}, nil); !ok {
			return "", false, false
		}
	}
	return reason, annotated, ok
}

// settle lets go of findings that follow one which is not there, that repeat
// one, or that say again what another rule says.
func settle(all []Decision) []Decision {
	type about struct {
		what string
		ref  inventory.Ref
	}
	concerns, said := map[about]bool{}, map[about]Decision{}
	for _, d := range all {
		// A finding that was only softened is still there.
		counts := !d.Skipped && !d.off()
		if counts {
			concerns[about{d.Rule.Concern, d.StatefulSet}] = true
		}
		for _, ref := range d.Related {
			if key := (about{d.Rule.ID, ref}); counts || said[key].Rule == nil {
				said[key] = d
			}
		}
	}
	type statement struct {
		rule    string
		object  inventory.Ref
		path    string
		message string
	}
	told := map[statement]int{}
	out := all[:0]
	for _, d := range all {
		if d.Rule.Follows != "" && !concerns[about{d.Rule.Follows, d.StatefulSet}] {
			continue
		}
		if id := d.Rule.YieldsTo; id != "" {
			switch main := said[about{id, d.Object}]; {
			case main.Rule == nil && d.governs:
				// The rule that has the say found nothing to say.
				continue
			case main.Rule == nil:
			case d.own && d.asked.Compare(main.asked) > 0:
				// Somebody wants to hear more of this one.
			case main.Skipped:
				d.Skipped, d.Reason, d.RepeatedBy, d.Stands = true, main.Reason, id, false
			case main.off():
				d.Mode = config.Off
			default:
				d.Skipped, d.Reason, d.RepeatedBy = true, id+" says it already", id
			}
		}
		// What is wrong with a Service comes up for each StatefulSet again. One
		// that is excused doesn't speak for the others.
		s := statement{d.Rule.ID, d.Object, d.Path, d.Message}
		if i, ok := told[s]; ok {
			kept, other := &out[i], d
			if d.outweighs(kept) {
				*kept, other = d, *kept
			}
			if kept.Skipped == other.Skipped && other.StatefulSet != "" {
				kept.Also = append(append(kept.Also, other.Also...), other.StatefulSet)
			}
			continue
		}
		told[s] = len(out)
		out = append(out, d)
	}
	return out
}

// Report is what there is to say of a whole world.
type Report struct {
	// Decisions are sorted by object.
	Decisions []Decision
	// Judged are the StatefulSets that were judged, sorted by namespace.
	Judged []inventory.Ref
	// Notes are warnings about annotations and exemptions.
	Notes []Note
	// Errors are what could not be judged; all else was.
	Errors []error
}

// Note is a warning that is no finding.
type Note struct {
	// Object is what it is about, empty if that is no single one.
	Object  inventory.Ref
	Message string
}

// Levels are what a run asks for itself, whatever the configuration and the
// labels of namespaces say; an empty one asks for nothing of its own.
type Levels struct {
	// Enforce is the level whose findings fail, Warn the one whose findings
	// show besides. Advice counts as any other level here.
	Enforce, Warn policies.Level
}

// over puts what the run asks for in place of what the namespace does. Nobody
// reads a log of the run.
func (asked Levels) over(l levels) levels {
	l.audit = config.None
	delete(l.labelled, config.Audit)
	if asked.Enforce != "" {
		l.enforce, l.labelled[config.Enforce] = asked.Enforce, asked.Enforce == config.None
	}
	if asked.Warn != "" {
		l.warn, l.labelled[config.Warn] = asked.Warn, false
	}
	return l
}

// extent is which rules are asked before anything was sent to an API server.
func (j *Judge) extent(asked Levels) policies.Extent {
	return policies.Extent{
		Advice:  j.advice || asked.Enforce.Includes(policies.Advice) || asked.Warn.Includes(policies.Advice),
		Refused: true,
	}
}

// Modes says what becomes of each rule's findings, by its id, unless a namespace
// says otherwise or something softens them.
func (j *Judge) Modes(asked Levels) map[string]config.Mode {
	modes := map[string]config.Mode{}
	for _, rule := range j.engine.Catalog {
		modes[rule.ID] = j.mode(rule, asked.over(j.levels(nil)))
	}
	return modes
}

// patience is how many evaluations of one report may be stopped for want of an
// end before the rest isn't tried.
const patience = 3

var errGaveUp = fmt.Errorf("%d evaluations had to be stopped, so the rest was not judged", patience)

// Report judges everything in the world.
func (j *Judge) Report(ctx context.Context, r inventory.Reader, asked Levels) *Report {
	out := &Report{}
	extent := j.extent(asked)
	judging, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	namespaces := r.Namespaces()
	slices.Sort(namespaces)
	// In a fixed order: of findings that repeat each other, one is kept.
	var all []*judged
	for _, ns := range namespaces {
		if j.Exempts(ns) {
			out.Notes = append(out.Notes, Note{Message: fmt.Sprintf("nothing in namespace %q is judged: the configuration exempts it", ns)})
			continue
		}
		l := asked.over(j.levels(r.Namespace(ns)))
		for _, message := range l.invalid {
			out.Notes = append(out.Notes, Note{Message: message})
		}
		first := len(all)
		for _, set := range r.StatefulSets(ns) {
			if !set.Deleting {
				all = append(all, &judged{ref: set.Ref(), meta: &set.Meta, levels: l, set: true, judge: func() (judgement, error) {
					rel := inventory.Relate(r, set)
					rel.Elsewhere = inventory.Elsewhere(r, set)
					return j.relation(judging, rel, extent)
				}})
			}
		}
		sortByRef(all[first:])
		first = len(all)
		for _, s := range r.Services(ns) {
			if !s.Deleting {
				all = append(all, &judged{ref: s.Ref(), meta: &s.Meta, levels: l, judge: func() (judgement, error) {
					return j.service(judging, inventory.Govern(r, s), extent)
				}})
			}
		}
		sortByRef(all[first:])
	}
	var overdue atomic.Int64
	parallel.Do(judging, len(all), func(i int) {
		x := all[i]
		in, err := x.judge()
		switch {
		case err == nil:
			x.decisions, x.done = j.decide(in, x.levels), true
		case errors.Is(err, policies.ErrOverdue):
			// Others may have been stopped meanwhile, on other cores.
			n := overdue.Add(1)
			if n <= patience {
				x.err = err
			}
			if n == patience {
				giveUp(errGaveUp)
			}
		case judging.Err() == nil:
			x.err = err
		}
	})
	for _, x := range all {
		switch {
		case x.err != nil:
			out.Errors = append(out.Errors, x.err)
		case x.done:
			for _, text := range j.unknownIgnores(x.meta) {
				out.Notes = append(out.Notes, Note{Object: x.ref, Message: text})
			}
			out.Decisions = append(out.Decisions, x.decisions...)
			if x.set {
				out.Judged = append(out.Judged, x.ref)
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		out.Errors = append(out.Errors, fmt.Errorf("judging was interrupted: %w", ctx.Err()))
	case judging.Err() != nil:
		out.Errors = append(out.Errors, errGaveUp)
	}
	out.Decisions = slices.DeleteFunc(settle(out.Decisions), func(d Decision) bool { return d.Mode == config.Off })
	slices.SortStableFunc(out.Decisions, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Rule.ID, b.Rule.ID), cmp.Compare(a.StatefulSet, b.StatefulSet))
	})
	slices.SortFunc(out.Notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message))
	})
	slices.SortFunc(out.Errors, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return out
}

// judged is one StatefulSet or Service while it is judged.
type judged struct {
	ref    inventory.Ref
	meta   *inventory.Meta
	levels levels
	// set says that it is a StatefulSet.
	set       bool
	judge     func() (judgement, error)
	decisions []Decision
	done      bool
	err       error
}

func sortByRef(list []*judged) {
	slices.SortFunc(list, func(a, b *judged) int { return cmp.Compare(a.ref, b.ref) })
}

// soften makes decisions no stronger than most.
func (l levels) soften(all []Decision, most config.Mode, reason string) {
	for i := range all {
		d := &all[i]
		if d.Mode.Compare(most) <= 0 {
			continue
		}
		d.Mode = l.heard(most)
		if !d.Skipped {
			d.Reason = reason
		}
	}
}
