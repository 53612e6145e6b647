package dns

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/stsguard/stsguard/test/controlplane"
)

var app = map[string]string{"app": "web"}

// newService is a Service with a cluster IP that selects the pods of what
// newSet and newDeployment make.
func newService(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector: app,
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func headless(s *corev1.Service)  { s.Spec.ClusterIP = corev1.ClusterIPNone }
func published(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }
func portless(s *corev1.Service)  { s.Spec.Ports = nil }
func unnamed(s *corev1.Service)   { s.Spec.Ports[0].Name = "" }

func selecting(labels map[string]string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Selector = labels }
}

// selectorless says that only what somebody writes by hand is the Service's
// endpoints. An alias has none either way.
func selectorless(s *corev1.Service) bool {
	return len(s.Spec.Selector) == 0 && s.Spec.Type != corev1.ServiceTypeExternalName
}

func alias(host string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, host }
}

func newSet(name, governing string, change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas:            new(int32(2)),
			ServiceName:         governing,
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:            &metav1.LabelSelector{MatchLabels: app},
			Template:            template(),
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func newDeployment(name string, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: app}, Template: template()},
	}
	for _, c := range change {
		c(d)
	}
	return d
}

func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: app},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "web", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
		}}},
	}
}

func replicas(n int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.Replicas = &n }
}

func startingAt(ordinal int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: ordinal} }
}

func neverReady(s *appsv1.StatefulSet) {
	s.Spec.Template.Annotations = map[string]string{controlplane.NotReady: "false"}
}

// newSlice is what somebody writes by hand: one endpoint of the Service, with a
// hostname if there is one.
func newSlice(service *corev1.Service, address, hostname string) *discoveryv1.EndpointSlice {
	e := discoveryv1.Endpoint{Addresses: []string{address}}
	if hostname != "" {
		e.Hostname = &hostname
	}
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name:   service.Name + "-by-hand",
			Labels: map[string]string{discoveryv1.LabelServiceName: service.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{e},
	}
	for _, p := range service.Spec.Ports {
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(p.Port)})
	}
	return out
}
