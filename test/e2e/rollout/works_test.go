package rollout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tooLong has no pods: their labels would be longer than labels may be.
const tooLong = "a-name-with-so-many-characters-that-its-pods-may-never-be"

// wrong is a manifest of something wrong for every rule that a cluster can break.
func wrong(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "wrong.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// populate makes a namespace with all that is wrong, running or with no replicas.
func (o *operator) populate(t *testing.T, ns string, running bool) {
	t.Helper()
	text := wrong(t)
	if !running {
		text = strings.ReplaceAll(text, "replicas: 2", "replicas: 0")
	}
	o.kubectl(t, "", "create", "namespace", ns)
	o.kubectl(t, text, "apply", "-n", ns, "-f", "-")
}

// probe is a StatefulSet whose Service is missing.
func probe() *appsv1.StatefulSet {
	labels := map[string]string{"app": "probe"}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(0)), ServiceName: "missing", Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example:1"}}},
			},
		},
	}
}

// sets are the StatefulSets of a namespace.
func (o *operator) sets(t *testing.T, ns string) []appsv1.StatefulSet {
	t.Helper()
	all, err := o.client.AppsV1().StatefulSets(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return all.Items
}

// settled waits until the controller has done with each StatefulSet all that it is
// to do, and says so in its status.
func (o *operator) settled(t *testing.T, ns string, replicas int32) {
	t.Helper()
	eventually(t, "StatefulSets of "+ns, func() error {
		for _, s := range o.sets(t, ns) {
			switch st := s.Status; {
			case st.ObservedGeneration != s.Generation:
				return fmt.Errorf("%s is not seen yet", s.Name)
			case s.Name == tooLong:
			case st.ReadyReplicas != replicas || st.UpdatedReplicas != replicas || st.Replicas != replicas:
				return fmt.Errorf("%s: %+v", s.Name, st)
			}
		}
		return nil
	})
}

// works does what people and controllers do with what is there. Nothing of it is
// denied; a change of the object itself warns of all that audit tells of it, and
// what doesn't concern stsguard of nothing.
func (o *operator) works(t *testing.T, ns string, told rules) {
	t.Helper()
	o.settled(t, ns, 2)
	api := o.client.AppsV1().StatefulSets(ns)
	quietly := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if text := o.warnings.Take(); text != "" {
			t.Errorf("%s: warned %s", what, text)
		}
	}
	for _, replicas := range []int32{3, 2} {
		o.warnings.Take()
		for _, s := range o.sets(t, ns) {
			scale, err := api.GetScale(t.Context(), s.Name, metav1.GetOptions{})
			if err == nil {
				scale.Spec.Replicas = replicas
				_, err = api.UpdateScale(t.Context(), s.Name, scale, metav1.UpdateOptions{})
			}
			quietly("scale "+s.Name, err)
		}
		o.settled(t, ns, replicas)
	}

	// An update that the controller rolls out, and a finalizer that comes and goes.
	image := fmt.Sprintf("example:%s", metav1.Now().Format("150405.000"))
	for _, patch := range []string{
		`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"` + image + `"}]}}}}`,
		`{"metadata":{"finalizers":["example.com/wait"]}}`,
		`{"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/wait"]}}`,
	} {
		warned := rules{}
		for _, s := range o.sets(t, ns) {
			o.warnings.Take()
			if _, err := api.Patch(t.Context(), s.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatalf("patch %s with %s: %v", s.Name, patch, err)
			}
			for _, m := range warnedRule.FindAllStringSubmatch(o.warnings.Take(), -1) {
				warned.add("statefulset/"+s.Name, m[1])
			}
		}
		warned.check(t, "warnings", told.sets())
		o.settled(t, ns, 2)
	}
	services, err := o.client.CoreV1().Services(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services.Items {
		if _, err := o.client.CoreV1().Services(ns).Patch(t.Context(), s.Name, types.MergePatchType, []byte(`{"metadata":{"labels":{"example.com/seen":"`+image[len("example:"):]+`"}}}`), metav1.PatchOptions{}); err != nil {
			t.Errorf("label %s: %v", s.Name, err)
		}
	}

	// Pods come back.
	o.warnings.Take()
	quietly("delete pods", o.client.CoreV1().Pods(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app in (cart, queue, search)"}))
	eventually(t, "new pods", func() error {
		pods, err := o.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app in (cart, queue, search)"})
		if err == nil && len(pods.Items) != 6 {
			err = fmt.Errorf("%d pods", len(pods.Items))
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp != nil {
				err = errors.New("an old one is still there")
			}
		}
		return err
	})
	o.settled(t, ns, 2)

	// So does a StatefulSet over its running pods, as operators and people have it
	// who change what can't be changed.
	s, err := api.Get(t.Context(), "search", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	quietly("delete a StatefulSet without its pods", api.Delete(t.Context(), s.Name, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationOrphan)}))
	eventually(t, "only the pods are left", func() error {
		_, err := api.Get(t.Context(), s.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("not yet: %w", err)
	})
	if _, err := api.Create(t.Context(), &appsv1.StatefulSet{ObjectMeta: fresh(s.ObjectMeta), Spec: s.Spec}, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create it again over its pods: %v", err)
	}
	o.settled(t, ns, 2)
}

// leaves deletes everything in a namespace, the Services first as Helm and kubectl
// do, and then the namespace. It is told that the Services are used, and no more.
func (o *operator) leaves(t *testing.T, ns string) {
	t.Helper()
	out := o.kubectl(t, wrong(t), "delete", "-n", ns, "--cascade=foreground", "-f", "-")
	if told := strings.Count(out, "Warning: "); told == 0 || told != strings.Count(out, "Warning: [service-in-use]") {
		t.Errorf("warned %s", out)
	}
	o.kubectl(t, "", "delete", "namespace", ns)
}
