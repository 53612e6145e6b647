// Package migrate plans how a running StatefulSet comes by a headless governing
// Service, given that clusterIP and serviceName can't be changed: the steps as
// commands and manifests, what to check after each, and how to go back. It reads
// what it is given and changes nothing.
package migrate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/stsguard/stsguard/inventory"
)

// World is what a plan is made from, as it is in the cluster.
type World struct {
	// Reader has the Services and StatefulSets of the namespace.
	inventory.Reader
	// StatefulSet is the one to migrate, Governing the Service that it names, as
	// the API server gives them in JSON. Governing is nil if there is none.
	StatefulSet, Governing []byte
	// Pods may be those of others, too.
	Pods []corev1.Pod
	// Headless is the Service that the StatefulSet needs, of whatever name.
	Headless map[string]any
	// ClusterDomain is what DNS names end in.
	ClusterDomain string
}

// Options are what the user chose.
type Options struct {
	// Service is the name of the headless Service. Where it is empty, it is one
	// that is there already and selects the pods, or else a new name.
	Service string
	// KeepName leaves serviceName as it is, and with it the pods and their names:
	// the Service of that name becomes headless. What clients need of it goes to
	// another one, of the name ClientService.
	KeepName      bool
	ClientService string
	// Kubectl is how to call kubectl for the namespace in this cluster.
	Kubectl string
}

// Plan is what to do, in order.
type Plan struct {
	// Title says what it leads to.
	Title string
	// About says what is so now, and what becomes of pods, names, volumes and
	// clients.
	About []string
	// Before is to be known, or done, before the first step.
	Before []string
	// Steps is empty where all is right.
	Steps []Step
	// After is what is left to be done where the manifests come from.
	After []string
}

// Step is one step. Its commands are for bash.
type Step struct {
	Title string
	// Text says what the step does. Its first sentence says whether pods restart.
	Text     []string
	Commands string
	Checks   []Check
	Back     Back
}

// Check is a command that changes nothing, and what it prints if the step did
// its work.
type Check struct{ Command, Prints string }

// Back is how to undo a step and all steps after it, and the number of the step
// whose Back comes next.
type Back struct {
	Text     string
	Commands string
	Then     int
}

// planner makes one plan.
type planner struct {
	World
	Options
	// object is the StatefulSet with whatever fields it has.
	object map[string]any
	set    *appsv1.StatefulSet
	// rel is the StatefulSet's relation, old the Service that it names now.
	rel *inventory.Relation
	old *corev1.Service
	// to is the name of the Service that is to govern.
	to   string
	pods []corev1.Pod
	plan *Plan
	// wrote is the number of the step that writes the StatefulSet's manifest.
	wrote int
}

// New makes a plan. An error says what it is about the options, or the objects,
// that allows none.
func New(w World, o Options) (*Plan, error) {
	p := &planner{World: w, Options: o, plan: &Plan{}}
	if err := json.Unmarshal(w.StatefulSet, &p.object); err != nil {
		return nil, fmt.Errorf("decode the StatefulSet: %w", err)
	}
	if err := json.Unmarshal(w.StatefulSet, &p.set); err != nil {
		return nil, fmt.Errorf("decode the StatefulSet: %w", err)
	}
	if w.Governing != nil {
		if err := json.Unmarshal(w.Governing, &p.old); err != nil {
			return nil, fmt.Errorf("decode the Service: %w", err)
		}
	}
	if p.set.DeletionTimestamp != nil {
		return nil, fmt.Errorf("StatefulSet %q is being deleted", p.set.Name)
	}
	for _, pod := range w.Pods {
		if metav1.IsControlledBy(&pod, p.set) && pod.DeletionTimestamp == nil {
			p.pods = append(p.pods, pod)
		}
	}
	slices.SortFunc(p.pods, func(a, b corev1.Pod) int { return ordinal(&a) - ordinal(&b) })
	p.rel = inventory.Relate(w.Reader, inventory.FromStatefulSet(p.set))
	if err := p.choose(); err != nil {
		return nil, err
	}
	if err := p.steps(); err != nil {
		return nil, err
	}
	p.describe()
	return p.plan, nil
}

func ordinal(pod *corev1.Pod) int {
	n, err := strconv.Atoi(pod.Name[strings.LastIndexByte(pod.Name, '-')+1:])
	if err != nil {
		return -1
	}
	return n
}

// choose finds the name of the Service that is to govern.
func (p *planner) choose() error {
	named, governing := p.set.Spec.ServiceName, p.rel.Governing
	beside := p.headlessBeside()
	// To select these pods would be to lose those that it is there for.
	shared := governing != nil && !p.selectsAll(governing.Selector) && len(p.rel.Siblings)+len(p.rel.Selected) > 0
	switch {
	case p.KeepName && shared:
		return fmt.Errorf("Service %q does not select all pods of StatefulSet %q, and is there for others, too: leave --keep-name out", named, p.set.Name)
	case p.KeepName && named == "":
		return fmt.Errorf("StatefulSet %q has no serviceName that --keep-name could keep", p.set.Name)
	case p.KeepName && governing != nil && !governing.Headless() && governing.Type != string(corev1.ServiceTypeExternalName) && len(governing.Selector) == 0:
		return fmt.Errorf("Service %q has no selector, so that something else leads its clients, and could not lead them by another one: leave --keep-name out", named)
	case p.Service != "":
		if problems := validation.IsDNS1123Label(p.Service); len(problems) > 0 {
			return fmt.Errorf("%q can't be the name of a governing Service: %s", p.Service, strings.Join(problems, "; "))
		}
		p.to = p.Service
	case p.KeepName, governing != nil && governing.Headless() && !shared, governing == nil && named != "" && len(beside) == 0:
		p.to = named
	case len(beside) == 1:
		p.to = beside[0]
	case len(beside) > 1:
		return fmt.Errorf("several headless Services select the pods: choose one of %s with --service", strings.Join(beside, ", "))
	case named != "":
		p.to = named + "-headless"
	default:
		p.to = p.set.Name + "-headless"
	}
	if p.Service == "" && len(validation.IsDNS1123Label(p.to)) > 0 {
		return fmt.Errorf("%q is no name for a Service: choose one with --service", p.to)
	}
	if p.to == named {
		return nil
	}
	if s := p.service(p.to); s != nil && !slices.Contains(beside, p.to) {
		what := "does not select all these pods"
		if !s.Headless() {
			what = "is not headless"
		}
		return fmt.Errorf("there is a Service %q already, and it %s: choose another name with --service", p.to, what)
	}
	return nil
}

// headlessBeside are the names of headless Services, other than the one that is
// named now, that select all the pods.
func (p *planner) headlessBeside() []string {
	var out []string
	for _, s := range p.rel.Services {
		if s.Headless() && p.selectsAll(s.Selector) {
			out = append(out, s.Name)
		}
	}
	return out
}

// selectsAll says whether a selector has every pod of the StatefulSet, and not
// only one of a certain name.
func (p *planner) selectsAll(selector map[string]string) bool {
	for key, value := range selector {
		if got, ok := p.set.Spec.Template.Labels[key]; !ok || got != value {
			return false
		}
	}
	return len(selector) > 0
}

func (p *planner) service(name string) *inventory.Service {
	if named := p.ServicesNamed(p.set.Namespace, name); len(named) > 0 {
		return named[0]
	}
	return nil
}

// steps plans them in order.
func (p *planner) steps() error {
	if err := p.ready(); err != nil {
		return err
	}
	renamed := p.to != p.set.Spec.ServiceName
	retained := renamed && p.deletesClaims()
	if retained {
		p.add(p.retain())
	}
	if renamed {
		p.add(p.write())
		p.wrote = len(p.plan.Steps)
		p.add(p.recreate())
	}
	if len(p.stale()) > 0 {
		p.add(p.restart())
	}
	if n := len(p.plan.Steps); n > 0 && len(p.pods) > 0 {
		last := &p.plan.Steps[n-1]
		last.Checks = append(last.Checks, p.namesResolve())
	}
	if retained {
		p.add(p.restore())
	}
	return nil
}

func (p *planner) add(s Step) {
	if s.Back.Then == 0 {
		s.Back.Then = len(p.plan.Steps)
	}
	p.plan.Steps = append(p.plan.Steps, s)
}

// ready plans what makes the Service headless, and select the pods.
func (p *planner) ready() error {
	s := p.service(p.to)
	switch {
	case s == nil:
		p.add(p.create())
	case !s.Headless() && s.Type == string(corev1.ServiceTypeExternalName):
		p.add(p.unalias())
	case !s.Headless():
		if err := p.clients(); err != nil {
			return err
		}
		p.add(p.behead())
	case !p.selectsAll(s.Selector):
		p.add(p.reselect())
	}
	return nil
}

// stale are the pods whose names are not below the Service that is to govern:
// a pod's subdomain is set when it is made.
func (p *planner) stale() []corev1.Pod {
	return slices.DeleteFunc(slices.Clone(p.pods), func(pod corev1.Pod) bool { return pod.Spec.Subdomain == p.to })
}

// deletesClaims says whether the claims go when the StatefulSet does.
func (p *planner) deletesClaims() bool {
	policy := p.set.Spec.PersistentVolumeClaimRetentionPolicy
	return len(p.set.Spec.VolumeClaimTemplates) > 0 && policy != nil && policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}
