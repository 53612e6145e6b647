package dns

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/stsguard/stsguard/inventory"
)

// situation is a line of a table in docs/dns.md.
type situation struct {
	what string
	scene
	// below is the Service that is asked about, nginx if it isn't said.
	below string
}

// chapter is one of its tables.
type chapter struct {
	title      string
	situations []situation
}

func having(objects ...object) scene { return scene{objects: objects} }

var chapters = []chapter{
	{"The workload and its Service", []situation{
		{what: "StatefulSet, headless Service", scene: having(newService("nginx", headless), newSet("web", "nginx"))},
		{what: "StatefulSet, Service with a cluster IP", scene: having(newService("nginx"), newSet("web", "nginx"))},
		{what: "Deployment, headless Service", scene: having(newService("nginx", headless), newDeployment("web"))},
		{what: "Deployment, Service with a cluster IP", scene: having(newService("nginx"), newDeployment("web"))},
	}},
	{"Pods that aren't ready", []situation{
		{what: "headless Service, no pod ready", scene: having(newService("nginx", headless), newSet("web", "nginx", neverReady))},
		{what: "the same with `publishNotReadyAddresses`", scene: having(newService("nginx", headless, published), newSet("web", "nginx", neverReady))},
		{what: "headless Service, `web-1` not ready", scene: scene{objects: []object{newService("nginx", headless), newSet("web", "nginx")}, unready: []string{"web-1"}}},
		{what: "Service with a cluster IP, no pod ready", scene: having(newService("nginx"), newSet("web", "nginx", neverReady))},
		{what: "the same with `publishNotReadyAddresses`", scene: having(newService("nginx", published), newSet("web", "nginx", neverReady))},
	}},
	{"Replicas and ordinals", []situation{
		{what: "headless Service, `ordinals.start: 3`", scene: having(newService("nginx", headless), newSet("web", "nginx", startingAt(3)))},
		{what: "headless Service, `replicas: 0`", scene: having(newService("nginx", headless), newSet("web", "nginx", replicas(0)))},
		{what: "Service with a cluster IP, `replicas: 0`", scene: having(newService("nginx"), newSet("web", "nginx", replicas(0)))},
	}},
	{"Ports", []situation{
		{what: "headless Service without ports", scene: having(newService("nginx", headless, portless), newSet("web", "nginx"))},
		{what: "headless Service, its port has no name", scene: having(newService("nginx", headless, unnamed), newSet("web", "nginx"))},
		{what: "Service with a cluster IP, its port has no name", scene: having(newService("nginx", unnamed), newSet("web", "nginx"))},
		{what: "headless Service, `targetPort` names no container port", scene: having(newService("nginx", headless, func(s *corev1.Service) {
			s.Spec.Ports[0].TargetPort = intstr.FromString("none")
		}), newSet("web", "nginx"))},
	}},
	{"Which Service, and what it selects", []situation{
		{what: "the governing Service is missing", scene: having(newSet("web", "nginx"))},
		{what: "it is made after the StatefulSet and its pods", scene: scene{objects: []object{newSet("web", "nginx")}, later: []object{newService("nginx", headless)}}},
		{what: "no `serviceName`, a headless Service selects the pods", scene: having(newService("nginx", headless), newSet("web", ""))},
		{what: "headless Service that selects other labels", scene: having(newService("nginx", headless, selecting(map[string]string{"app": "other"})), newSet("web", "nginx"))},
		{what: "headless Service that selects `statefulset.kubernetes.io/pod-name: web-0`", scene: having(newService("nginx", headless, selecting(map[string]string{appsv1.StatefulSetPodNameLabel: "web-0"})), newSet("web", "nginx"))},
		{what: "headless Service without a selector", scene: having(newService("nginx", headless, selecting(nil)), newSet("web", "nginx"))},
		{what: "Service with a cluster IP, without a selector", scene: having(newService("nginx", selecting(nil)), newSet("web", "nginx"))},
		{what: "ExternalName", scene: having(newService("nginx", alias("db.example.com")), newSet("web", "nginx"))},
		{what: "one headless Service, two StatefulSets", scene: having(newService("nginx", headless), newSet("web", "nginx"), newSet("db", "nginx"))},
	}},
	{"Two Services that select the same pods", []situation{
		{what: "two headless ones: below the governing one", scene: having(newService("nginx", headless), newService("other", headless), newSet("web", "nginx"))},
		{what: "two headless ones: below the other one", scene: having(newService("nginx", headless), newService("other", headless), newSet("web", "nginx")), below: "other"},
		{what: "a governing headless one and one with a cluster IP: below the governing one", scene: having(newService("nginx", headless), newService("other"), newSet("web", "nginx"))},
		{what: "a governing headless one and one with a cluster IP: below the other one", scene: having(newService("nginx", headless), newService("other"), newSet("web", "nginx")), below: "other"},
	}},
}

const (
	tableFile = "../../../docs/dns.md"
	preface   = `# Which names resolve

What CoreDNS answers, with its kubernetes plugin as it is configured by default, on a cluster with the real controllers; and what the [Kubernetes DNS specification](https://github.com/kubernetes/dns/blob/master/docs/specification.md) promises of the pods' names, which other DNS servers keep to as well. This page is written by a test (` + "`UPDATE=1 go test ./test/e2e/dns -run Table`" + `), and ` + "`make e2e`" + ` fails when it no longer holds.

- ` + "`svc`" + ` stands for the Service's name, such as ` + "`nginx.default.svc.cluster.local`" + `, and ` + "`pod.svc`" + ` for one below it, such as ` + "`web-0.nginx.default.svc.cluster.local`" + `. The StatefulSet is ` + "`web`" + `, with two replicas and ` + "`serviceName: nginx`" + ` unless the line says otherwise.
- SRV is asked of ` + "`_http._tcp.svc`" + `: the Service's port ` + "`http`" + ` is 80, its targetPort 8080. PTR is asked of the pods' addresses.
- A name such as ` + "`10-1-2-3.svc`" + ` is made of the pod's address. It is what CoreDNS calls a pod that has no name below the Service, and changes with the pod.
- The last column is what stsguard says of ` + "`pod.svc`" + ` by the specification: once the pod is ready, or runs, or never. **not promised** is what works on CoreDNS and needn't elsewhere: kube-dns makes no such names. Unknown is what depends on whoever writes the Service's endpoints.
`
)

// TestTable writes docs/dns.md anew, from what CoreDNS answers, and holds it
// against the file. With UPDATE=1 in the environment it writes the file.
func TestTable(t *testing.T) {
	var scenes []*scene
	for i := range chapters {
		for j := range chapters[i].situations {
			s := &chapters[i].situations[j]
			s.namespace = fmt.Sprintf("table-%d-%d", i, j)
			s.below = cmp.Or(s.below, "nginx")
			scenes = append(scenes, &s.scene)
		}
	}
	play(t, scenes...)
	var doc bytes.Buffer
	doc.WriteString(preface)
	for _, c := range chapters {
		fmt.Fprintf(&doc, "\n## %s\n\n| | `svc` A | `pod.svc` A | SRV | PTR | `pod.svc` by the specification |\n|---|---|---|---|---|---|\n", c.title)
		for _, s := range c.situations {
			t.Run(strings.ReplaceAll(c.title+", "+s.what, "/", " "), func(t *testing.T) {
				fmt.Fprintf(&doc, "| %s |\n", strings.Join(newLine(t, &s).cells(), " | "))
			})
		}
	}
	if t.Failed() {
		return
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(tableFile, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	written, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatalf("%v (UPDATE=1 writes it)", err)
	}
	if !bytes.Equal(written, doc.Bytes()) {
		t.Errorf("docs/dns.md is not what CoreDNS answers (UPDATE=1 writes it):\n%s", &doc)
	}
}

// line asks all that one line of a table tells.
type line struct {
	*testing.T
	*situation
	service *corev1.Service        // nil if it is missing
	pods    map[string]*corev1.Pod // by name
	byIP    map[string]*corev1.Pod
	// sets has at most two; without any, the pods are a Deployment's.
	sets []*appsv1.StatefulSet
}

func newLine(t *testing.T, s *situation) *line {
	l := &line{T: t, situation: s, pods: map[string]*corev1.Pod{}, byIP: map[string]*corev1.Pod{}, sets: the[*appsv1.StatefulSet](s.all())}
	pods, err := shared.pods.Pods(s.namespace).List(labels.Everything())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		l.pods[pod.Name], l.byIP[pod.Status.PodIP] = pod, pod
	}
	if slices.ContainsFunc(the[*corev1.Service](s.all()), func(s *corev1.Service) bool { return s.Name == l.below }) {
		if l.service, err = shared.services.Services(s.namespace).Get(l.below); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *line) cells() []string {
	return []string{l.what, l.ofService(), l.ofPods(), l.ofPort(), l.reverse(), l.promised()}
}

func (l *line) ask(kind uint16, parts ...string) answer {
	l.Helper()
	got, err := shared.ask(l.Context(), fullName(l.namespace, parts...), kind)
	if err != nil {
		l.Fatal(err)
	}
	return got
}

// ofService is what the Service's own name answers.
func (l *line) ofService() string {
	if got := l.ask(dns.TypeCNAME, l.below); len(got.records) > 0 {
		return "an alias for `" + got.String() + "`"
	}
	got := l.ask(dns.TypeA, l.below)
	if l.service != nil && slices.Equal(got.records, l.service.Spec.ClusterIPs) {
		return "the cluster IP"
	}
	return l.inWords(got, "the pods' addresses", "the address of ", func(record string) *corev1.Pod { return l.byIP[record] })
}

// inWords names the pods that the records of an answer stand for.
func (l *line) inWords(got answer, all, of string, podOf func(string) *corev1.Pod) string {
	if len(got.records) == 0 {
		return got.String()
	}
	var names []string
	for _, r := range got.records {
		pod := podOf(r)
		if pod == nil {
			l.Fatalf("no pod is behind %q of %s", r, got)
		}
		names = append(names, pod.Name)
	}
	if len(names) == len(l.pods) {
		return all
	}
	slices.Sort(names)
	return of + "`" + strings.Join(names, "`, `") + "`"
}

// ofPods is what the names of the pods below the Service answer, and those of
// pods that there might be.
func (l *line) ofPods() string {
	said := map[string]string{}
	for _, name := range l.asked() {
		got := l.ask(dns.TypeA, name, l.below)
		pod := l.pods[name]
		switch {
		case len(got.records) == 0:
			said[name] = got.String()
		case pod != nil && slices.Equal(got.records, []string{pod.Status.PodIP}):
			said[name] = "the pod's address"
		default:
			l.Fatalf("%s answers %s", name, got)
		}
		if predicted := l.predicted(name); predicted != nil {
			if outcome := string(predicted.CoreDNS); outcome != string(inventory.Unknown) && resolves(outcome, pod) != (len(got.records) > 0) {
				l.Errorf("%s: stsguard says %s, CoreDNS answers %s", name, outcome, got)
			}
		}
	}
	out := together(said)
	byAddress := 0
	for _, pod := range l.pods {
		if got := l.ask(dns.TypeA, dashed(pod.Status.PodIP), l.below); slices.Equal(got.records, []string{pod.Status.PodIP}) {
			byAddress++
		}
	}
	switch {
	case byAddress == 0:
	case byAddress == len(l.pods):
		out += "; `10-1-2-3.svc` resolves"
	default:
		l.Fatalf("%d of %d pods have a name of their address", byAddress, len(l.pods))
	}
	return out
}

// asked are the pods whose names are asked for.
func (l *line) asked() []string {
	out := slices.Collect(maps.Keys(l.pods))
	for _, set := range l.sets {
		if *set.Spec.Replicas == 0 || set.Spec.Ordinals != nil {
			out = append(out, set.Name+"-0")
		}
	}
	slices.Sort(out)
	return out
}

// together says once what is said of several pods, and of which if it isn't
// all of them.
func together(said map[string]string) string {
	pods := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		pods[said[name]] = append(pods[said[name]], "`"+name+"`")
	}
	if len(pods) == 1 {
		for words := range pods {
			return words
		}
	}
	var out []string
	for words, names := range pods {
		out = append(out, strings.Join(names, ", ")+": "+words)
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// ofPort is what the SRV record answers.
func (l *line) ofPort() string {
	got := l.ask(dns.TypeSRV, "_http", "_tcp", l.below)
	if len(got.records) == 0 {
		return got.String()
	}
	port := ""
	named := answer{code: got.code}
	ways := map[string]bool{}
	for _, r := range got.records {
		target, p, _ := strings.Cut(r, ":")
		if port != "" && p != port {
			l.Fatalf("several ports: %s", got)
		}
		port = p
		if target == fullName(l.namespace, l.below) {
			return "the Service's name, port " + port
		}
		first, ok := strings.CutSuffix(target, "."+fullName(l.namespace, l.below))
		if !ok {
			l.Fatalf("a target that is not below the Service: %s", got)
		}
		named.records = append(named.records, first)
		ways[l.way(first)] = true
	}
	if len(ways) != 1 {
		l.Fatalf("names of several kinds: %s", got)
	}
	if ways["`10-1-2-3.svc`"] {
		return "`10-1-2-3.svc` of each pod, port " + port
	}
	return l.inWords(named, "each pod's name", "the name of ", func(first string) *corev1.Pod { return l.pods[first] }) + ", port " + port
}

// way is how the first part of a name stands for a pod.
func (l *line) way(first string) string {
	if l.pods[first] != nil {
		return "`pod.svc`"
	}
	if l.byIP[strings.ReplaceAll(first, "-", ".")] != nil {
		return "`10-1-2-3.svc`"
	}
	l.Fatalf("%q stands for no pod", first)
	return ""
}

// reverse is what the addresses of the pods answer.
func (l *line) reverse() string {
	if len(l.pods) == 0 {
		return "no pods"
	}
	said := map[string]string{}
	for name, pod := range l.pods {
		got, err := shared.askReverse(l.Context(), pod.Status.PodIP)
		if err != nil {
			l.Fatal(err)
		}
		if len(got.records) == 0 {
			said[name] = got.String()
			continue
		}
		var words []string
		for _, r := range got.records {
			first, rest, _ := strings.Cut(r, ".")
			service, _, _ := strings.Cut(rest, ".")
			if rest != fullName(l.namespace, service) || first != name && first != dashed(pod.Status.PodIP) {
				l.Fatalf("%s of pod %s", got, name)
			}
			way := l.way(first)
			if len(got.records) > 1 {
				way = strings.Replace(way, "svc", service, 1)
			}
			words = append(words, way)
		}
		slices.Sort(words)
		slices.Reverse(words)
		said[name] = strings.Join(words, " and ")
	}
	return together(said)
}

// promised is what stsguard says that the specification promises of the pods'
// names. It says nothing of Deployments: of their pods nothing is promised.
func (l *line) promised() string {
	if len(l.sets) == 0 {
		return words(string(inventory.NotPromised))
	}
	said := map[string]string{}
	for _, name := range l.asked() {
		predicted := l.predicted(name)
		if predicted == nil {
			continue // no such pod will be made
		}
		said[name] = words(string(predicted.Specification))
		if predicted.Specification == inventory.NotPromised && predicted.CoreDNS != inventory.Unknown {
			said[name] = "**" + said[name] + "**"
		}
	}
	return together(said)
}

func words(outcome string) string { return strings.ReplaceAll(outcome, "-", " ") }

// predicted is what stsguard says of the pod's name below the Service. It is nil
// for pods of no StatefulSet, or beyond its replicas.
func (l *line) predicted(pod string) *inventory.Prospect {
	snapshot, err := shared.live.Snapshot(l.Context(), l.namespace)
	if err != nil {
		l.Fatal(err)
	}
	zone := inventory.Zone{ClusterDomain: clusterDomain, NoWorkloads: true}
	for _, set := range snapshot.Store.StatefulSets(l.namespace) {
		names := zone.Names(snapshot.Store, set)
		for _, run := range names.Pods {
			for ordinal := run.First; ordinal <= run.Last; ordinal++ {
				if set.PodName(ordinal) != pod {
					continue
				}
				if set.ServiceName != "" && set.ServiceName != l.below {
					// Another Service gives a pod no name.
					return &inventory.Prospect{Specification: inventory.Never, CoreDNS: inventory.Never}
				}
				return &run.Prospect
			}
		}
	}
	return nil
}
