package main

import (
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/stsguard/stsguard/inventory"
)

// perNamespace is how many objects of the cache share a namespace.
const perNamespace = 100

// requestNamespaces is over how many namespaces the requests spread; all of
// them are in the cache, however small it is.
const requestNamespaces = 8

func namespaceName(i int) string { return fmt.Sprintf("team-%d", i) }

// fill puts pairs of a headless Service and its StatefulSet into the store,
// and the Service of every request.
func fill(store *inventory.Store, objects, requests int) {
	for i := range max(requestNamespaces, objects/perNamespace) {
		store.PutNamespace(inventory.FromNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceName(i)}}))
	}
	for i := range requests {
		store.PutService(inventory.FromService(service(namespaceName(i%requestNamespaces), requestApp(i))))
	}
	for i := range (objects - requests) / 2 {
		app := fmt.Sprintf("app-%d", i)
		store.PutService(inventory.FromService(service(namespaceName(i*2/perNamespace), app)))
		store.PutStatefulSet(inventory.FromStatefulSet(statefulSet(namespaceName(i*2/perNamespace), app, sizes[0])))
	}
}

// requestApps is how many Services the requests' StatefulSets are governed by.
const requestApps = 400

func requestApp(i int) string { return fmt.Sprintf("requested-%d", i%requestApps) }

func service(namespace, app string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: namespace, Labels: labels(app)},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: corev1.ClusterIPNone, ClusterIPs: []string{corev1.ClusterIPNone},
			Selector: labels(app), SessionAffinity: corev1.ServiceAffinityNone, PublishNotReadyAddresses: true,
			Ports: []corev1.ServicePort{{Name: "client", Port: 5432, TargetPort: intstr.FromString("client"), Protocol: corev1.ProtocolTCP}},
		},
	}
}

func labels(app string) map[string]string {
	return map[string]string{"app.kubernetes.io/name": app, "app.kubernetes.io/instance": app + "-release"}
}

// size is how much there is in a StatefulSet beyond the least.
type size struct {
	label                   string
	environment, containers int
	managedFields           bool
}

var sizes = []size{
	{label: "2 KB", containers: 1},
	{label: "4 KB", environment: 9, containers: 1, managedFields: true},
	{label: "10 KB", environment: 15, containers: 3, managedFields: true},
}

func statefulSet(namespace, app string, s size) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{
			Name: app, Namespace: namespace, Labels: labels(app),
			Annotations:       map[string]string{"meta.helm.sh/release-name": app + "-release", "meta.helm.sh/release-namespace": namespace},
			CreationTimestamp: metav1.Now(), Generation: 1, UID: types.UID("11111111-1111-4111-8111-111111111111"),
		},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: app, Replicas: new(int32(3)), PodManagementPolicy: appsv1.OrderedReadyPodManagement,
			RevisionHistoryLimit: new(int32(10)),
			Selector:             &metav1.LabelSelector{MatchLabels: labels(app)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels(app)},
				Spec: corev1.PodSpec{
					ServiceAccountName: app, RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
					TerminationGracePeriodSeconds: new(int64(30)),
				},
			},
		},
	}
	for i := range s.containers {
		c := corev1.Container{
			Name: fmt.Sprintf("main-%d", i), Image: "registry.example.com/database/server:16.4.0",
			Command:      []string{"/bin/sh", "-c", "exec server --data /var/lib/data --listen 0.0.0.0 --peers-from-environment"},
			Ports:        []corev1.ContainerPort{{Name: "client", ContainerPort: 5432 + int32(i), Protocol: corev1.ProtocolTCP}},
			VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/var/lib/data"}},
			ReadinessProbe: &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sh", "-c", "pg_isready -q -h 127.0.0.1"}}},
				PeriodSeconds: 10, TimeoutSeconds: 1, FailureThreshold: 3, SuccessThreshold: 1,
			},
		}
		for e := range s.environment {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SERVER_SETTING_%d", e), Value: fmt.Sprintf("some value of setting number %d", e)})
		}
		set.Spec.Template.Spec.Containers = append(set.Spec.Template.Spec.Containers, c)
	}
	if s.managedFields {
		set.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: "helm", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "apps/v1", Time: new(metav1.Now()),
			FieldsType: "FieldsV1", FieldsV1: managedFields(set),
		}}
	}
	return set
}

// managedFields names the fields as the API server would.
func managedFields(set *appsv1.StatefulSet) *metav1.FieldsV1 {
	containers := map[string]any{}
	for _, c := range set.Spec.Template.Spec.Containers {
		environment := map[string]any{".": map[string]any{}}
		for _, e := range c.Env {
			environment[fmt.Sprintf("k:{%q:%q}", "name", e.Name)] = map[string]any{".": map[string]any{}, "f:name": map[string]any{}, "f:value": map[string]any{}}
		}
		containers[fmt.Sprintf("k:{%q:%q}", "name", c.Name)] = map[string]any{
			".": map[string]any{}, "f:name": map[string]any{}, "f:image": map[string]any{}, "f:command": map[string]any{}, "f:env": environment,
		}
	}
	raw, err := json.Marshal(map[string]any{
		"f:metadata": map[string]any{"f:labels": map[string]any{".": map[string]any{}, "f:app.kubernetes.io/name": map[string]any{}}},
		"f:spec": map[string]any{"f:serviceName": map[string]any{}, "f:replicas": map[string]any{},
			"f:template": map[string]any{"f:spec": map[string]any{"f:containers": containers}}},
	})
	if err != nil {
		panic(err) // maps of strings marshal
	}
	return &metav1.FieldsV1{Raw: raw}
}

// reviews are as many admission requests, no two alike, each for a valid
// StatefulSet whose Service is in the cache.
func reviews(count int, s size) ([][]byte, error) {
	out := make([][]byte, count)
	for i := range out {
		namespace, app := namespaceName(i%requestNamespaces), requestApp(i)
		set := statefulSet(namespace, app, s)
		set.Name = fmt.Sprintf("%s-set-%d", app, i)
		set.Labels["bench.example.com/request"] = fmt.Sprint(i)
		set.Spec.Template.Labels["bench.example.com/request"] = fmt.Sprint(i)
		object, err := json.Marshal(set)
		if err != nil {
			return nil, fmt.Errorf("write a StatefulSet: %w", err)
		}
		out[i], err = json.Marshal(&admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
			Request: &admissionv1.AdmissionRequest{
				UID:             types.UID(fmt.Sprintf("%08d-1111-4111-8111-%012d", i, i)),
				Kind:            metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"},
				Resource:        metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"},
				RequestKind:     &metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"},
				RequestResource: &metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"},
				Name:            set.Name, Namespace: namespace, Operation: admissionv1.Create,
				UserInfo: authenticationv1.UserInfo{Username: "kubernetes-admin", Groups: []string{"system:masters", "system:authenticated"}},
				Object:   runtime.RawExtension{Raw: object},
				DryRun:   new(false),
				Options:  runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1","fieldManager":"helm"}`)},
			},
		})
		if err != nil {
			return nil, fmt.Errorf("write an AdmissionReview: %w", err)
		}
	}
	return out, nil
}
