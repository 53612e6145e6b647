package dns

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"

	"github.com/stsguard/stsguard/test/controlplane"
)

// scene is a namespace and what is in it.
type scene struct {
	// namespace is what its name begins with, and once it is played its name.
	namespace string
	// seed is what a random scene was made from.
	seed uint64
	// objects are created first, in this order; later once their pods run.
	objects, later []object
	// unready are pods of StatefulSets that stop being ready, once they run.
	unready []string
}

// object is a Service, StatefulSet, Deployment or EndpointSlice.
type object interface {
	metav1.Object
	runtime.Object
}

// nowhere is a node selector that no node has: such pods never get an address.
var nowhere = map[string]string{"there": "is-no-such-node"}

// all are the objects that there are in the end.
func (s *scene) all() []object { return slices.Concat(s.objects, s.later) }

// the picks the objects of one type.
func the[T object](objects []object) []T {
	var out []T
	for _, o := range objects {
		if o, ok := o.(T); ok {
			out = append(out, o)
		}
	}
	return out
}

// play makes the scenes, and returns when the controllers have nothing left to
// do about them and CoreDNS knows it.
func play(t *testing.T, scenes ...*scene) {
	t.Helper()
	ctx := t.Context()
	each(t, scenes, func(s *scene) error {
		ns, err := newNamespace(ctx, s.namespace)
		if err == nil {
			s.namespace = ns
		}
		return err
	})
	// Without it no pod can be created.
	eventually(t, scenes, "the service account", func(s *scene) error {
		_, err := shared.accounts.ServiceAccounts(s.namespace).Get("default")
		return err
	})
	each(t, scenes, func(s *scene) error { return s.create(ctx, s.objects) })
	eventually(t, scenes, "the pods", func(s *scene) error { return s.podsRun(s.objects) })
	each(t, scenes, func(s *scene) error {
		if err := s.create(ctx, s.later); err != nil {
			return err
		}
		for _, pod := range s.unready {
			if err := s.makeUnready(ctx, pod); err != nil {
				return err
			}
		}
		return nil
	})
	eventually(t, scenes, "the pods", func(s *scene) error { return s.podsRun(s.all()) })
	eventually(t, scenes, "the endpoints", (*scene).endpointsFollow)
	catchUp(t)
}

func newNamespace(ctx context.Context, name string) (string, error) {
	ns, err := shared.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-"}}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("create namespace %s: %w", name, err)
	}
	return ns.Name, nil
}

func (s *scene) create(ctx context.Context, objects []object) error {
	for _, o := range objects {
		var err error
		switch o := o.(type) {
		case *corev1.Service:
			_, err = shared.client.CoreV1().Services(s.namespace).Create(ctx, o, metav1.CreateOptions{})
		case *appsv1.StatefulSet:
			_, err = shared.client.AppsV1().StatefulSets(s.namespace).Create(ctx, o, metav1.CreateOptions{})
		case *appsv1.Deployment:
			_, err = shared.client.AppsV1().Deployments(s.namespace).Create(ctx, o, metav1.CreateOptions{})
		case *discoveryv1.EndpointSlice:
			_, err = shared.client.DiscoveryV1().EndpointSlices(s.namespace).Create(ctx, o, metav1.CreateOptions{})
		default:
			err = fmt.Errorf("no scene has a %T", o)
		}
		if err != nil {
			return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	return nil
}

// makeUnready does what a kubelet does when a pod's probe begins to fail.
func (s *scene) makeUnready(ctx context.Context, name string) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		pod, err := shared.client.CoreV1().Pods(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for i := range pod.Status.Conditions {
			if pod.Status.Conditions[i].Type == corev1.PodReady {
				pod.Status.Conditions[i].Status = corev1.ConditionFalse
			}
		}
		_, err = shared.client.CoreV1().Pods(s.namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	})
}

// podsRun says whether there are just the pods that the controllers make of the
// objects in the end, as ready as they will be.
func (s *scene) podsRun(objects []object) error {
	want := 0
	for _, set := range the[*appsv1.StatefulSet](objects) {
		want += len(podsOf(set))
	}
	for _, d := range the[*appsv1.Deployment](objects) {
		want += int(*d.Spec.Replicas)
	}
	pods, err := shared.pods.Pods(s.namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	if len(pods) != want {
		return fmt.Errorf("%d pods, want %d", len(pods), want)
	}
	for _, pod := range pods {
		pending := pod.Spec.NodeSelector != nil
		if pending == (pod.Status.PodIP != "") {
			return fmt.Errorf("pod %s has the address %q", pod.Name, pod.Status.PodIP)
		}
		made := !pending && pod.Annotations[controlplane.NotReady] != "false"
		// Those of s.unready are made so in between.
		if ready(pod) != made && !slices.Contains(s.unready, pod.Name) {
			return fmt.Errorf("pod %s: ready is %v", pod.Name, ready(pod))
		}
	}
	return nil
}

// podsOf are the names of the pods that the StatefulSet has in the end.
func podsOf(set *appsv1.StatefulSet) []string {
	first, count := int32(0), *set.Spec.Replicas
	if o := set.Spec.Ordinals; o != nil {
		first = o.Start
	}
	template := set.Spec.Template
	switch {
	case len(set.Name) > mostSetName:
		count = 0
	case set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement && (template.Annotations[controlplane.NotReady] == "false" || template.Spec.NodeSelector != nil):
		// The next waits for the one before.
		count = min(count, 1)
	}
	var out []string
	for i := range count {
		out = append(out, fmt.Sprintf("%s-%d", set.Name, first+i))
	}
	return out
}

// mostSetName is how long a StatefulSet's name can be for it to have pods for
// sure. Those of scenes are no longer, or so long that it has none for sure.
const mostSetName = 52

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// endpointsFollow says whether the EndpointSlices have what the pods say now,
// and the pods what s.unready says.
func (s *scene) endpointsFollow() error {
	pods, err := shared.pods.Pods(s.namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if ready(pod) && slices.Contains(s.unready, pod.Name) {
			return fmt.Errorf("pod %s is still ready", pod.Name)
		}
	}
	for _, service := range the[*corev1.Service](s.all()) {
		if selectorless(service) || service.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		want := map[string]bool{}
		for _, pod := range pods {
			if pod.Status.PodIP != "" && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
				want[pod.Name] = service.Spec.PublishNotReadyAddresses || ready(pod)
			}
		}
		got, err := s.endpoints(service.Name)
		if err != nil {
			return err
		}
		is := map[string]bool{}
		for _, e := range got {
			is[e.TargetRef.Name] = *e.Conditions.Ready
		}
		if len(got) != len(is) || !maps.Equal(is, want) {
			return fmt.Errorf("Service %s has the endpoints %v, want %v", service.Name, is, want)
		}
		if len(want) == 0 {
			// Even then there is a slice, once the controller has been there.
			if slices, err := s.slices(service.Name); err != nil || len(slices) == 0 {
				return errors.Join(err, fmt.Errorf("Service %s has no EndpointSlice", service.Name))
			}
		}
	}
	return nil
}

func (s *scene) slices(service string) ([]*discoveryv1.EndpointSlice, error) {
	return shared.slices.EndpointSlices(s.namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}))
}

func (s *scene) endpoints(service string) ([]discoveryv1.Endpoint, error) {
	slices, err := s.slices(service)
	if err != nil {
		return nil, err
	}
	var out []discoveryv1.Endpoint
	for _, slice := range slices {
		out = append(out, slice.Endpoints...)
	}
	return out, nil
}

// catchUp waits until CoreDNS has seen all that there is now. It watches
// Namespaces, Services and EndpointSlices, each in the order in which they
// change, so it has when it knows the newest of each.
func catchUp(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	ns, err := newNamespace(ctx, "newest")
	if err != nil {
		t.Fatal(err)
	}
	newest := &scene{namespace: ns}
	service := newService("newest", headless, selecting(nil))
	if err := newest.create(ctx, []object{service, newSlice(service, "10.0.0.1", "")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, []*scene{newest}, "CoreDNS to catch up", func(s *scene) error {
		got, err := shared.ask(ctx, fullName(ns, "newest"), dns.TypeA)
		if err != nil {
			return err
		}
		if !slices.Equal(got.records, []string{"10.0.0.1"}) {
			return fmt.Errorf("it answers %s", got)
		}
		return nil
	})
}

// fullName is the name of a Service or, with one more part in front, of an
// endpoint or a port.
func fullName(namespace string, parts ...string) string {
	return strings.Join(parts, ".") + "." + namespace + ".svc." + clusterDomain
}

// each does something for all scenes, some at a time.
func each(t *testing.T, scenes []*scene, do func(*scene) error) {
	t.Helper()
	errs := make(chan error, len(scenes))
	free := make(chan struct{}, 8)
	for _, s := range scenes {
		free <- struct{}{}
		go func() {
			defer func() { <-free }()
			if err := do(s); err != nil {
				err = fmt.Errorf("%s: %w", s.namespace, err)
				errs <- err
				return
			}
			errs <- nil
		}()
	}
	var failed error
	for range scenes {
		failed = errors.Join(failed, <-errs)
	}
	if failed != nil {
		t.Fatal(failed)
	}
}

// eventually waits until a check succeeds for every scene.
func eventually(t *testing.T, scenes []*scene, what string, check func(*scene) error) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for _, s := range scenes {
		for {
			err := check(s)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: waited for %s: %v", s.namespace, what, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}
