package dns

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/stsguard/stsguard/test/controlplane"
)

// hold plays a scene and returns how to ask about it.
func hold(t *testing.T, objects ...object) *asker {
	t.Helper()
	s := &scene{namespace: namespaceOf(t), objects: objects}
	play(t, s)
	return &asker{t, s, shared.resolver}
}

func namespaceOf(t *testing.T) string {
	return strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
}

type asker struct {
	*testing.T
	*scene
	resolver
}

// answers checks what a name answers; no records are NXDOMAIN.
func (a *asker) answers(kind uint16, parts []string, want ...string) {
	a.Helper()
	got, err := a.resolver.ask(a.Context(), fullName(a.namespace, parts...), kind)
	if err != nil {
		a.Fatal(err)
	}
	slices.Sort(want)
	if !slices.Equal(got.records, want) || len(want) == 0 && !got.nxdomain() {
		a.Errorf("%s %s answers %s, want %q", dns.TypeToString[kind], strings.Join(parts, "."), got, want)
	}
}

// reverse checks which names an address has.
func (a *asker) reverse(address string, want ...string) {
	a.Helper()
	got, err := a.resolver.askReverse(a.Context(), address)
	if err != nil {
		a.Fatal(err)
	}
	slices.Sort(want)
	if !slices.Equal(got.records, want) {
		a.Errorf("%s has the names %s, want %q", address, got, want)
	}
}

func (a *asker) pods() []*corev1.Pod {
	a.Helper()
	pods, err := shared.pods.Pods(a.namespace).List(labels.Everything())
	if err != nil {
		a.Fatal(err)
	}
	slices.SortFunc(pods, func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) })
	return pods
}

func (a *asker) clusterIP(service string) string {
	a.Helper()
	s, err := shared.services.Services(a.namespace).Get(service)
	if err != nil {
		a.Fatal(err)
	}
	return s.Spec.ClusterIP
}

func (a *asker) hostnames(service string) []string {
	a.Helper()
	endpoints, err := a.endpoints(service)
	if err != nil {
		a.Fatal(err)
	}
	var out []string
	for _, e := range endpoints {
		if e.Hostname != nil {
			out = append(out, *e.Hostname)
		}
	}
	slices.Sort(out)
	return out
}

func TestBarePodNameIsTheNameOfAService(t *testing.T) {
	a := hold(t, newService("nginx", headless), newSet("web", "nginx"), newService("web-1"))
	a.answers(dns.TypeA, []string{"web-0"})
	a.answers(dns.TypeA, []string{"web-1"}, a.clusterIP("web-1"))
}

// An address has a name below each Service that selects its pod: the hostname
// where the Service governs it, else the dashed address.
func TestAnAddressHasANameForEachService(t *testing.T) {
	a := hold(t, newService("nginx", headless), newService("client"), newService("other", headless), newSet("web", "nginx", replicas(1)))
	ip := a.pods()[0].Status.PodIP
	a.reverse(ip, fullName(a.namespace, "web-0", "nginx"), fullName(a.namespace, dashed(ip), "client"), fullName(a.namespace, dashed(ip), "other"))
	a.reverse(a.clusterIP("client"), fullName(a.namespace, "client"))
}

func TestDeploymentPodsHaveNamesOfTheirAddresses(t *testing.T) {
	for name, s := range map[string]*corev1.Service{"headless": newService("nginx", headless), "cluster-ip": newService("nginx")} {
		t.Run(name, func(t *testing.T) {
			a := hold(t, s, newDeployment("web"))
			for _, pod := range a.pods() {
				a.answers(dns.TypeA, []string{pod.Name, "nginx"})
				a.answers(dns.TypeA, []string{dashed(pod.Status.PodIP), "nginx"}, pod.Status.PodIP)
				a.reverse(pod.Status.PodIP, fullName(a.namespace, dashed(pod.Status.PodIP), "nginx"))
			}
		})
	}
}

// A Deployment can give all of its pods one hostname below a Service.
func TestDeploymentPodsShareTheHostnameOfTheTemplate(t *testing.T) {
	a := hold(t, newService("nginx", headless), newDeployment("web", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Hostname, d.Spec.Template.Spec.Subdomain = "front", "nginx"
	}))
	a.answers(dns.TypeA, []string{"front", "nginx"}, addresses(a.pods())...)
}

func TestStatefulSetPodsHaveNoNameOfTheirAddress(t *testing.T) {
	a := hold(t, newService("nginx", headless), newSet("web", "nginx", replicas(1)))
	a.answers(dns.TypeA, []string{dashed(a.pods()[0].Status.PodIP), "nginx"})
}

func TestHeadlessServiceWithNoReadyEndpoint(t *testing.T) {
	a := hold(t, newService("nginx", headless), newSet("web", "nginx", neverReady))
	a.answers(dns.TypeA, []string{"nginx"})
	a.answers(dns.TypeA, []string{"web-0", "nginx"})
}

// The annotation that came before publishNotReadyAddresses is dead.
func TestTolerateUnreadyEndpointsIsDead(t *testing.T) {
	a := hold(t, newService("nginx", headless, func(s *corev1.Service) {
		s.Annotations = map[string]string{"service.alpha.kubernetes.io/tolerate-unready-endpoints": "true"}
	}), newSet("web", "nginx", neverReady))
	a.answers(dns.TypeA, []string{"web-0", "nginx"})
}

func TestHostnameAndSubdomainAreSetOverTheTemplate(t *testing.T) {
	a := hold(t, newService("nginx", headless), newService("other", headless), newSet("web", "nginx", replicas(1), func(s *appsv1.StatefulSet) {
		s.Spec.Template.Spec.Hostname, s.Spec.Template.Spec.Subdomain = "front", "other"
	}))
	pod := a.pods()[0]
	if pod.Spec.Hostname != "web-0" || pod.Spec.Subdomain != "nginx" {
		t.Errorf("hostname %q, subdomain %q", pod.Spec.Hostname, pod.Spec.Subdomain)
	}
	a.answers(dns.TypeA, []string{"web-0", "nginx"}, pod.Status.PodIP)
	a.answers(dns.TypeA, []string{"front", "other"})
}

// Which endpoints carry hostnames doesn't depend on the Service being headless,
// only on its being the one that governs.
func TestHostnamesOfEndpoints(t *testing.T) {
	a := hold(t, newService("nginx"), newService("other", headless), newSet("web", "nginx"))
	if got := a.hostnames("nginx"); !slices.Equal(got, []string{"web-0", "web-1"}) {
		t.Errorf("the governing Service's endpoints have the hostnames %q", got)
	}
	if got := a.hostnames("other"); len(got) > 0 {
		t.Errorf("another headless Service's endpoints have the hostnames %q", got)
	}
	a.answers(dns.TypeA, []string{"web-0", "other"})
}

func TestNoEndpoints(t *testing.T) {
	a := hold(t, newService("bare", headless, selecting(nil)), newService("empty", headless, selecting(map[string]string{})),
		newService("elsewhere", alias("db.example.com")), newService("nginx", headless), newSet("web", "nginx"))
	for _, name := range []string{"bare", "empty", "elsewhere"} {
		if got, err := a.slices(name); err != nil || len(got) > 0 {
			t.Errorf("%s has %d EndpointSlices, %v", name, len(got), err)
		}
	}
}

// What somebody writes into the endpoints of a Service without a selector
// resolves, by its hostname too.
func TestEndpointsByHand(t *testing.T) {
	service := newService("nginx", headless, selecting(nil))
	a := hold(t, service, newSlice(service, "10.0.0.7", "web-0"), newSet("web", "nginx"))
	a.answers(dns.TypeA, []string{"nginx"}, "10.0.0.7")
	a.answers(dns.TypeA, []string{"web-0", "nginx"}, "10.0.0.7")
	a.answers(dns.TypeSRV, []string{"_http", "_tcp", "nginx"}, fullName(a.namespace, "web-0", "nginx")+":80")
}

// With CoreDNS's endpoint_pod_names, the pods of Deployments have names, too.
func TestEndpointPodNames(t *testing.T) {
	a := hold(t, newService("nginx", headless), newDeployment("web"))
	ports, err := controlplane.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	corefile := fmt.Sprintf(`.:%d {
	bind 127.0.0.1
	errors
	kubernetes cluster.local in-addr.arpa {
		kubeconfig coredns.kubeconfig
		endpoint_pod_names
	}
}
`, ports[0])
	if err := os.WriteFile(filepath.Join(shared.Dir, "Corefile.pod-names"), []byte(corefile), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := controlplane.CoreDNS()
	if err != nil {
		t.Fatal(err)
	}
	server, err := shared.Run("coredns-pod-names", path, "-conf", "Corefile.pod-names")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(os.Kill); err != nil {
			t.Error(err)
		}
	}()
	a.resolver = resolver{fmt.Sprintf("127.0.0.1:%d", ports[0])}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := server.WaitReady(ctx, "CoreDNS", func(ctx context.Context) error {
		got, err := a.ask(ctx, fullName(a.namespace, "nginx"), dns.TypeA)
		if err == nil && len(got.records) == 0 {
			err = fmt.Errorf("it answers %s", got)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, pod := range a.pods() {
		a.answers(dns.TypeA, []string{pod.Name, "nginx"}, pod.Status.PodIP)
		a.reverse(pod.Status.PodIP, fullName(a.namespace, pod.Name, "nginx"))
	}
}
