package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// childVariable has the test binary be somebody who is stopped in the middle
// of the tests.
const childVariable = "STSGUARD_CONTROLPLANE_CHILD"

// shared is the control plane of the tests which leave it as it is.
var shared *ControlPlane

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(Run(endless{}, &shared, Options{}))
	}
	os.Exit(Run(m, &shared, Options{Output: os.Stderr}))
}

// endless are tests that say where the control plane is and go on for ever.
type endless struct{}

func (endless) Run() int {
	fmt.Println(shared.Dir)
	select {}
}

func TestStatefulSetGetsItsPods(t *testing.T) {
	client := clientFor(t, shared)
	namespace := newNamespace(t, client)
	labels := map[string]string{"app": "web"}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx"},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone,
			Selector:  labels,
			Ports:     []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}
	if _, err := client.CoreV1().Services(namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.StatefulSetSpec{
			Replicas:    new(int32(2)),
			ServiceName: "nginx",
			Selector:    &metav1.LabelSelector{MatchLabels: labels},
			// In order, the second waits for the first to be ready, which
			// takes a node.
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx"}}},
			},
		},
	}
	if _, err := client.AppsV1().StatefulSets(namespace).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"web-0", "web-1"} {
		eventually(t, "pod "+name, func() error {
			pod, err := client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if pod.Spec.Hostname != name || pod.Spec.Subdomain != "nginx" || pod.Spec.ServiceAccountName != "default" {
				t.Errorf("%s has hostname %q, subdomain %q and service account %q; want %q, nginx and default",
					name, pod.Spec.Hostname, pod.Spec.Subdomain, pod.Spec.ServiceAccountName, name)
			}
			return nil
		})
	}
	eventually(t, "endpoint slice of nginx", func() error {
		slices, err := client.DiscoveryV1().EndpointSlices(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=nginx"})
		if err == nil && len(slices.Items) == 0 {
			err = fmt.Errorf("there is none")
		}
		return err
	})
	// The pods come from the user known from other clusters, not from one
	// that all controllers share.
	if _, err := client.CoreV1().ServiceAccounts("kube-system").Get(t.Context(), "statefulset-controller", metav1.GetOptions{}); err != nil {
		t.Errorf("find the account of the StatefulSet controller: %v", err)
	}
}

func TestNamespaceGoesAway(t *testing.T) {
	client := clientFor(t, shared)
	name := newNamespace(t, client)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "something"}}
	if _, err := client.CoreV1().ConfigMaps(name).Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the namespace", func() error {
		_, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there (%v)", err)
	})
}

func TestUsers(t *testing.T) {
	output, err := shared.Kubectl(t.Context(), "auth", "whoami", "-o", "jsonpath={.status.userInfo}").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, want := range []string{"kubernetes-admin", "system:masters"} {
		if !strings.Contains(string(output), want) {
			t.Errorf("the admin is %s, want %s in it", output, want)
		}
	}

	user, err := shared.AddUser("system:serviceaccount:argocd:application-controller", "system:serviceaccounts", "team/a")
	if err != nil {
		t.Fatal(err)
	}
	output, err = shared.Kubectl(t.Context(), "--kubeconfig", user.Kubeconfig, "auth", "whoami", "-o", "jsonpath={.status.userInfo}").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, want := range []string{"system:serviceaccount:argocd:application-controller", "team/a"} {
		if !strings.Contains(string(output), want) {
			t.Errorf("the user is %s, want %s in it", output, want)
		}
	}
	client, err := kubernetes.NewForConfig(user.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the user lists secrets with error %v, want forbidden", err)
	}
}

func TestStop(t *testing.T) {
	cp, err := Start(t.Context(), Options{WithoutControllerManager: true, APIServerArgs: []string{"--profiling=false"}})
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Stop()
	client := clientFor(t, cp)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pod"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c"}}},
	}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Errorf("create a pod without a controller manager: %v", err)
	}
	if err := client.Discovery().RESTClient().Get().AbsPath("/debug/pprof/").Do(t.Context()).Error(); !apierrors.IsNotFound(err) {
		t.Errorf("profiling answers with %v though it was turned off", err)
	}

	for range 2 {
		if err := cp.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(cp.Dir); !os.IsNotExist(err) {
		t.Errorf("stat of the directory gives %v, want that it does not exist", err)
	}
	if _, err := http.Get(cp.server); err == nil {
		t.Errorf("%s still answers", cp.server)
	}
}

func TestWaitTellsWhoEnded(t *testing.T) {
	cp, err := Start(t.Context(), Options{WithoutControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cp.Wait(ctx); err != nil {
		t.Errorf("with the context done, Wait returns %v", err)
	}
	if err := cp.processes[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cp.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "etcd ended: signal: killed") {
		t.Errorf("Wait returns %v, want that etcd ended", err)
	}
}

func TestStartFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	nothingLeft := func(t *testing.T) {
		t.Helper()
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "stsguard-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}

	t.Run("component ends", func(t *testing.T) {
		_, err := Start(t.Context(), Options{APIServerArgs: []string{"--no-such-flag"}})
		if err == nil || !strings.Contains(err.Error(), "kube-apiserver ended") || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
			t.Errorf("Start returns %v, want the end of kube-apiserver's log", err)
		}
		nothingLeft(t)
	})
	t.Run("no binaries", func(t *testing.T) {
		t.Setenv(assetsVariable, t.TempDir())
		_, err := Start(t.Context(), Options{})
		if err == nil || !strings.Contains(err.Error(), "run make controlplane") {
			t.Errorf("Start returns %v, want what to do", err)
		}
		nothingLeft(t)
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := Start(ctx, Options{}); err == nil {
			t.Error("Start returns no error")
		}
		nothingLeft(t)
	})
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 50 {
		t.Errorf("ports %v, want 50 different ones", ports)
	}
}

func clientFor(t *testing.T, cp *ControlPlane) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newNamespace creates a namespace with a name of its own.
func newNamespace(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

// eventually waits until check succeeds.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	Eventually(t, time.Minute, what, check)
}
