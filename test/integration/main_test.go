// Package integration holds the webhook against a real API server.
package integration

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

// shared is what all tests work with, each in a namespace of its own.
var shared *guarded.Guarded

const plainConfig = "apiVersion: stsguard.dev/v1alpha1\nkind: Configuration\n"

func TestMain(m *testing.M) {
	var cp *controlplane.ControlPlane
	os.Exit(controlplane.Run(guardedTests{m, &cp}, &cp, controlplane.Options{}))
}

// guardedTests are the tests, with stsguard started before them.
type guardedTests struct {
	tests *testing.M
	cp    **controlplane.ControlPlane
}

func (g guardedTests) Run() int {
	var err error
	if shared, err = guarded.Guard(context.Background(), *g.cp, guarded.Options{Config: plainConfig}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return g.tests.Run()
}

func namespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	ns, err := shared.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func service(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone,
			Selector:  map[string]string{"app": name},
			Ports:     []corev1.ServicePort{{Name: "web", Port: 80}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func set(name, governing string) *appsv1.StatefulSet {
	labels := map[string]string{"app": governing}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas:    new(int32(0)),
			ServiceName: governing,
			Selector:    &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}},
			},
		},
	}
}

// eventually tries again for a while.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	controlplane.Eventually(t, 30*time.Second, what, check)
}

// contains checks that a text has all parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("want %q in:\n%s", part, text)
		}
	}
}
