package verdict

import (
	"context"
	"fmt"
	"slices"
	"sync"

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
	Operation Operation
	Namespace string
	Username  string
	DryRun    bool
	// Preflight says that the request was not sent yet: nothing has validated
	// it, and what is excused is told as well.
	Preflight bool
	// Levels are what whoever asks beforehand wants to hear.
	Levels                              Levels
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
	return slices.ContainsFunc(a.Decisions, Decision.denies)
}

// deniesLike says whether both deny for the same.
func (a *Admission) deniesLike(other *Admission) bool {
	return slices.EqualFunc(a.denials(), other.denials(), func(x, y Decision) bool {
		return x.Rule == y.Rule && x.Object == y.Object && x.StatefulSet == y.StatefulSet && x.Path == y.Path && x.Message == y.Message
	})
}

// denials are the findings that deny the request.
func (a *Admission) denials() []Decision {
	var out []Decision
	for _, d := range a.Decisions {
		if d.denies() {
			out = append(out, d)
		}
	}
	return out
}

func (d Decision) denies() bool { return !d.Skipped && d.Mode == config.Enforce }

// speaks says whether the user hears of some finding.
func (a *Admission) speaks() bool {
	return slices.ContainsFunc(a.Decisions, func(d Decision) bool { return !d.Skipped && d.Mode.AtLeast(config.Warn) })
}

// extent is which rules are asked.
func (r *Request) extent(j *Judge) policies.Extent {
	if r.Preflight {
		return j.extent(r.Levels)
	}
	return policies.Extent{Advice: j.advice}
}

// levels are what the request's namespace asks for, or whoever asks beforehand.
func (r *Request) levels(j *Judge, world inventory.Reader) levels {
	l := j.levels(world.Namespace(r.Namespace))
	if r.Preflight {
		l = r.Levels.over(l)
	}
	return l
}

// mightDeny says whether some finding would deny if the cache were wrong about
// what softens it. What softens it in the request itself stays as it is.
func (j *Judge) mightDeny(req *Request, a *Admission) bool {
	most := config.Enforce
	if req.controller() != "" || slices.Contains(j.config.Controllers.Usernames, req.Username) {
		most = j.config.Controllers.Mode
	}
	return slices.ContainsFunc(a.Decisions, func(d Decision) bool {
		mode := d.asked.AtMost(most)
		if req.DryRun && !req.alone(&d) {
			mode = mode.AtMost(j.config.DryRun.Mode)
		}
		return mode == config.Enforce
	})
}

// alone says whether the finding rests on the object under admission and on
// nothing else. One about a StatefulSet rests on that, too, when the request is
// for a Service.
func (r *Request) alone(d *Decision) bool {
	return d.Rule.Alone && (d.StatefulSet == "" || r.StatefulSetAfter != nil)
}

// The users without whom a cluster doesn't work: those who clean up, since to hold
// them up would leave namespaces stuck, and the API server itself, which makes the
// Service kubernetes.
var system = []string{
	"system:apiserver",
	"system:kube-controller-manager",
	"system:serviceaccount:kube-system:generic-garbage-collector",
	"system:serviceaccount:kube-system:namespace-controller",
}

// LeftAlone are the namespaces and the users whose requests are not judged,
// whatever they are for.
func (j *Judge) LeftAlone() (namespaces, usernames []string) {
	namespaces = slices.Clone(j.config.Exemptions.Namespaces)
	if j.own != "" {
		namespaces = append(namespaces, j.own)
	}
	return namespaces, slices.Concat(system, j.config.Exemptions.Usernames)
}

// leavesAlone says whether the request is none of stsguard's business, by who
// sends it and by its namespace as the cache knows it.
func (j *Judge) leavesAlone(req *Request, cache inventory.Reader) bool {
	if j.Exempts(req.Namespace) || slices.Contains(j.config.Exemptions.Usernames, req.Username) || slices.Contains(system, req.Username) {
		return true
	}
	if s := req.ServiceAfter; s != nil && s.Deleting {
		return true
	}
	if s := req.StatefulSetAfter; s != nil && s.Deleting {
		return true
	}
	if s := req.ServiceBefore; s != nil && s.Deleting && req.Operation == Delete {
		return true
	}
	ns := cache.Namespace(req.Namespace)
	return ns != nil && ns.Terminating
}

// Admit judges a request against what the cache knows. Nothing is said on the
// cache's word alone: before a denial or a warning everything is read live and
// judged again, and so it is where the cache doesn't know the namespace yet and
// what it asks for. One reading takes several requests, and what these return
// may never have been there at the same moment. What two in a row find was, and
// only that denies. An error means that it could not be judged, which is
// neither yes nor no. What no namespace and no configuration asks to deny is
// worth no error: then the cache's word stands.
func (j *Judge) Admit(ctx context.Context, req *Request, cache inventory.Reader, live Live) (*Admission, error) {
	if j.leavesAlone(req, cache) {
		return &Admission{}, nil
	}
	known := cache.Namespace(req.Namespace) != nil
	a, err := j.admit(ctx, req, cache, cache)
	if err != nil || known && !a.speaks() && len(a.Notes) == 0 {
		return a, err
	}
	var fresh inventory.Reader
	var last *Admission
	for {
		fresh, err = live.Read(ctx, req.Namespace)
		switch {
		case err != nil && (j.mightDeny(req, a) || !known):
			return nil, fmt.Errorf("read namespace %q to make sure: %w", req.Namespace, err)
		case err != nil:
			return a, nil
		}
		if j.leavesAlone(req, fresh) {
			return &Admission{}, nil
		}
		a, err = j.admit(ctx, req, fresh, cache)
		if err != nil || !a.Denied() {
			return a, err
		}
		if last != nil && a.deniesLike(last) {
			break
		}
		last = a
	}
	if set := req.StatefulSetAfter; set != nil && req.Operation == Create {
		run, err := live.PodsRun(ctx, set)
		if err != nil {
			return nil, fmt.Errorf("look for pods of %s before denying: %w", set.Ref(), err)
		}
		if run {
			l := req.levels(j, fresh)
			l.soften(a.Decisions, config.Warn, "its pods are already running, and need their StatefulSet back")
		}
	}
	return a, nil
}

// admit judges the difference that the request makes to the world. Namespaces
// of others are named, if at all, by what the cache knows.
func (j *Judge) admit(ctx context.Context, req *Request, world, cache inventory.Reader) (*Admission, error) {
	after := req.after(world)
	// Most requests have no findings, and what was before is of no interest.
	before := sync.OnceValue(func() inventory.Reader { return req.before(world) })
	l := req.levels(j, world)
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
		l.soften(all, j.config.Controllers.Mode, req.Username+" is a controller")
	}
	if owner := req.controller(); owner != "" {
		l.soften(all, j.config.Controllers.Mode, owner+" manages it")
	}
	for i := range all {
		// The API server asks nobody. Whoever wants nothing to fail hears of it.
		if d := &all[i]; d.Rule.Refused && !d.off() && req.Levels.Enforce != config.None {
			d.Mode, d.Reason = config.Enforce, ""
		}
	}
	a.Decisions = slices.DeleteFunc(settle(all), func(d Decision) bool { return d.Skipped && !req.Preflight || d.Mode == config.Off })
	slices.SortStableFunc(a.Decisions, func(x, y Decision) int { return y.Mode.Compare(x.Mode) })
	return a, nil
}

// after is the world with what the request does.
func (r *Request) after(world inventory.Reader) inventory.Reader {
	o := inventory.NewOverlay(world)
	switch {
	case r.ServiceAfter != nil:
		o.PutService(r.ServiceAfter)
	case r.StatefulSetAfter != nil:
		o.PutStatefulSet(r.StatefulSetAfter)
	case r.ServiceBefore != nil:
		o.RemoveService(r.ServiceBefore.Namespace, r.ServiceBefore.Name)
	}
	return o
}

// before is the world without it, whatever the cache has heard already.
func (r *Request) before(world inventory.Reader) inventory.Reader {
	o := inventory.NewOverlay(world)
	switch {
	case r.ServiceBefore != nil:
		o.PutService(r.ServiceBefore)
	case r.StatefulSetBefore != nil:
		o.PutStatefulSet(r.StatefulSetBefore)
	case r.ServiceAfter != nil:
		o.RemoveService(r.ServiceAfter.Namespace, r.ServiceAfter.Name)
	case r.StatefulSetAfter != nil:
		o.RemoveStatefulSet(r.StatefulSetAfter.Namespace, r.StatefulSetAfter.Name)
	}
	return o
}

// touched are the StatefulSets, as they are after the request, whose relation
// it can change.
func (r *Request) touched(before func() inventory.Reader, after inventory.Reader) []*inventory.StatefulSet {
	if r.StatefulSetAfter != nil {
		return []*inventory.StatefulSet{r.StatefulSetAfter}
	}
	out := inventory.TouchedBy(after, r.ServiceAfter)
	if r.ServiceBefore != nil {
		for _, set := range inventory.TouchedBy(before(), r.ServiceBefore) {
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

func (j *Judge) admitRelation(ctx context.Context, req *Request, set *inventory.StatefulSet, before func() inventory.Reader, after, cache inventory.Reader, l levels) ([]Decision, error) {
	now := inventory.Relate(after, set)
	if j.config.RevealOtherNamespaces {
		now.Elsewhere = inventory.Elsewhere(cache, set)
	}
	in, err := j.relation(ctx, now, req.extent(j))
	if err != nil || len(in.findings) == 0 {
		return nil, err
	}
	wrong, err := j.wrongBefore(ctx, req, now, before(), l)
	if err != nil {
		return nil, err
	}
	decided := j.decide(in, l)
	j.compare(req, decided, wrong, l)
	return decided, nil
}

// compare softens what is not new, and what a dry-run can't be sure of.
func (j *Judge) compare(req *Request, decided []Decision, wrong concerns, l levels) {
	for i := range decided {
		d := decided[i : i+1]
		if wrong.had(&d[0].Finding) {
			l.soften(d, config.Warn, "it was wrong before")
		}
		if req.DryRun && !req.alone(&d[0]) {
			l.soften(d, j.config.DryRun.Mode, "in a dry-run the other object may not be stored yet")
		}
	}
}

// concern is what a finding is about, so that another one about the same is
// not new.
type concern struct {
	set    inventory.Ref
	what   string
	object inventory.Ref
}

type concerns map[concern]bool

// add takes a decision about the state before into account. One that is
// excused stands for its own rule alone, and one that is off for nothing:
// whoever waives one thing has not waived all that goes with it.
func (c concerns) add(d *Decision) {
	switch {
	case d.off():
	case d.Skipped || d.Rule.Concern == "":
		c[ownConcern(&d.Finding)] = true
	default:
		c[concern{set: d.StatefulSet, what: d.Rule.Concern}] = true
	}
}

// had says whether there was a finding of the same concern.
func (c concerns) had(f *policies.Finding) bool {
	return c[ownConcern(f)] || f.Rule.Concern != "" && c[concern{set: f.StatefulSet, what: f.Rule.Concern}]
}

// ownConcern is that of a rule which declares none, for each object.
func ownConcern(f *policies.Finding) concern {
	return concern{set: f.StatefulSet, what: "rule " + f.Rule.ID, object: f.Object}
}

// wrongBefore are the concerns about which the StatefulSet had a finding
// before the request.
func (j *Judge) wrongBefore(ctx context.Context, req *Request, now *inventory.Relation, before inventory.Reader, l levels) (concerns, error) {
	set := now.StatefulSet
	if req.StatefulSetAfter != nil {
		set = req.StatefulSetBefore
	}
	if set == nil {
		return nil, nil
	}
	was := inventory.Relate(before, set)
	in, err := j.relation(ctx, was, req.extent(j))
	if err != nil {
		return nil, err
	}
	// That the Service was missing excuses nothing that it gets wrong when it
	// is created: this is the one moment when it costs nothing to get it right.
	created := req.Operation == Create && was.Governing == nil && now.Governing == req.ServiceAfter && req.ServiceAfter != nil
	out := concerns{}
	for _, d := range j.decide(in, l) {
		if !(created && d.Rule.Concern != "") {
			out.add(&d)
		}
	}
	return out, nil
}

// admitService judges the Service by itself.
func (j *Judge) admitService(ctx context.Context, req *Request, before func() inventory.Reader, after inventory.Reader, l levels) ([]Decision, error) {
	in, err := j.service(ctx, &inventory.Governance{Service: req.ServiceAfter, StatefulSets: inventory.GovernedBy(after, req.ServiceAfter)}, req.extent(j))
	if err != nil || len(in.findings) == 0 {
		return nil, err
	}
	wrong := concerns{}
	if s := req.ServiceBefore; s != nil {
		was, err := j.service(ctx, &inventory.Governance{Service: s, StatefulSets: inventory.GovernedBy(before(), s)}, req.extent(j))
		if err != nil {
			return nil, err
		}
		for _, d := range j.decide(was, l) {
			wrong.add(&d)
		}
	}
	decided := j.decide(in, l)
	j.compare(req, decided, wrong, l)
	return decided, nil
}

// admitChange judges what the request does, which is always new.
func (j *Judge) admitChange(ctx context.Context, req *Request, before func() inventory.Reader, l levels) ([]Decision, error) {
	c := &inventory.Change{
		ServiceBefore: req.ServiceBefore, ServiceAfter: req.ServiceAfter,
		StatefulSetBefore: req.StatefulSetBefore, StatefulSetAfter: req.StatefulSetAfter,
	}
	if req.ServiceBefore != nil {
		c.StatefulSets = inventory.GovernedBy(before(), req.ServiceBefore)
	}
	findings, err := j.engine.Change(ctx, c, req.extent(j))
	if err != nil || len(findings) == 0 {
		return nil, err
	}
	decided := j.decide(judgement{findings: findings, service: req.ServiceBefore, governed: c.StatefulSets}, l)
	if req.DryRun {
		l.soften(decided, j.config.DryRun.Mode, "in a dry-run the other object may not be stored yet")
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
	if req.Operation != Create || req.ServiceAfter == nil || j.leavesAlone(req, cache) {
		return nil, nil
	}
	if slices.Contains(j.config.Controllers.Usernames, req.Username) && !j.config.Controllers.Mode.AtLeast(config.Warn) {
		return nil, nil
	}
	known := cache.Namespace(req.Namespace) != nil
	in, err := j.inject(ctx, req, cache)
	if err != nil || in == nil && known {
		return nil, err
	}
	fresh, err := live.Read(ctx, req.Namespace)
	if err != nil {
		return nil, fmt.Errorf("read namespace %q before a change: %w", req.Namespace, err)
	}
	if j.leavesAlone(req, fresh) {
		return nil, nil
	}
	return j.inject(ctx, req, fresh)
}

func (j *Judge) inject(ctx context.Context, req *Request, world inventory.Reader) (*Injection, error) {
	after := req.after(world)
	g := &inventory.Governance{Service: req.ServiceAfter, StatefulSets: inventory.GovernedBy(after, req.ServiceAfter)}
	in, err := j.service(ctx, g, policies.Extent{Advice: j.advice})
	if err != nil {
		return nil, err
	}
	l := j.levels(world.Namespace(req.Namespace))
	for _, d := range j.decide(in, l) {
		if d.Fix == nil || !d.Fix.Inject || d.Object != g.Service.Ref() || d.Skipped || j.config.Rules[d.Rule.ID].Mode == config.Off {
			continue
		}
		wanted, err := j.wantsFix(ctx, d.Rule.YieldsTo, g, after, l)
		if err != nil {
			return nil, err
		}
		if wanted {
			return &Injection{Patch: d.Fix.Patch, Finding: d.Finding}, nil
		}
	}
	return nil, nil
}

// wantsFix says whether the rule for whose sake a Service would be changed has
// something to say about it that somebody hears: about a StatefulSet that it
// governs or, where there is none yet, about the Service as such. An empty id
// is no rule, and nothing speaks against the fix.
func (j *Judge) wantsFix(ctx context.Context, id string, g *inventory.Governance, after inventory.Reader, l levels) (bool, error) {
	rule := j.engine.Catalog.Rule(id)
	if rule == nil {
		return true, nil
	}
	if len(g.StatefulSets) == 0 {
		_, _, excused := j.excuse(rule, []*inventory.Meta{&g.Service.Meta}, nil)
		return !excused && j.mode(rule, l).AtLeast(config.Warn), nil
	}
	for _, set := range g.StatefulSets {
		in, err := j.relation(ctx, inventory.Relate(after, set), policies.Extent{Advice: j.advice})
		if err != nil {
			return false, err
		}
		for _, d := range j.decide(in, l) {
			if d.Rule == rule && !d.Skipped && d.Mode.AtLeast(config.Warn) {
				return true, nil
			}
		}
	}
	return false, nil
}
