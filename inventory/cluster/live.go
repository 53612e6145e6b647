package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/inventory"
)

// Live reads the cluster itself. Every read names no resource version, which
// asks for the newest state.
type Live struct {
	clients *Clients
}

// NewLive reads through these clients.
func NewLive(clients *Clients) *Live { return &Live{clients: clients} }

// Read returns a namespace with all its Services and StatefulSets, which it
// reads at once: they may not all have been there at the same moment. A
// namespace that isn't there has no labels; every other failure is an error.
func (l *Live) Read(ctx context.Context, namespace string) (inventory.Reader, error) {
	var running sync.WaitGroup
	var ns *corev1.Namespace
	var services *corev1.ServiceList
	var sets *appsv1.StatefulSetList
	var noNamespace, noServices, noSets error
	running.Go(func() { ns, noNamespace = l.clients.core.Namespaces().Get(ctx, namespace, metav1.GetOptions{}) })
	running.Go(func() { services, noServices = l.clients.core.Services(namespace).List(ctx, metav1.ListOptions{}) })
	running.Go(func() { sets, noSets = l.clients.apps.StatefulSets(namespace).List(ctx, metav1.ListOptions{}) })
	running.Wait()

	out := &inventory.Store{}
	switch {
	case noNamespace == nil:
		out.PutNamespace(inventory.FromNamespace(ns))
	case !apierrors.IsNotFound(noNamespace):
		return nil, fmt.Errorf("get namespace %s: %w", namespace, noNamespace)
	}
	if noServices != nil {
		return nil, fmt.Errorf("list services in namespace %s: %w", namespace, noServices)
	}
	for i := range services.Items {
		out.PutService(inventory.FromService(&services.Items[i]))
	}
	if noSets != nil {
		return nil, fmt.Errorf("list statefulsets in namespace %s: %w", namespace, noSets)
	}
	for i := range sets.Items {
		out.PutStatefulSet(inventory.FromStatefulSet(&sets.Items[i]))
	}
	return out, nil
}

// ConfigMap returns what the ConfigMap of that name holds.
func (l *Live) ConfigMap(ctx context.Context, namespace, name string) (map[string]string, error) {
	m, err := l.clients.core.ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get ConfigMap %s in namespace %s: %w", name, namespace, err)
	}
	return m.Data, nil
}

// PodsRun says whether there are pods that the StatefulSet would take over:
// they bear its name and an ordinal, have not ended, and no one else manages
// them.
func (l *Live) PodsRun(ctx context.Context, set *inventory.StatefulSet) (bool, error) {
	pods, err := l.Pods(ctx, set)
	if err != nil {
		return false, err
	}
	for i := range pods {
		if wouldAdopt(set, &pods[i]) {
			return true, nil
		}
	}
	return false, nil
}

func wouldAdopt(set *inventory.StatefulSet, pod *corev1.Pod) bool {
	ordinal, ok := strings.CutPrefix(pod.Name, set.Name+"-")
	if !ok {
		return false
	}
	if n, err := strconv.ParseInt(ordinal, 10, 32); err != nil || n < 0 || strconv.FormatInt(n, 10) != ordinal {
		return false
	}
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	owner := metav1.GetControllerOf(pod)
	return owner == nil || owner.Kind == string(inventory.KindStatefulSet) && owner.Name == set.Name
}
