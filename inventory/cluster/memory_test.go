package cluster

import (
	"fmt"
	"runtime"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/cache"

	"github.com/stsguard/stsguard/inventory"
)

const cachedObjects = 100_000

// BenchmarkMemory compares what 100,000 objects, half Services and half
// StatefulSets, take in an inventory and in the indexer that
// controller-runtime's cache keeps typed objects in. Each comes out of
// protobuf, so that none shares memory with another one.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		typed := retained(b, func() any {
			services := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			sets := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			each(b, func(s *corev1.Service, set *appsv1.StatefulSet) {
				if err := services.Add(s); err != nil {
					b.Fatal(err)
				}
				if err := sets.Add(set); err != nil {
					b.Fatal(err)
				}
			})
			return []any{services, sets}
		})
		ours := retained(b, func() any {
			store := &inventory.Store{}
			services, sets := newCompactor(), newCompactor()
			each(b, func(s *corev1.Service, set *appsv1.StatefulSet) {
				store.PutService(services.service(inventory.FromService(s)))
				store.PutStatefulSet(sets.statefulSet(inventory.FromStatefulSet(set)))
			})
			return []any{store, services, sets}
		})
		b.ReportMetric(typed/1e6, "typed-MB")
		b.ReportMetric(ours/1e6, "stsguard-MB")
		b.ReportMetric(ours/typed, "ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// retained is how many bytes what build returns keeps from being collected.
func retained(b *testing.B, build func() any) float64 {
	b.Helper()
	before := heap()
	kept := build()
	after := heap()
	runtime.KeepAlive(kept)
	return after - before
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// each calls use with as many pairs as make all objects.
func each(b *testing.B, use func(*corev1.Service, *appsv1.StatefulSet)) {
	b.Helper()
	for i := range cachedObjects / 2 {
		app := fmt.Sprintf("app-%d", i)
		meta := metav1.ObjectMeta{
			Name: app, Namespace: fmt.Sprintf("team-%d", i/50), UID: types.UID(fmt.Sprintf("%08d-6393-11e8-b7cc-42010a800002", i)), ResourceVersion: fmt.Sprint(100000 + i),
			Labels:        map[string]string{"app.kubernetes.io/name": app, "app.kubernetes.io/instance": app + "-release", "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "database-1.2.3"},
			Annotations:   map[string]string{"meta.helm.sh/release-name": app + "-release", "meta.helm.sh/release-namespace": "team"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "helm", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: make([]byte, 1200)}}},
		}
		selector := map[string]string{"app.kubernetes.io/name": app, "app.kubernetes.io/instance": app + "-release"}
		s := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: corev1.ClusterIPNone, ClusterIPs: []string{corev1.ClusterIPNone}, Selector: selector,
			SessionAffinity: corev1.ServiceAffinityNone, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "client", Port: 5432, TargetPort: intstr.FromString("client"), Protocol: corev1.ProtocolTCP}},
		}}
		c := corev1.Container{
			Name: "main", Image: "registry.example.com/database/server:16.4.0", Command: []string{"/bin/sh", "-c", "exec server"},
			Ports:          []corev1.ContainerPort{{Name: "client", ContainerPort: 5432, Protocol: corev1.ProtocolTCP}},
			VolumeMounts:   []corev1.VolumeMount{{Name: "data", MountPath: "/var/lib/data"}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"pg_isready"}}}, PeriodSeconds: 10},
		}
		for e := range 6 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", e), Value: "some value or other"})
		}
		set := &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
			ServiceName: app, Replicas: new(int32(3)), PodManagementPolicy: appsv1.OrderedReadyPodManagement, Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}, RestartPolicy: corev1.RestartPolicyAlways}},
		}}
		var freshService corev1.Service
		var freshSet appsv1.StatefulSet
		if err := copyBy(s.Marshal, freshService.Unmarshal); err != nil {
			b.Fatal(err)
		}
		if err := copyBy(set.Marshal, freshSet.Unmarshal); err != nil {
			b.Fatal(err)
		}
		use(&freshService, &freshSet)
	}
}

func copyBy(marshal func() ([]byte, error), unmarshal func([]byte) error) error {
	data, err := marshal()
	if err != nil {
		return err
	}
	return unmarshal(data)
}
