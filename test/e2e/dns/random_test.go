package dns

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/stsguard/stsguard/test/controlplane"
)

// dice make a topology: the same seed, the same topology.
type dice struct{ *rand.Rand }

// newTopology is a random scene. With legacyNames no Service's name begins with
// a digit, which Kubernetes before 1.36 refuses.
func newTopology(seed uint64, legacyNames bool) *scene {
	d := dice{rand.New(rand.NewPCG(seed, 0))}
	s := &scene{namespace: fmt.Sprintf("topology-%d", seed), seed: seed}
	sets := d.sets()
	services := d.services(sets, legacyNames)
	for _, set := range sets {
		set.Spec.ServiceName = d.governing(set, services)
	}
	for _, service := range services {
		if selectorless(service) && d.in(2) {
			s.objects = append(s.objects, newSlice(service, "10.0.0.9", d.handWritten(sets)))
		}
		if d.in(4) {
			s.later = append(s.later, service)
		} else {
			s.objects = append(s.objects, service)
		}
	}
	for _, set := range sets {
		s.objects = append(s.objects, set)
		if set.Spec.Template.Spec.NodeSelector == nil && d.in(4) {
			for _, pod := range podsOf(set) {
				if d.in(2) {
					s.unready = append(s.unready, pod)
				}
			}
		}
	}
	for i := range d.IntN(3) {
		s.objects = append(s.objects, d.deployment(fmt.Sprintf("front-%d", i)))
	}
	d.Shuffle(len(s.objects), func(i, j int) { s.objects[i], s.objects[j] = s.objects[j], s.objects[i] })
	return s
}

// in is true once in n times.
func (d dice) in(n int) bool { return d.IntN(n) == 0 }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// names picks different ones.
func (d dice) names(count int, from ...string) []string {
	d.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:count]
}

// labels has keys in common with other labels, and often values.
func (d dice) labels() map[string]string {
	out := map[string]string{"app": pick(d, "web", "db")}
	if d.in(2) {
		out["tier"] = pick(d, "a", "b", "")
	}
	return out
}

func (d dice) sets() []*appsv1.StatefulSet {
	var out []*appsv1.StatefulSet
	for _, name := range d.names(1+d.IntN(3), "web", "db", "a", "web-0", "9lives", "nginx", strings.Repeat("x", 52)) {
		if d.in(40) {
			name = strings.Repeat("y", 62)
		}
		if slices.ContainsFunc(out, func(s *appsv1.StatefulSet) bool { return s.Name == name }) {
			continue
		}
		set := &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.StatefulSetSpec{
				Replicas:            new(d.Int32N(4)),
				PodManagementPolicy: pick(d, appsv1.ParallelPodManagement, appsv1.OrderedReadyPodManagement),
				Template:            d.template(),
			},
		}
		set.Spec.Selector = &metav1.LabelSelector{MatchLabels: set.Spec.Template.Labels}
		if d.in(4) {
			set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: pick[int32](d, 0, 1, 3, 9)}
		}
		out = append(out, set)
	}
	return out
}

func (d dice) deployment(name string) *appsv1.Deployment {
	out := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: new(d.Int32N(4)), Template: d.template()},
	}
	out.Spec.Selector = &metav1.LabelSelector{MatchLabels: out.Spec.Template.Labels}
	return out
}

func (d dice) template() corev1.PodTemplateSpec {
	t := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: d.labels()},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "main"}}},
	}
	spec := &t.Spec
	switch {
	case d.in(5):
		t.Annotations = map[string]string{controlplane.NotReady: "false"}
	case d.in(8):
		spec.NodeSelector = nowhere
	}
	if d.in(6) {
		// A StatefulSet's pods have other ones.
		spec.Hostname, spec.Subdomain = "front", pick(d, serviceNames...)
	}
	if d.in(10) {
		// With ports, no two could run on one node.
		spec.HostNetwork = true
		return t
	}
	spec.Containers[0].Ports = d.containerPorts(8080)
	if d.in(4) {
		spec.Containers = append(spec.Containers, corev1.Container{Name: "second", Image: "second", Ports: d.containerPorts(9090)})
	}
	if d.in(8) {
		spec.InitContainers = []corev1.Container{{Name: "before", Image: "before", Ports: d.containerPorts(7070)}}
		if d.in(2) {
			spec.InitContainers[0].RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
	}
	return t
}

func (d dice) containerPorts(first int32) []corev1.ContainerPort {
	var out []corev1.ContainerPort
	for i, name := range d.names(d.IntN(4), "http", "dns", "peer", "") {
		out = append(out, corev1.ContainerPort{Name: name, ContainerPort: first + int32(i), Protocol: d.protocol()})
	}
	return out
}

func (d dice) protocol() corev1.Protocol {
	return pick(d, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
}

// serviceNames are names of other kinds, too.
var serviceNames = []string{"web", "db", "a", "web-0", "nginx", "web-headless", "front-0", "svc"}

func (d dice) services(sets []*appsv1.StatefulSet, legacyNames bool) []*corev1.Service {
	names := slices.Clone(serviceNames)
	if !legacyNames {
		names = append(names, "7up", "0")
	}
	var out []*corev1.Service
	for _, name := range d.names(pick(d, 0, 1, 2, 2, 3), names...) {
		s := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{
				Selector:                 d.selector(sets),
				PublishNotReadyAddresses: d.in(3),
				Ports:                    d.servicePorts(),
			},
		}
		switch n := d.IntN(20); {
		case n < 10:
			s.Spec.ClusterIP = corev1.ClusterIPNone
		case n < 14:
		case n < 16:
			s.Spec.Type = corev1.ServiceTypeNodePort
		case n < 18:
			s.Spec.Type = corev1.ServiceTypeLoadBalancer
		default:
			s.Spec.Type = corev1.ServiceTypeExternalName
			s.Spec.ExternalName = pick(d, "db.example.com", "db.example.com.", "192.0.2.1", fullName("default", "kubernetes"))
		}
		if s.Spec.ClusterIP != corev1.ClusterIPNone && s.Spec.Type != corev1.ServiceTypeExternalName && len(s.Spec.Ports) == 0 {
			s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		}
		out = append(out, s)
	}
	return out
}

func (d dice) servicePorts() []corev1.ServicePort {
	var out []corev1.ServicePort
	for i, name := range d.names(d.IntN(4), "http", "dns", "peer", strings.Repeat("p", 63)) {
		p := corev1.ServicePort{Name: name, Port: 80 + int32(i), Protocol: d.protocol()}
		switch {
		case d.in(3):
			p.TargetPort = intstr.FromInt32(8080)
		case d.in(2):
			p.TargetPort = intstr.FromString(pick(d, "http", "dns", "peer"))
		}
		out = append(out, p)
	}
	if len(out) == 1 && d.in(3) {
		out[0].Name = ""
	}
	return out
}

// selector is mostly one that selects something.
func (d dice) selector(sets []*appsv1.StatefulSet) map[string]string {
	set := pick(d, sets...)
	out := maps.Clone(set.Spec.Template.Labels)
	ordinal := fmt.Sprint(d.IntN(4))
	switch d.IntN(20) {
	case 0:
		return nil
	case 1:
		return map[string]string{}
	case 2:
		return d.labels()
	case 3:
		out["none"] = "has-it"
	case 4:
		if len(set.Name) <= mostSetName {
			out[appsv1.StatefulSetPodNameLabel] = set.Name + "-" + ordinal
		}
	case 5:
		return map[string]string{appsv1.PodIndexLabel: ordinal}
	case 6:
		if len(set.Name) <= mostSetName {
			out[appsv1.ControllerRevisionHashLabelKey] = set.Name + "-" + ordinal
		}
	case 7, 8, 9:
		delete(out, "tier")
	}
	return out
}

// governing is mostly the name of a Service that there is.
func (d dice) governing(set *appsv1.StatefulSet, services []*corev1.Service) string {
	switch {
	case d.in(12):
		return ""
	case len(services) == 0 || d.in(8):
		return pick(d, append([]string{set.Name}, serviceNames...)...)
	}
	return pick(d, services...).Name
}

// handWritten is the hostname of an endpoint that somebody writes by hand.
func (d dice) handWritten(sets []*appsv1.StatefulSet) string {
	set := pick(d, sets...)
	if len(set.Name) > mostSetName || d.in(2) {
		return ""
	}
	return set.Name + "-0"
}
