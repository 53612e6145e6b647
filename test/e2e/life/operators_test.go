package life

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"github.com/stsguard/stsguard/test/guarded"
)

// operator is somebody who brings about what a resource of theirs asks for.
type operator struct {
	client   *kubernetes.Clientset
	username string
	warnings *guarded.Warnings
	// namespace is where the resource is; owner is nil for an operator that
	// sets no owner references.
	namespace string
	owner     *metav1.OwnerReference
}

// newOperator makes one with a user and a namespace of its own.
func newOperator(t *testing.T) *operator {
	t.Helper()
	ns := newNamespace(t, nil)
	o := &operator{namespace: ns, username: "system:serviceaccount:" + ns + ":operator"}
	user, err := shared.AddUser(o.username, "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	if o.client, o.warnings, err = guarded.Listening(user.Config); err != nil {
		t.Fatal(err)
	}
	return o
}

// owns creates the resource that owns what the operator makes. A ConfigMap is
// as good as any.
func (o *operator) owns(t *testing.T) *corev1.ConfigMap {
	t.Helper()
	resource, err := o.client.CoreV1().ConfigMaps(o.namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cluster"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o.owner = metav1.NewControllerRef(resource, corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	return resource
}

// own makes the resource the owner of an object.
func (o *operator) own(meta *metav1.ObjectMeta) {
	if o.owner != nil {
		meta.OwnerReferences = []metav1.OwnerReference{*o.owner}
	}
}

func (o *operator) createSet(ctx context.Context, s *appsv1.StatefulSet) error {
	o.own(&s.ObjectMeta)
	_, err := o.client.AppsV1().StatefulSets(o.namespace).Create(ctx, s, metav1.CreateOptions{})
	return ignoreExisting(err)
}

func (o *operator) createService(ctx context.Context, s *corev1.Service) error {
	o.own(&s.ObjectMeta)
	_, err := o.client.CoreV1().Services(o.namespace).Create(ctx, s, metav1.CreateOptions{})
	return ignoreExisting(err)
}

func ignoreExisting(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// run reconciles until that succeeds, a little later after each error, of which
// failed is told.
func (o *operator) run(ctx context.Context, reconcile func(context.Context) error, failed func(error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](5*time.Millisecond, time.Second)
	for {
		err := reconcile(ctx)
		if err == nil {
			return nil
		}
		failed(err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("the operator never succeeds: %w", err)
		case <-time.After(limiter.When("cluster")):
		}
	}
}

// ready waits until the StatefulSet has its pods, each below the Service's name.
func (o *operator) ready(ctx context.Context, name, governing string) error {
	return eventually(ctx, "StatefulSet "+name+" is ready", func() error {
		set, err := o.client.AppsV1().StatefulSets(o.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if set.Status.ReadyReplicas != *set.Spec.Replicas {
			return fmt.Errorf("%d of %d pods are ready", set.Status.ReadyReplicas, *set.Spec.Replicas)
		}
		service, err := o.client.CoreV1().Services(o.namespace).Get(ctx, governing, metav1.GetOptions{})
		if err != nil {
			return err
		}
		slices, err := o.client.DiscoveryV1().EndpointSlices(o.namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + governing})
		if err != nil {
			return err
		}
		named := 0
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Hostname != nil {
					named++
				}
			}
		}
		if service.Spec.ClusterIP != corev1.ClusterIPNone || named != int(*set.Spec.Replicas) {
			return fmt.Errorf("Service %s has clusterIP %s, and names for %d pods", governing, service.Spec.ClusterIP, named)
		}
		return nil
	})
}

// An operator that creates the StatefulSet first, and then the Service.
func TestStatefulSetBeforeService(t *testing.T) {
	reconcile := func(o *operator) func(context.Context) error {
		// As many operators do, it goes on after an error.
		return func(ctx context.Context) error {
			return errors.Join(
				o.createSet(ctx, set("cluster", "peers", 2)),
				o.createService(ctx, headless("peers")),
			)
		}
	}
	t.Run("with an owner", func(t *testing.T) {
		o := newOperator(t)
		resource := o.owns(t)
		if err := o.run(t.Context(), reconcile(o), func(err error) { t.Errorf("reconcile: %v", err) }); err != nil {
			t.Fatal(err)
		}
		// It hears what a person would be denied.
		if got := o.warnings.Take(); !strings.Contains(got, `[service-not-found] StatefulSet "cluster" names Service "peers", which does not exist`) {
			t.Errorf("got warnings %q", got)
		}
		if err := o.ready(t.Context(), "cluster", "peers"); err != nil {
			t.Fatal(err)
		}
		if err := o.run(t.Context(), reconcile(o), func(err error) { t.Errorf("reconcile again: %v", err) }); err != nil {
			t.Fatal(err)
		}
		if got := o.warnings.Take(); got != "" {
			t.Errorf("got warnings %q when nothing is wrong any more", got)
		}

		// All goes with the resource.
		if err := o.client.CoreV1().ConfigMaps(o.namespace).Delete(t.Context(), resource.Name, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationForeground)}); err != nil {
			t.Fatal(err)
		}
		if err := eventually(t.Context(), "all is gone", func() error {
			if _, err := o.client.CoreV1().ConfigMaps(o.namespace).Get(t.Context(), resource.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("the resource is there, %v", err)
			}
			if _, err := o.client.CoreV1().Services(o.namespace).Get(t.Context(), "peers", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("the Service is there, %v", err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("without an owner", func(t *testing.T) {
		o := newOperator(t)
		var failures []error
		if err := o.run(t.Context(), reconcile(o), func(err error) { failures = append(failures, err) }); err != nil {
			t.Fatal(err)
		}
		if len(failures) != 1 || !denied(failures[0], "service-not-found") {
			t.Errorf("got the errors %v, want one denial", failures)
		}
		if err := o.ready(t.Context(), "cluster", "peers"); err != nil {
			t.Fatal(err)
		}
	})
}

// denied says whether stsguard denied a request by this rule.
func denied(err error, rule string) bool {
	return err != nil && strings.Contains(err.Error(), `admission webhook "validate.stsguard.dev" denied the request: `) &&
		strings.Contains(err.Error(), "["+rule+"]")
}

// LeaderWorkerSet's way: it applies the StatefulSet first, and returns on an
// error before it comes to the Service.
func TestReturnsOnTheFirstError(t *testing.T) {
	reconcile := func(o *operator) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := o.applySet(ctx, set("leader", "leader", 2)); err != nil {
				return fmt.Errorf("apply the leader's StatefulSet: %w", err)
			}
			return o.createService(ctx, headless("leader"))
		}
	}
	t.Run("with an owner", func(t *testing.T) {
		o := newOperator(t)
		o.owns(t)
		if err := o.run(t.Context(), reconcile(o), func(err error) { t.Errorf("reconcile: %v", err) }); err != nil {
			t.Fatal(err)
		}
		if err := o.ready(t.Context(), "leader", "leader"); err != nil {
			t.Fatal(err)
		}
	})
	// Nothing tells it from a person, who would create the Service. The
	// configuration has to name it.
	t.Run("without an owner", func(t *testing.T) {
		const enough = 6
		o := newOperator(t)
		denials := 0
		if err := o.run(t.Context(), reconcile(o), func(err error) {
			denials++
			if !denied(err, "service-not-found") || !strings.Contains(err.Error(), `apply the leader's StatefulSet: `) {
				t.Errorf("reconcile: %v", err)
			}
			if denials != enough {
				return
			}
			if _, err := o.client.CoreV1().Services(o.namespace).Get(t.Context(), "leader", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("it came to the Service after an error: %v", err)
			}
			trust(t, o.username)
		}); err != nil {
			t.Fatal(err)
		}
		if denials < enough {
			t.Errorf("denied %d times, want at least %d", denials, enough)
		}
		if err := o.ready(t.Context(), "leader", "leader"); err != nil {
			t.Fatal(err)
		}
	})
}

// applySet applies a StatefulSet, by force, whether or not it is there.
func (o *operator) applySet(ctx context.Context, s *appsv1.StatefulSet) error {
	o.own(&s.ObjectMeta)
	s.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = o.client.AppsV1().StatefulSets(o.namespace).Patch(ctx, s.Name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: "operator", Force: new(true)})
	return err
}

// trust has the webhook's configuration name an operator, until the test ends.
func trust(t *testing.T, username string) {
	t.Helper()
	if err := shared.Server.SetConfig(config + "controllers: {mode: warn, usernames: [\"" + username + "\"]}\n"); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		if err := shared.Server.SetConfig(config); err != nil {
			t.Error(err)
		}
	})
}

// The way of Zalando's operator: the Service of the master has a cluster IP and
// no selector, since the pods themselves write its endpoints. To change what
// can't be changed the StatefulSet is deleted, without its pods, and created
// again. There are no owner references.
func TestCreatesItsStatefulSetAgain(t *testing.T) {
	o := newOperator(t)
	ctx := t.Context()
	master := func() *corev1.Service {
		s := headless("db")
		s.Spec.ClusterIP, s.Spec.Selector = "", nil
		return s
	}
	create := func(ctx context.Context) error {
		if err := o.createService(ctx, master()); err != nil {
			return err
		}
		return o.createSet(ctx, set("db", "db", 2))
	}
	again := func(ctx context.Context) error {
		err := o.client.AppsV1().StatefulSets(o.namespace).Delete(ctx, "db", metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationOrphan)})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if err := eventually(ctx, "the StatefulSet is gone", func() error {
			_, err := o.client.AppsV1().StatefulSets(o.namespace).Get(ctx, "db", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("it is there, %v", err)
		}); err != nil {
			return err
		}
		return create(ctx)
	}

	// A new database is denied, since nothing promises its pods their names. It
	// is created once the configuration names the operator.
	denials := 0
	if err := o.run(ctx, create, func(err error) {
		if denials++; !denied(err, "service-not-headless") {
			t.Errorf("reconcile: %v", err)
		}
		if denials == 1 {
			trust(t, o.username)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if denials == 0 {
		t.Error("a new database is not denied")
	}
	pods := o.pods(t, "db", 2)

	// One that runs gets its StatefulSet back, even if nobody names the operator.
	if err := shared.Server.SetConfig(config); err != nil {
		t.Fatal(err)
	}
	if err := eventually(ctx, "the configuration names nobody", func() error {
		_, err := o.client.AppsV1().StatefulSets(o.namespace).Create(ctx, set("other", "db", 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := o.collectorKnows(ctx); err != nil {
			t.Fatal(err)
		}
		o.warnings.Take()
		if err := o.run(ctx, again, func(err error) { t.Errorf("reconcile: %v", err) }); err != nil {
			t.Fatal(err)
		}
		if got := o.warnings.Take(); !strings.Contains(got, `[service-not-headless] Service "db", which governs StatefulSet "db", is not headless`) {
			t.Errorf("got warnings %q", got)
		}
		if got := o.pods(t, "db", 2); !maps.Equal(got, pods) {
			t.Errorf("got the pods %v, want %v", got, pods)
		}
	}
}

// collectorKnows waits until the garbage collector has heard of all that was
// done to pods. It would collect one that it doesn't know to be a
// StatefulSet's when that is deleted without its pods. Another pod without an
// owner that is there is collected last.
func (o *operator) collectorKnows(ctx context.Context) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:            "last",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "missing", UID: "missing"}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "last", Image: "nginx"}}},
	}
	pods := o.client.CoreV1().Pods(o.namespace)
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	return eventually(ctx, "a pod without an owner is collected", func() error {
		if _, err := pods.Get(ctx, pod.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there, %v", err)
		}
		return nil
	})
}

// pods waits until the StatefulSet's pods are ready and its own, and returns
// their uids.
func (o *operator) pods(t *testing.T, name string, count int) map[string]types.UID {
	t.Helper()
	out := map[string]types.UID{}
	if err := eventually(t.Context(), "StatefulSet "+name+" has its pods", func() error {
		clear(out)
		set, err := o.client.AppsV1().StatefulSets(o.namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pods, err := o.client.CoreV1().Pods(o.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			if pod := &pods.Items[i]; metav1.IsControlledBy(pod, set) {
				out[pod.Name] = pod.UID
			}
		}
		if len(out) != count || set.Status.ReadyReplicas != int32(count) {
			return fmt.Errorf("it has %v, of which %d are ready", out, set.Status.ReadyReplicas)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}
