package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/test/controlplane"
)

var cp *controlplane.ControlPlane

func TestMain(m *testing.M) {
	os.Exit(controlplane.Run(m, &cp, controlplane.Options{WithoutControllerManager: true}))
}

func connect(t *testing.T) (*kubernetes.Clientset, *Clients) {
	t.Helper()
	client, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := Connect(cp.Config)
	if err != nil {
		t.Fatal(err)
	}
	return client, clients
}

func newNamespace(t *testing.T, client kubernetes.Interface, labels map[string]string) string {
	t.Helper()
	ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func service(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80}},
		},
	}
}

func set(name string) *appsv1.StatefulSet {
	labels := map[string]string{"app": name}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: name,
			Selector:    &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
			},
		},
	}
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestCacheFollowsTheCluster(t *testing.T) {
	client, clients := connect(t)
	ns := newNamespace(t, client, map[string]string{"stsguard.dev/enforce": "strict", "team": "x"})
	services, sets := client.CoreV1().Services(ns), client.AppsV1().StatefulSets(ns)
	if _, err := services.Create(t.Context(), service("before"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	c := NewCache(clients)
	if c.Synced() {
		t.Error("synced before the start")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Start(ctx) }()
	if !c.WaitForSync(ctx) || !c.Synced() {
		t.Fatal("not synced")
	}
	started := time.Now()
	// What was there at the start is there without waiting.
	if got := c.ServicesNamed(ns, "before"); len(got) != 1 || !got[0].Headless() {
		t.Fatalf("got %v", got)
	}
	if got := c.Namespace(ns); got == nil || len(got.Labels) != 1 || got.Labels["stsguard.dev/enforce"] != "strict" {
		t.Errorf("got %+v", got)
	}

	if _, err := services.Create(t.Context(), service("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := sets.Create(t.Context(), set("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the StatefulSet comes", func() bool { return len(c.StatefulSetsGovernedBy(ns, "web")) == 1 })
	eventually(t, "the Service comes", func() bool { return len(c.ServicesSelecting(c.StatefulSets(ns)[0])) == 1 })

	patch := []byte(`{"spec":{"selector":{"app":"other"}}}`)
	if _, err := services.Patch(t.Context(), "web", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Service changes", func() bool { return c.ServicesNamed(ns, "web")[0].Selector["app"] == "other" })
	labels := []byte(`{"metadata":{"labels":{"stsguard.dev/enforce":null}}}`)
	if _, err := client.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, labels, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the label goes", func() bool { return len(c.Namespace(ns).Labels) == 0 })
	eventually(t, "it has heard of every kind", func() bool { return c.Heard().After(started) })

	if err := services.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := sets.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both go", func() bool { return len(c.ServicesNamed(ns, "web")) == 0 && len(c.StatefulSets(ns)) == 0 })

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestCacheAfterAnOutage: the longer the API server is away, the longer a watch
// may wait before it tries again, but only up to a few seconds.
func TestCacheAfterAnOutage(t *testing.T) {
	client, clients := connect(t)
	c := NewCache(clients)
	go func() { _ = c.Start(t.Context()) }()
	if !c.WaitForSync(t.Context()) {
		t.Fatal("not synced")
	}
	server, err := cp.Component("kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// So long that client-go's own watches would wait up to 25 seconds.
	time.Sleep(20 * time.Second)
	if ago := time.Since(c.Heard()); ago < 15*time.Second {
		t.Errorf("heard %s ago of an API server that was gone", ago)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitReady(t.Context(), "the API server", func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		t.Fatal(err)
	}

	back := time.Now()
	ns := newNamespace(t, client, nil)
	if _, err := client.CoreV1().Services(ns).Create(t.Context(), service("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what comes after an outage", func() bool {
		return c.Namespace(ns) != nil && len(c.ServicesNamed(ns, "web")) == 1 && len(c.StatefulSets(ns)) == 1
	})
	took := time.Since(back)
	t.Logf("the cache is whole %.1fs after the API server is ready", took.Seconds())
	if took > 6*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestCacheIsNotSyncedWithoutRights(t *testing.T) {
	user, err := cp.AddUser("stranger")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := Connect(user.Config)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCache(clients)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	go func() { _ = c.Start(ctx) }()
	if c.WaitForSync(ctx) || c.Synced() {
		t.Error("synced without having read anything")
	}
}

// TestReplace is what a Reflector does when it lists again.
func TestReplace(t *testing.T) {
	_, clients := connect(t)
	c := NewCache(clients)
	at := func(ns, name string) *corev1.Service {
		s := service(name)
		s.Namespace = ns
		return s
	}
	replaced := 0
	store := &kindStore[*corev1.Service, *inventory.Service]{
		convert: inventory.FromService, put: c.store.PutService, remove: c.store.DeleteService,
		names:    func(v *inventory.Service) (string, string) { return v.Namespace, v.Name },
		all:      func() []*inventory.Service { return everywhere(c.store, c.store.Services) },
		replaced: func() { replaced++ },
	}
	if err := store.Replace([]any{at("a", "stays"), at("a", "goes"), at("b", "goes")}, "1"); err != nil {
		t.Fatal(err)
	}
	// The Reflector hands over what Transformer made, or objects as they came.
	converted, err := store.Transformer()(at("b", "comes"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Replace([]any{at("a", "stays"), converted}, "2"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range everywhere(c.store, c.store.Services) {
		names = append(names, s.Namespace+"/"+s.Name)
	}
	slices.Sort(names)
	if want := []string{"a/stays", "b/comes"}; !slices.Equal(names, want) || replaced != 2 {
		t.Errorf("got %q after %d, want %q", names, replaced, want)
	}
	if n := c.Count(); n != (inventory.Count{Services: 2}) {
		t.Errorf("counted %+v", n)
	}
	if err := store.Add(&corev1.Pod{}); err == nil {
		t.Error("took a Pod for a Service")
	}
}

func TestLiveSeesAnObjectAtOnce(t *testing.T) {
	client, clients := connect(t)
	ns := newNamespace(t, client, map[string]string{"stsguard.dev/warn": "none"})
	live := NewLive(clients)
	for i := range 20 {
		name := fmt.Sprintf("web-%d", i)
		if _, err := client.CoreV1().Services(ns).Create(t.Context(), service(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.AppsV1().StatefulSets(ns).Create(t.Context(), set(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		r, err := live.Read(t.Context(), ns)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.ServicesNamed(ns, name)) != 1 || len(r.StatefulSetsGovernedBy(ns, name)) != 1 || r.Namespace(ns).Labels["stsguard.dev/warn"] != "none" {
			t.Fatalf("%s is not there", name)
		}
	}
}

func TestLiveFailures(t *testing.T) {
	_, clients := connect(t)
	r, err := NewLive(clients).Read(t.Context(), "no-such-namespace")
	if err != nil || r.Namespace("no-such-namespace") != nil || len(r.Services("no-such-namespace")) > 0 {
		t.Errorf("got %v, %v", r, err)
	}

	user, err := cp.AddUser("another-stranger")
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := Connect(user.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewLive(strangers).Read(t.Context(), "default"); !apierrors.IsForbidden(errors.Unwrap(err)) {
		t.Errorf("got %v", err)
	}
	if _, err := NewLive(strangers).PodsRun(t.Context(), inventory.FromStatefulSet(set("web"))); err == nil || !strings.HasPrefix(err.Error(), "list pods") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewLive(clients).Read(ctx, "default"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestPodsRun(t *testing.T) {
	client, clients := connect(t)
	owner := func(kind, name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: "1", Controller: new(true)}}
		}
	}
	for name, c := range map[string]struct {
		pod    string
		change func(*corev1.Pod)
		phase  corev1.PodPhase
		want   bool
	}{
		"an orphan":               {pod: "web-0", want: true},
		"a later ordinal":         {pod: "web-12", want: true},
		"of the old StatefulSet":  {pod: "web-0", change: owner("StatefulSet", "web"), want: true},
		"of another StatefulSet":  {pod: "web-0", change: owner("StatefulSet", "other")},
		"of a ReplicaSet":         {pod: "web-0", change: owner("ReplicaSet", "web")},
		"no ordinal":              {pod: "web-a"},
		"an ordinal with a zero":  {pod: "web-01"},
		"a longer name":           {pod: "web-x-0"},
		"another name":            {pod: "webs-0"},
		"ended":                   {pod: "web-0", phase: corev1.PodSucceeded},
		"failed":                  {pod: "web-0", phase: corev1.PodFailed},
		"running":                 {pod: "web-0", phase: corev1.PodRunning, want: true},
		"other labels":            {pod: "web-0", change: func(p *corev1.Pod) { p.Labels = map[string]string{"app": "x"} }},
		"on its way out (orphan)": {pod: "web-0", change: func(p *corev1.Pod) { p.Finalizers = []string{"example.com/x"} }},
	} {
		ns := newNamespace(t, client, nil)
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: c.pod, Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
		}
		if c.change != nil {
			c.change(pod)
		}
		pod, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.phase != "" {
			pod.Status.Phase = c.phase
			if _, err := client.CoreV1().Pods(ns).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if len(pod.Finalizers) > 0 {
			if err := client.CoreV1().Pods(ns).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		s := inventory.FromStatefulSet(set("web"))
		s.Namespace = ns
		for _, withSelector := range []bool{true, false} {
			if !withSelector {
				s.Selector = nil
			}
			if got, err := NewLive(clients).PodsRun(t.Context(), s); err != nil || got != c.want {
				t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
			}
		}
		s.PodLabels = nil
		if got, err := NewLive(clients).PodsRun(t.Context(), s); err != nil || got {
			t.Errorf("%s, without labels: got %v, %v", name, got, err)
		}
	}
}

// TestCompactChangesNothing: an object is the same before and after.
func TestCompactChangesNothing(t *testing.T) {
	c := newCompactor()
	for range 2 {
		full := set("web")
		full.Labels = map[string]string{"app": "web", "x": "y"}
		full.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 80}}
		if got, want := c.statefulSet(inventory.FromStatefulSet(full)), inventory.FromStatefulSet(full); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		s := service("web")
		s.Spec.ClusterIPs = []string{"None"}
		if got, want := c.service(inventory.FromService(s)), inventory.FromService(s); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestCompactorIsBounded(t *testing.T) {
	c := newCompactor()
	for i := range 2 * mostShared {
		if s := fmt.Sprint(i); c.share(s) != s {
			t.Fatal(s)
		}
	}
	if len(c.shared) > mostShared {
		t.Errorf("keeps %d strings", len(c.shared))
	}
}

// Years of namespaces that came and went keep nothing from being shared.
func TestCompactorForgets(t *testing.T) {
	c := newCompactor()
	for i := range 5 * mostShared / 2 {
		c.share(fmt.Sprint("preview-", i))
	}
	first, second := strings.Clone("production"), strings.Clone("production")
	if unsafe.StringData(c.share(first)) != unsafe.StringData(c.share(second)) {
		t.Error("nothing is shared any more")
	}
}
