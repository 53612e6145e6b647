package lint

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

// Cluster is what manifests are laid over.
type Cluster interface {
	// Snapshot reads the namespaces as they are now.
	Snapshot(ctx context.Context, namespaces ...string) (*inventory.Snapshot, error)
}

// preflight is the apply of one world of manifests, played through on what a
// cluster holds. What it holds is of the cluster, and has no Place.
type preflight struct {
	*inventory.Store
	judge     *verdict.Judge
	asked     verdict.Levels
	manifests *manifest.Set
	// unread are the namespaces that could not be read whole.
	unread map[string]bool
	// from says which manifest an object comes from.
	from map[inventory.Ref]inventory.Ref

	verdict.Report
	steps []report.Step
	end   []report.Outcome
}

// WorkloadsSelectedBy is answered from the manifests: the cluster's own
// workloads are not read.
func (p *preflight) WorkloadsSelectedBy(s *inventory.Service) []*inventory.Workload {
	return p.manifests.Store.WorkloadsSelectedBy(s)
}

// Read returns the cluster as the steps before have left it.
func (p *preflight) Read(context.Context, string) (inventory.Reader, error) { return p, nil }

// PodsRun says no: pods are not read.
func (p *preflight) PodsRun(context.Context, *inventory.StatefulSet) (bool, error) {
	return false, nil
}

// applied is one object as the apply sends it.
type applied struct {
	from    inventory.Ref
	hook    hook
	service *inventory.Service
	set     *inventory.StatefulSet
}

func (a *applied) meta() *inventory.Meta {
	if a.service != nil {
		return &a.service.Meta
	}
	return &a.set.Meta
}

func (a *applied) ref() inventory.Ref {
	if a.service != nil {
		return a.service.Ref()
	}
	return a.set.Ref()
}

// inOrder returns the objects as Helm sends them: its hooks one by one before or
// after all else, Services before StatefulSets.
func (p *preflight) inOrder() []applied {
	var out []applied
	add := func(a applied) {
		sent := false
		if a.hook, sent = hookOf(p.manifests, a.from, a.meta().Name); !sent {
			p.from[a.ref()] = a.from
			p.note(a.ref(), fmt.Sprintf("Helm sends it at %q, and not when it installs or upgrades", p.manifests.Annotation(a.from, "helm.sh/hook")))
			return
		}
		out = append(out, a)
	}
	for _, s := range p.manifests.Services {
		v := *s
		v.Place = nil
		add(applied{from: s.Ref(), service: &v})
	}
	for _, s := range p.manifests.StatefulSets {
		v := *s
		v.Place = nil
		add(applied{from: s.Ref(), set: &v})
	}
	slices.SortStableFunc(out, func(a, b applied) int { return a.hook.compare(b.hook) })
	return out
}

// play says what an apply of the manifests to the cluster would do. The asked
// levels decide what is told and what fails; whether a step is denied, the
// namespaces' labels and the configuration do.
func play(ctx context.Context, judge *verdict.Judge, cluster Cluster, set *manifest.Set, asked verdict.Levels) (*preflight, error) {
	p := &preflight{
		Store: &inventory.Store{}, judge: judge, asked: asked, manifests: set,
		unread: map[string]bool{}, from: map[inventory.Ref]inventory.Ref{},
	}
	objects := p.inOrder()
	namespaces := map[string]bool{}
	for i := range objects {
		namespaces[objects[i].meta().Namespace] = true
	}
	if len(namespaces) == 0 {
		return p, nil
	}
	names := slices.Sorted(maps.Keys(namespaces))
	snapshot, err := cluster.Snapshot(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	p.Store = snapshot.Store
	for _, missing := range snapshot.Unread {
		if missing.Resource == "namespaces" {
			p.note("", fmt.Sprintf("the labels of namespace %q are ignored: the permission to %s is missing", missing.Namespace, missing))
			continue
		}
		p.unread[missing.Namespace] = true
		p.Errors = append(p.Errors, judge.NotJudged(missing))
	}
	for _, name := range names {
		if judge.Exempts(name) {
			p.note("", fmt.Sprintf("nothing in namespace %q is judged: the configuration exempts it", name))
		} else if p.Namespace(name) == nil && snapshot.Permitted("namespaces", name) {
			p.note("", fmt.Sprintf("namespace %q is not in the cluster yet", name))
		}
	}
	for i := range objects {
		p.apply(ctx, &objects[i])
	}
	p.look(ctx, objects)
	return p, nil
}

func (p *preflight) note(object inventory.Ref, message string) {
	n := verdict.Note{Object: object, Message: message}
	if !slices.Contains(p.Notes, n) {
		p.Notes = append(p.Notes, n)
	}
}

// apply plays one step through, and stores the object if nothing stands against
// it.
func (p *preflight) apply(ctx context.Context, a *applied) {
	p.from[a.ref()] = a.from
	req := p.request(a)
	step := report.Step{Object: p.object(a.ref()), Operation: strings.ToLower(string(req.Operation)), Outcome: report.Allowed, Rules: []string{}}
	if p.unread[req.Namespace] {
		step.Operation, step.Outcome = "apply", report.NotJudged
	}
	decisions, err := p.admit(ctx, req, &step)
	if err != nil {
		step.Outcome = report.NotJudged
		p.Errors = append(p.Errors, err)
	}
	for _, d := range decisions {
		if d.Skipped && !d.Rule.Refused {
			continue
		}
		if !slices.Contains(step.Rules, d.Rule.ID) {
			step.Rules = append(step.Rules, d.Rule.ID)
		}
		switch {
		case d.Rule.Refused:
			step.Outcome = report.Refused
		case d.Mode == config.Enforce && step.Outcome != report.Refused:
			step.Outcome = report.Denied
		}
	}
	if step.Outcome == report.Allowed || step.Outcome == report.NotJudged {
		if a.service != nil {
			p.PutService(a.service)
		} else {
			p.PutStatefulSet(a.set)
		}
	}
	p.steps = append(p.steps, step)
	judged := err == nil && !p.unread[req.Namespace] && !p.judge.Exempts(req.Namespace)
	if a.set != nil && judged && !slices.Contains(p.Judged, a.ref()) {
		p.Judged = append(p.Judged, a.ref())
	}
}

// request is what the API server would be sent.
func (p *preflight) request(a *applied) *verdict.Request {
	req := &verdict.Request{
		Operation: verdict.Create, Namespace: a.meta().Namespace, Preflight: true,
		ServiceAfter: a.service, StatefulSetAfter: a.set,
	}
	if a.hook.anew {
		p.remove(a)
	}
	if a.service != nil {
		for _, live := range p.ServicesNamed(a.service.Namespace, a.service.Name) {
			req.Operation, req.ServiceBefore = verdict.Update, live
			a.service.Over(live)
		}
		return req
	}
	if live := p.statefulSet(a.set.Namespace, a.set.Name); live != nil {
		req.Operation, req.StatefulSetBefore = verdict.Update, live
		a.set.Over(live)
	}
	return req
}

// remove takes away what the cluster has of the object.
func (p *preflight) remove(a *applied) {
	if a.service != nil {
		p.DeleteService(a.service.Namespace, a.service.Name)
	} else {
		p.DeleteStatefulSet(a.set.Namespace, a.set.Name)
	}
}

// admit says what admission would: first what the mutating side injects, then
// what the validating one finds. It keeps what the user wants to hear.
func (p *preflight) admit(ctx context.Context, req *verdict.Request, step *report.Step) ([]verdict.Decision, error) {
	injection, err := p.judge.Inject(ctx, req, p, p)
	if err != nil {
		return nil, err
	}
	if injection != nil && !p.unread[req.Namespace] {
		if err := inject(req.ServiceAfter, injection); err != nil {
			return nil, err
		}
		step.Injected = "clusterIP: " + req.ServiceAfter.ClusterIP
	}
	found, err := p.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	heard := found
	if p.asked != (verdict.Levels{}) {
		req.Levels = p.asked
		if heard, err = p.ask(ctx, req); err != nil {
			return nil, err
		}
	}
	for _, d := range heard {
		if !slices.ContainsFunc(p.Decisions, func(other verdict.Decision) bool { return repeats(&other, &d) }) {
			p.Decisions = append(p.Decisions, d)
		}
	}
	return found, nil
}

func (p *preflight) ask(ctx context.Context, req *verdict.Request) ([]verdict.Decision, error) {
	a, err := p.judge.Admit(ctx, req, p, p)
	if err != nil {
		return nil, err
	}
	for _, text := range a.Notes {
		p.note("", text)
	}
	if p.unread[req.Namespace] {
		return slices.DeleteFunc(a.Decisions, func(d verdict.Decision) bool { return !verdict.StandsAlone(d.Rule) }), nil
	}
	return a.Decisions, nil
}

// inject does to the Service what the patch says.
func inject(s *inventory.Service, in *verdict.Injection) error {
	for _, op := range in.Patch {
		address, ok := op.Value.(string)
		if op.Path != "/spec/clusterIP" || !ok {
			return fmt.Errorf("follow what rule %s injects into %s: it changes %s", in.Finding.Rule.ID, s.Ref(), op.Path)
		}
		s.ClusterIP, s.ClusterIPs = address, []string{address}
	}
	return nil
}

// repeats says whether both say the same, at different steps.
func repeats(a, b *verdict.Decision) bool {
	return a.Rule == b.Rule && a.Object == b.Object && a.StatefulSet == b.StatefulSet && a.Path == b.Path &&
		a.Message == b.Message && a.Mode == b.Mode && a.Skipped == b.Skipped
}

// look says what each StatefulSet that the apply was about is like in the end.
func (p *preflight) look(ctx context.Context, objects []applied) {
	var concerned []*inventory.StatefulSet
	absent := map[inventory.Ref]bool{}
	for i := range objects {
		a := &objects[i]
		if a.service != nil {
			concerned = append(concerned, inventory.TouchedBy(p, a.service)...)
		} else if set := p.statefulSet(a.set.Namespace, a.set.Name); set != nil {
			concerned = append(concerned, set)
		} else if !absent[a.ref()] {
			absent[a.ref()] = true
			p.end = append(p.end, report.Outcome{Object: p.object(a.ref()), State: report.Absent, Rules: []string{}})
		}
	}
	judged := p.judge.Report(ctx, p, verdict.Levels{Enforce: policies.Baseline, Warn: policies.Baseline})
	slices.SortFunc(concerned, func(a, b *inventory.StatefulSet) int { return cmp.Compare(a.Ref(), b.Ref()) })
	for _, set := range slices.Compact(concerned) {
		o := report.Outcome{Object: p.object(set.Ref()), State: report.Right, Rules: []string{}}
		for _, d := range judged.Decisions {
			if (d.StatefulSet == set.Ref() || slices.Contains(d.Also, set.Ref())) && !d.Skipped && !slices.Contains(o.Rules, d.Rule.ID) {
				o.State, o.Rules = report.Wrong, append(o.Rules, d.Rule.ID)
			}
		}
		if p.unread[set.Namespace] || !slices.Contains(judged.Judged, set.Ref()) {
			o.State, o.Rules = report.Unknown, []string{}
			p.Errors = append(p.Errors, judged.Errors...)
		}
		p.end = append(p.end, o)
	}
	slices.SortFunc(p.end, func(a, b report.Outcome) int {
		return cmp.Or(cmp.Compare(a.Object.Namespace, b.Object.Namespace), cmp.Compare(a.Object.Name, b.Object.Name))
	})
}

func (p *preflight) statefulSet(namespace, name string) *inventory.StatefulSet {
	for _, set := range p.StatefulSets(namespace) {
		if set.Name == name {
			return set
		}
	}
	return nil
}

// Locate says where the object's manifest is, if it has one.
func (p *preflight) Locate(ref inventory.Ref, pointer string) manifest.Location {
	return p.manifests.Locate(p.from[ref], pointer)
}

// Compare orders objects as their manifests stand.
func (p *preflight) Compare(a, b inventory.Ref) int { return p.manifests.Compare(p.from[a], p.from[b]) }

// File is the one that the object's manifest stands in.
func (p *preflight) File(ref inventory.Ref) string { return p.manifests.File(p.from[ref]) }

// Excerpt is what stands there.
func (p *preflight) Excerpt(ref inventory.Ref, l manifest.Location, before, after int) []manifest.Line {
	return p.manifests.Excerpt(p.from[ref], l, before, after)
}

// APIVersion is that of the object's manifest, else the one of today.
func (p *preflight) APIVersion(ref inventory.Ref) string {
	return p.manifests.APIVersion(p.from[ref])
}

func (p *preflight) object(ref inventory.Ref) report.Object { return object(p, ref) }
