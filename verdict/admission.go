package verdict

import (
	"context"
	"fmt"
	"slices"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
)

// Operation is what a request does.
type Operation string

// The operations that are judged.
const (
	Create Operation = "CREATE"
	Update Operation = "UPDATE"
	Delete Operation = "DELETE"
)

// Request is one admission request for a Service or a StatefulSet. Of the four
// objects those are set that the operation has.
type Request struct {
	Operation                           Operation
	Namespace                           string
	Username                            string
	DryRun                              bool
	ServiceBefore, ServiceAfter         *inventory.Service
	StatefulSetBefore, StatefulSetAfter *inventory.StatefulSet
}

// Live reads the cluster itself, past any cache.
type Live interface {
	// Read returns everything in one namespace as it is now.
	Read(ctx context.Context, namespace string) (inventory.Reader, error)
	// PodsRun says whether pods of the StatefulSet's name are there already.
	PodsRun(ctx context.Context, set *inventory.StatefulSet) (bool, error)
}

// Admission is what becomes of a request.
type Admission struct {
	// Decisions are the findings, those that deny first. Without any of mode
	// Enforce the request is allowed.
	Decisions []Decision
	// Notes are warnings about labels and annotations.
	Notes []string
}

// Denied says whether some finding denies the request.
func (a *Admission) Denied() bool {
	return slices.ContainsFunc(a.Decisions, func(d Decision) bool { return d.Mode == config.Enforce })
}

// speaks says whether the user hears of some finding.
func (a *Admission) speaks() bool {
	return slices.ContainsFunc(a.Decisions, func(d Decision) bool { return d.Mode.AtLeast(config.Warn) })
}

// The users whose requests clean up. To hold them up would leave namespaces
// stuck.
var cleaners = []string{
	"system:serviceaccount:kube-system:namespace-controller",
	"system:serviceaccount:kube-system:generic-garbage-collector",
	"system:kube-controller-manager",
}

// LeavesAlone says whether the request is none of stsguard's business, by who
// sends it and by its namespace as the cache knows it.
func (j *Judge) LeavesAlone(req *Request, cache inventory.Reader) bool {
	if j.exempt(req.Namespace) || slices.Contains(j.config.Exemptions.Usernames, req.Username) || slices.Contains(cleaners, req.Username) {
		return true
	}
	if s := req.ServiceAfter; s != nil && s.Deleting {
		return true
	}
	if s := req.StatefulSetAfter; s != nil && s.Deleting {
		return true
	}
	ns := cache.Namespace(req.Namespace)
	return ns != nil && ns.Terminating
}

// Admit judges a request against what the cache knows. Nothing is said on the
// cache's word alone: before a denial or a warning everything is read live and
// judged again. An error means that it could not be judged, which is neither
// yes nor no; what only warns is worth no error.
func (j *Judge) Admit(ctx context.Context, req *Request, cache inventory.Reader, live Live) (*Admission, error) {
	if j.LeavesAlone(req, cache) {
		return &Admission{}, nil
	}
	a, err := j.admit(ctx, req, cache, cache)
	if err != nil || !a.speaks() {
		return a, err
	}
	fresh, err := live.Read(ctx, req.Namespace)
	switch {
	case err != nil && a.Denied():
		return nil, fmt.Errorf("read namespace %q before denying: %w", req.Namespace, err)
	case err != nil:
		return a, nil
	}
	if j.LeavesAlone(req, fresh) {
		return &Admission{}, nil
	}
	a, err = j.admit(ctx, req, fresh, cache)
	if err != nil || !a.Denied() {
		return a, err
	}
	if set := req.StatefulSetAfter; set != nil && req.Operation == Create {
		run, err := live.PodsRun(ctx, set)
		if err != nil {
			return nil, fmt.Errorf("look for pods of %s before denying: %w", set.Ref(), err)
		}
		if run {
			soften(a.Decisions, config.Warn, "its pods are already running, and need their StatefulSet back")
		}
	}
	return a, nil
}

// admit judges the difference that the request makes to the world. Namespaces
// of others are named, if at all, by what the cache knows.
func (j *Judge) admit(ctx context.Context, req *Request, world, cache inventory.Reader) (*Admission, error) {
	before, after := req.sides(world)
	l := j.levels(world.Namespace(req.Namespace))
	a := &Admission{Notes: l.invalid}
	var all []Decision

	if req.Operation != Delete {
		for _, set := range req.touched(before, after) {
			decided, err := j.admitRelation(ctx, req, set, before, after, cache, l)
			if err != nil {
				return nil, err
			}
			all = append(all, decided...)
		}
		if req.ServiceAfter != nil {
			decided, err := j.admitService(ctx, req, before, after, l)
			if err != nil {
				return nil, err
			}
			all = append(all, decided...)
			a.Notes = append(a.Notes, j.unknownIgnores(&req.ServiceAfter.Meta)...)
		}
		if req.StatefulSetAfter != nil {
			a.Notes = append(a.Notes, j.unknownIgnores(&req.StatefulSetAfter.Meta)...)
		}
	}
	decided, err := j.admitChange(ctx, req, before, l)
	if err != nil {
		return nil, err
	}
	all = append(all, decided...)

	if slices.Contains(j.config.Controllers.Usernames, req.Username) {
		soften(all, j.config.Controllers.Mode, req.Username+" is a controller")
	}
	if owner := req.controller(); owner != "" {
		soften(all, j.config.Controllers.Mode, owner+" manages it")
	}
	a.Decisions = slices.DeleteFunc(settle(all), func(d Decision) bool { return d.Skipped || d.Mode == config.Off })
	slices.SortStableFunc(a.Decisions, func(x, y Decision) int { return y.Mode.Compare(x.Mode) })
	return a, nil
}

// sides are the world without what the request does, and with it.
func (r *Request) sides(world inventory.Reader) (before, after inventory.Reader) {
	b, a := inventory.NewOverlay(world), inventory.NewOverlay(world)
	if s := r.ServiceAfter; s != nil {
		b.RemoveService(s.Namespace, s.Name)
		a.PutService(s)
	}
	if s := r.ServiceBefore; s != nil {
		b.PutService(s)
		if r.Operation == Delete {
			a.RemoveService(s.Namespace, s.Name)
		}
	}
	if s := r.StatefulSetAfter; s != nil {
		b.RemoveStatefulSet(s.Namespace, s.Name)
		a.PutStatefulSet(s)
	}
	if s := r.StatefulSetBefore; s != nil {
		b.PutStatefulSet(s)
	}
	return b, a
}

// touched are the StatefulSets, as they are after the request, whose relation
// it can change.
func (r *Request) touched(before, after inventory.Reader) []*inventory.StatefulSet {
	if r.StatefulSetAfter != nil {
		return []*inventory.StatefulSet{r.StatefulSetAfter}
	}
	out := inventory.TouchedBy(after, r.ServiceAfter)
	if r.ServiceBefore != nil {
		for _, set := range inventory.TouchedBy(before, r.ServiceBefore) {
			if !slices.Contains(out, set) {
				out = append(out, set)
			}
		}
	}
	return out
}

// controller is the managing owner of the object under admission.
func (r *Request) controller() string {
	switch {
	case r.ServiceAfter != nil:
		return r.ServiceAfter.Controller
	case r.ServiceBefore != nil:
		return r.ServiceBefore.Controller
	case r.StatefulSetAfter != nil:
		return r.StatefulSetAfter.Controller
	}
	return ""
}

func (j *Judge) admitRelation(ctx context.Context, req *Request, set *inventory.StatefulSet, before, after, cache inventory.Reader, l levels) ([]Decision, error) {
	now := inventory.Relate(after, set)
	if j.config.RevealOtherNamespaces {
		now.Elsewhere = inventory.Elsewhere(cache, set)
	}
	in, err := j.relation(ctx, now)
	if err != nil || len(in.findings) == 0 {
		return nil, err
	}
	excused, err := j.wrongBefore(ctx, req, now, before)
	if err != nil {
		return nil, err
	}
	decided := j.decide(in, l)
	for i := range decided {
		d := decided[i : i+1]
		if excused[concernOf(&d[0].Finding)] {
			soften(d, config.Warn, "it was wrong before")
		}
		if req.DryRun && !(d[0].Rule.Alone && req.StatefulSetAfter != nil) {
			soften(d, j.config.DryRun.Mode, "in a dry-run the other object may not be stored yet")
		}
	}
	if set.Controller != "" {
		soften(decided, j.config.Controllers.Mode, set.Controller+" manages it")
	}
	return decided, nil
}

// concern is what a finding is about, so that another one about the same is
// not new.
type concern struct {
	set    inventory.Ref
	what   string
	object inventory.Ref
}

func concernOf(f *policies.Finding) concern {
	if f.Rule.Concern != "" {
		return concern{set: f.StatefulSet, what: f.Rule.Concern}
	}
	return concern{set: f.StatefulSet, what: "rule " + f.Rule.ID, object: f.Object}
}

// wrongBefore are the concerns about which the StatefulSet had a finding
// before the request.
func (j *Judge) wrongBefore(ctx context.Context, req *Request, now *inventory.Relation, before inventory.Reader) (map[concern]bool, error) {
	set := now.StatefulSet
	if req.StatefulSetAfter != nil {
		set = req.StatefulSetBefore
	}
	if set == nil {
		return nil, nil
	}
	was := inventory.Relate(before, set)
	in, err := j.relation(ctx, was)
	if err != nil {
		return nil, err
	}
	// That the Service was missing excuses nothing that it gets wrong when it
	// is created: this is the one moment when it costs nothing to get it right.
	created := req.Operation == Create && was.Governing == nil && now.Governing == req.ServiceAfter && req.ServiceAfter != nil
	out := map[concern]bool{}
	for i := range in.findings {
		f := &in.findings[i]
		if !(created && f.Rule.Concern != "") {
			out[concernOf(f)] = true
		}
	}
	return out, nil
}

// admitService judges the Service by itself.
func (j *Judge) admitService(ctx context.Context, req *Request, before, after inventory.Reader, l levels) ([]Decision, error) {
	in, err := j.service(ctx, &inventory.Governance{Service: req.ServiceAfter, StatefulSets: inventory.GovernedBy(after, req.ServiceAfter)})
	if err != nil || len(in.findings) == 0 {
		return nil, err
	}
	excused := map[concern]bool{}
	if s := req.ServiceBefore; s != nil {
		was, err := j.service(ctx, &inventory.Governance{Service: s, StatefulSets: inventory.GovernedBy(before, s)})
		if err != nil {
			return nil, err
		}
		for i := range was.findings {
			excused[concernOf(&was.findings[i])] = true
		}
	}
	decided := j.decide(in, l)
	for i := range decided {
		d := decided[i : i+1]
		if excused[concernOf(&d[0].Finding)] {
			soften(d, config.Warn, "it was wrong before")
		}
		if req.DryRun && !d[0].Rule.Alone {
			soften(d, j.config.DryRun.Mode, "in a dry-run the other object may not be stored yet")
		}
	}
	return decided, nil
}

// admitChange judges what the request does, which is always new.
func (j *Judge) admitChange(ctx context.Context, req *Request, before inventory.Reader, l levels) ([]Decision, error) {
	c := &inventory.Change{
		ServiceBefore: req.ServiceBefore, ServiceAfter: req.ServiceAfter,
		StatefulSetBefore: req.StatefulSetBefore, StatefulSetAfter: req.StatefulSetAfter,
	}
	if req.ServiceBefore != nil {
		c.StatefulSets = inventory.GovernedBy(before, req.ServiceBefore)
	}
	findings, err := j.engine.Change(ctx, c)
	if err != nil || len(findings) == 0 {
		return nil, err
	}
	in := judgement{findings: findings, service: req.ServiceBefore}
	decided := j.decide(in, l)
	if req.DryRun {
		soften(decided, j.config.DryRun.Mode, "in a dry-run the other object may not be stored yet")
	}
	return decided, nil
}

// Injection is what the mutating webhook does to a Service.
type Injection struct {
	Patch []policies.PatchOp
	// Finding is what the patch mends.
	Finding policies.Finding
}

// Inject applies the rules' own fixes to a Service that is being created; nil
// where there is nothing to do. What the cache suggests is read live before it
// is done, since a cluster IP can't be changed afterwards.
func (j *Judge) Inject(ctx context.Context, req *Request, cache inventory.Reader, live Live) (*Injection, error) {
	if req.Operation != Create || req.ServiceAfter == nil || j.LeavesAlone(req, cache) {
		return nil, nil
	}
	in, err := j.inject(ctx, req, cache)
	if err != nil || in == nil {
		return nil, err
	}
	fresh, err := live.Read(ctx, req.Namespace)
	if err != nil {
		return nil, fmt.Errorf("read namespace %q before a change: %w", req.Namespace, err)
	}
	if j.LeavesAlone(req, fresh) {
		return nil, nil
	}
	return j.inject(ctx, req, fresh)
}

func (j *Judge) inject(ctx context.Context, req *Request, world inventory.Reader) (*Injection, error) {
	_, after := req.sides(world)
	g := &inventory.Governance{Service: req.ServiceAfter, StatefulSets: inventory.GovernedBy(after, req.ServiceAfter)}
	in, err := j.service(ctx, g)
	if err != nil {
		return nil, err
	}
	l := j.levels(world.Namespace(req.Namespace))
	objects := []*inventory.Meta{&g.Service.Meta}
	for _, set := range g.StatefulSets {
		objects = append(objects, &set.Meta)
	}
	for _, f := range in.findings {
		if f.Fix == nil || !f.Fix.Inject || f.Object != g.Service.Ref() || j.config.Rules[f.Rule.ID].Mode == config.Off {
			continue
		}
		if _, ok := j.excuse(f.Rule, objects, nil); ok {
			continue
		}
		if id := f.Rule.YieldsTo; id != "" {
			// The fix is for the sake of the rule that says more; where that
			// one has no say, nothing is changed.
			main := j.engine.Catalog.Rule(id)
			if _, ok := j.excuse(main, objects, nil); ok || !j.mode(main, l).AtLeast(config.Warn) {
				continue
			}
		}
		return &Injection{Patch: f.Fix.Patch, Finding: f}, nil
	}
	return nil, nil
}
