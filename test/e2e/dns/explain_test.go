package dns

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/explain"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
)

var (
	firstSeed  = flag.Uint64("seed", 0, "seed of the first topology; the next ones count up from it (default random)")
	topologies = flag.Int("topologies", 1000, "how many random topologies to hold explain against")
)

// batch is how many topologies are made at once.
const batch = 100

// TestExplainIsNeverWrong makes random topologies, has stsguard explain each of
// their StatefulSets, from the cluster and from the manifests, and asks CoreDNS
// for every name that it spoke of. Nothing moves by then: one answer that
// differs is a failure.
func TestExplainIsNeverWrong(t *testing.T) {
	seed := cmp.Or(*firstSeed, uint64(rand.Uint32()))
	t.Logf("the first seed is %d", seed)
	v, err := shared.client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	legacyNames := version.MustParseGeneric(v.GitVersion).LessThan(version.MustParseGeneric("1.36.0"))
	total := tally{}
	for first := 0; first < *topologies; first += batch {
		var scenes []*scene
		for i := first; i < min(first+batch, *topologies); i++ {
			scenes = append(scenes, newTopology(seed+uint64(i), legacyNames))
		}
		play(t, scenes...)
		var mu sync.Mutex
		each(t, scenes, func(s *scene) error {
			c := comparison{scene: s, ctx: t.Context(), tally: tally{}, answers: map[question]answer{}}
			if err := c.compare(); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for k, n := range c.tally {
				total[k] += n
			}
			if len(c.differences) > 0 {
				t.Errorf("%s (go test ./test/e2e/dns -run %s -seed %d -topologies 1):\n  %s\n%s", s.namespace, t.Name(), s.seed, strings.Join(c.differences, "\n  "), c.manifests)
			}
			return nil
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("compared:\n%s", total)
	if *topologies >= 1000 {
		total.holdsEnough(t)
	}
}

// tally counts what was compared: by what was predicted, and whether there was
// an answer.
type tally map[string]int

func (c tally) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "  %6d %s\n", c[k], k)
	}
	return b.String()
}

// holdsEnough fails the test if a kind of prediction was never put to it.
func (c tally) holdsEnough(t *testing.T) {
	for _, k := range []string{
		"A once-ready, answer", "A once-ready, NXDOMAIN", "A once-running, answer", "A once-running, NXDOMAIN",
		"A never, NXDOMAIN", "A always, answer", "CNAME always, answer", "CNAME never, NXDOMAIN",
		"SRV always, answer", "SRV once-ready, answer", "SRV once-ready, NXDOMAIN", "SRV once-running, answer",
		"SRV once-running, NXDOMAIN", "SRV never, NXDOMAIN", "A not named, NXDOMAIN", "PTR, answer",
	} {
		if c[k] == 0 {
			t.Errorf("nothing was compared of %q", k)
		}
	}
}

type question struct {
	name string
	kind uint16
}

// comparison holds what explain says of one scene against what CoreDNS answers.
type comparison struct {
	*scene
	ctx         context.Context
	tally       tally
	differences []string
	answers     map[question]answer
	pods        map[string]*corev1.Pod
	manifests   []byte
}

func (c *comparison) compare() error {
	pods, err := shared.pods.Pods(c.namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	c.pods = map[string]*corev1.Pod{}
	for _, pod := range pods {
		c.pods[pod.Name] = pod
	}
	if c.manifests, err = c.write(); err != nil {
		return err
	}
	live, err := shared.live.Snapshot(c.ctx, c.namespace)
	if err != nil {
		return err
	}
	written := manifest.Read(c.ctx, []manifest.Source{{Path: "topology.yaml", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(c.manifests)), nil
	}}}, manifest.Options{Namespace: c.namespace})
	if len(written.Errors) > 0 {
		return fmt.Errorf("read its manifests: %v", written.Errors)
	}
	for _, f := range []face{
		// As explain --cluster does.
		{comparison: c, name: "cluster", world: explain.World{Reader: live.Store, Zone: inventory.Zone{ClusterDomain: clusterDomain, NoWorkloads: true}}},
		{comparison: c, name: "manifests", world: explain.World{Reader: written.Store, Zone: inventory.Zone{ClusterDomain: clusterDomain}}},
	} {
		if err := f.compare(); err != nil {
			return err
		}
	}
	return nil
}

// write writes the scene's objects as manifests.
func (s *scene) write() ([]byte, error) {
	var b bytes.Buffer
	for _, o := range s.all() {
		kinds, _, err := scheme.Scheme.ObjectKinds(o)
		if err != nil {
			return nil, err
		}
		copied := o.DeepCopyObject()
		copied.GetObjectKind().SetGroupVersionKind(kinds[0])
		text, err := yaml.Marshal(copied)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	return b.Bytes(), nil
}

// face is one way to ask explain.
type face struct {
	*comparison
	name  string
	world explain.World
	told  []explain.StatefulSet
}

func (f *face) compare() error {
	sets := the[*appsv1.StatefulSet](f.all())
	for _, set := range sets {
		told := explain.Explain(f.world, f.namespace, set.Name)
		if len(told) != 1 || told[0].PodsOmitted != 0 || len(told[0].Pods) != int(*set.Spec.Replicas) {
			return fmt.Errorf("explain %s: %+v", set.Name, told)
		}
		f.told = append(f.told, told[0])
	}
	for i, set := range f.told {
		if err := f.comparePods(sets[i], set); err != nil {
			return err
		}
		for _, r := range set.Records {
			if err := f.compareRecord(set, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// comparePods asks for the names of the pods, and for those that explain
// doesn't speak of because there are none.
func (f *face) comparePods(object *appsv1.StatefulSet, set explain.StatefulSet) error {
	for _, p := range set.Pods {
		if p.Name == "" || f.unknown(set, p.Name, p.Prospect) {
			continue
		}
		pod := f.pods[p.Pod]
		if !resolves(p.CoreDNS, pod) {
			if err := f.expect(p.CoreDNS, question{p.Name, dns.TypeA}, nil, nil); err != nil {
				return err
			}
			continue
		}
		if err := f.expect(p.CoreDNS, question{p.Name, dns.TypeA}, []string{pod.Status.PodIP}, nil); err != nil {
			return err
		}
		// A node's address has the names of all pods that share it.
		if !pod.Spec.HostNetwork {
			if err := f.expectReverse(pod.Status.PodIP, p.Name, true); err != nil {
				return err
			}
		}
	}
	for _, service := range the[*corev1.Service](f.all()) {
		if selectorless(service) {
			continue // whoever wrote its endpoints may have given them any name
		}
		names := beside(object)
		if service.Name != set.ServiceName {
			for _, p := range set.Pods {
				names = append(names, p.Pod)
			}
		}
		for _, pod := range names {
			if err := f.expect("not named", question{fullName(f.namespace, pod, service.Name), dns.TypeA}, nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// beside are the pods that would come before the StatefulSet's first and after
// its last.
func beside(set *appsv1.StatefulSet) []string {
	first := int32(0)
	if o := set.Spec.Ordinals; o != nil {
		first = o.Start
	}
	out := []string{fmt.Sprintf("%s-%d", set.Name, first+*set.Spec.Replicas)}
	if first > 0 {
		out = append(out, fmt.Sprintf("%s-%d", set.Name, first-1))
	}
	return out
}

// resolves says whether a pod's name of that prospect has to resolve, as the pod
// is now. There may be none.
func resolves(outcome string, pod *corev1.Pod) bool {
	switch inventory.Outcome(outcome) {
	case inventory.OnceRunning:
		return pod != nil && pod.Status.PodIP != ""
	case inventory.OnceReady:
		return pod != nil && ready(pod)
	}
	return false
}

// unknown says whether explain doesn't know. It must have reason not to.
func (f *face) unknown(set explain.StatefulSet, name string, p explain.Prospect) bool {
	if p.CoreDNS != string(inventory.Unknown) {
		return false
	}
	_, byRevision := set.Governing.Selector[appsv1.ControllerRevisionHashLabelKey]
	var reason string
	switch ofPod := !slices.ContainsFunc(set.Records, func(r explain.Record) bool { return r.Name == name }); {
	case len(set.Governing.Selector) == 0:
		reason = "endpoints by hand"
	case byRevision:
		reason = "selected by revision"
	case !ofPod && f.world.Zone.NoWorkloads:
		reason = "other workloads unread"
	case !ofPod && strings.HasPrefix(name, "_") && slices.ContainsFunc(set.Selected, func(o explain.Object) bool { return o.Kind == "Deployment" }):
		reason = "ports of a Deployment"
	default:
		f.differ("%s: explain says unknown, because of %q", name, p.Because)
	}
	f.tally["unknown, "+reason]++
	return true
}

// compareRecord asks for one of the governing Service's own names.
func (f *face) compareRecord(set explain.StatefulSet, r explain.Record) error {
	q := question{r.Name, dns.StringToType[r.Type]}
	always := r.CoreDNS == string(inventory.Always)
	switch r.Answer {
	case "alias":
		if always {
			return f.expect(r.CoreDNS, q, []string{r.Target}, nil)
		}
		return f.expect(r.CoreDNS, q, nil, nil)
	case "service":
		if always {
			return f.expect(r.CoreDNS, q, []string{fmt.Sprintf("%s:%d", r.Target, r.Port)}, nil)
		}
		return f.expect(r.CoreDNS, q, nil, nil)
	case "cluster-ip":
		addresses := r.Addresses
		if f.name == "manifests" {
			if len(addresses) > 0 {
				f.differ("%s: explain knows the address %q from manifests that don't say it", r.Name, addresses)
			}
			s, err := shared.client.CoreV1().Services(f.namespace).Get(f.ctx, set.ServiceName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			addresses = s.Spec.ClusterIPs
		}
		if err := f.expect(r.CoreDNS, q, addresses, nil); err != nil {
			return err
		}
		return f.expectReverse(addresses[0], r.Name, false)
	}
	if f.unknown(set, r.Name, r.Prospect) && len(set.Governing.Selector) == 0 {
		return nil
	}
	if r.CoreDNS == string(inventory.Never) {
		return f.expect(r.CoreDNS, q, nil, nil)
	}
	sure, maybe := f.behind(set)
	if q.kind == dns.TypeA {
		possible := addresses(maybe)
		return f.expect(r.CoreDNS, q, addresses(sure), func(address string) bool { return slices.Contains(possible, address) })
	}
	// The pods that the Service governs are its targets by name. Of others that
	// it selects explain says only that they are there.
	var required []string
	for _, other := range f.told {
		if other.ServiceName != set.ServiceName {
			continue
		}
		i := slices.IndexFunc(other.Records, func(o explain.Record) bool { return o.Name == r.Name })
		for _, p := range other.Pods {
			if slices.Contains(sure, f.pods[p.Pod]) && other.Records[i].Port != 0 {
				required = append(required, fmt.Sprintf("%s:%d", p.Name, other.Records[i].Port))
			}
		}
	}
	possible := map[string]bool{}
	for _, pod := range maybe {
		possible[endpointName(pod, set.ServiceName)] = true
	}
	for _, pod := range sure {
		if name := endpointName(pod, set.ServiceName); !ofStatefulSet(pod) || name == dashed(pod.Status.PodIP) {
			possible[name] = true
		}
	}
	return f.expect(r.CoreDNS, q, required, func(record string) bool {
		first, _, _ := strings.Cut(record, ".")
		return possible[first]
	})
}

// behind are the pods that the StatefulSet's governing Service answers with, by
// all that explain says, and those that it may answer with besides.
func (f *face) behind(set explain.StatefulSet) (sure, maybe []*corev1.Pod) {
	outcome := string(inventory.OnceReady)
	if set.Governing.PublishNotReadyAddresses {
		outcome = string(inventory.OnceRunning)
	}
	for _, other := range f.told {
		if other.ServiceName == set.ServiceName {
			for _, p := range other.Pods {
				switch pod := f.pods[p.Pod]; {
				case p.CoreDNS == string(inventory.Unknown) && resolves(outcome, pod):
					maybe = append(maybe, pod)
				case resolves(p.CoreDNS, pod):
					sure = append(sure, pod)
				}
			}
			continue
		}
		for _, by := range other.Services {
			if by.Name != set.ServiceName {
				continue
			}
			for _, name := range podsIn(by.Pods) {
				switch pod := f.pods[name]; {
				case !resolves(outcome, pod):
				case len(by.Unknown) > 0:
					maybe = append(maybe, pod)
				default:
					sure = append(sure, pod)
				}
			}
		}
	}
	for _, pod := range f.pods {
		if ofStatefulSet(pod) || !resolves(outcome, pod) {
			continue
		}
		switch {
		case f.world.Zone.NoWorkloads:
			maybe = append(maybe, pod)
		case slices.ContainsFunc(set.Selected, func(o explain.Object) bool {
			return o.Kind == "Deployment" && strings.HasPrefix(pod.Name, o.Name+"-")
		}):
			sure = append(sure, pod)
		}
	}
	return sure, maybe
}

// podsIn are the pods of runs such as web-0..web-2.
func podsIn(runs []string) []string {
	var out []string
	for _, r := range runs {
		first, last, ok := strings.Cut(r, "..")
		if !ok {
			out = append(out, first)
			continue
		}
		i := strings.LastIndexByte(first, '-') + 1
		from, _ := strconv.Atoi(first[i:])
		to, _ := strconv.Atoi(last[i:])
		for ordinal := from; ordinal <= to; ordinal++ {
			out = append(out, first[:i]+strconv.Itoa(ordinal))
		}
	}
	return out
}

func ofStatefulSet(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "StatefulSet"
}

// endpointName is what comes before the Service's name for a pod behind it.
func endpointName(pod *corev1.Pod, service string) string {
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == service {
		return pod.Spec.Hostname
	}
	return dashed(pod.Status.PodIP)
}

func addresses(pods []*corev1.Pod) []string {
	var out []string
	for _, pod := range pods {
		out = append(out, pod.Status.PodIP)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// expect asks CoreDNS: its records must be the required ones and, if possible is
// given, may be others for which it says so. None at all is NXDOMAIN.
func (f *face) expect(outcome string, q question, required []string, possible func(string) bool) error {
	kind := dns.TypeToString[q.kind]
	if _, ok := dns.IsDomainName(q.name); !ok {
		if len(required) > 0 {
			f.differ("%s %s: explain says %s, but nobody can ask for a name with so long a part", kind, q.name, outcome)
		}
		f.tally[kind+" "+outcome+", can't be asked"]++
		return nil
	}
	got, ok := f.answers[q]
	if !ok {
		var err error
		if got, err = shared.ask(f.ctx, q.name, q.kind); err != nil {
			return err
		}
		f.answers[q] = got
	}
	right := len(got.records) > 0 || got.nxdomain()
	for _, r := range required {
		right = right && slices.Contains(got.records, r)
	}
	for _, r := range got.records {
		right = right && (slices.Contains(required, r) || possible != nil && possible(r))
	}
	if !right {
		f.differ("%s %s: explain says %s, which is now %q, CoreDNS answers %s", kind, q.name, outcome, required, got)
	}
	found := "answer"
	if len(got.records) == 0 {
		found = got.code
	}
	f.tally[fmt.Sprintf("%s %s, %s", kind, outcome, found)]++
	return nil
}

// expectReverse asks for the names of an address, of which there may be others
// besides if shares says so.
func (f *face) expectReverse(address, name string, shares bool) error {
	q, err := dns.ReverseAddr(address)
	if err != nil {
		return err
	}
	got, err := shared.ask(f.ctx, q, dns.TypePTR)
	if err != nil {
		return err
	}
	if !slices.Contains(got.records, name) || !shares && len(got.records) > 1 {
		f.differ("PTR %s: %s resolves to it, CoreDNS answers %s", address, name, got)
	}
	f.tally["PTR, answer"]++
	return nil
}

func (f *face) differ(format string, args ...any) {
	f.differences = append(f.differences, "from the "+f.name+": "+fmt.Sprintf(format, args...))
}
