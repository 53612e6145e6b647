package cluster

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/inventory"
)

// pageSize is how many objects one answer holds at most: with so many, few
// answers are needed, and none is a burden to the API server.
const pageSize = 500

// Snapshot reads the namespaces that are named, or all if none is, in pages. It
// gets Namespaces (lists them, for all) and lists Services and StatefulSets.
// What may not be read is left out, and named; every other failure is an error.
func (l *Live) Snapshot(ctx context.Context, namespaces ...string) (*inventory.Snapshot, error) {
	out := &inventory.Snapshot{Store: &inventory.Store{}}
	if err := l.readNamespaces(ctx, out, namespaces); err != nil {
		return nil, err
	}
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, name := range namespaces {
		services, err := list(ctx, l.clients.core.Services(name), func(page *corev1.ServiceList) (out []*inventory.Service) {
			for i := range page.Items {
				out = append(out, inventory.FromService(&page.Items[i]))
			}
			return out
		})
		if err := permitted(out, err, inventory.Permission{Verb: "list", Resource: "services", Namespace: name}); err != nil {
			return nil, err
		}
		for _, s := range services {
			out.Store.PutService(s)
		}
		sets, err := list(ctx, l.clients.apps.StatefulSets(name), func(page *appsv1.StatefulSetList) (out []*inventory.StatefulSet) {
			for i := range page.Items {
				out = append(out, inventory.FromStatefulSet(&page.Items[i]))
			}
			return out
		})
		if err := permitted(out, err, inventory.Permission{Verb: "list", Resource: "statefulsets", Namespace: name}); err != nil {
			return nil, err
		}
		for _, s := range sets {
			out.Store.PutStatefulSet(s)
		}
	}
	return out, nil
}

func (l *Live) readNamespaces(ctx context.Context, out *inventory.Snapshot, names []string) error {
	if len(names) == 0 {
		all, err := list(ctx, l.clients.core.Namespaces(), func(page *corev1.NamespaceList) (out []*inventory.Namespace) {
			for i := range page.Items {
				out = append(out, inventory.FromNamespace(&page.Items[i]))
			}
			return out
		})
		for _, ns := range all {
			out.Store.PutNamespace(ns)
		}
		return permitted(out, err, inventory.Permission{Verb: "list", Resource: "namespaces"})
	}
	for _, name := range names {
		ns, err := l.clients.core.Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err := permitted(out, err, inventory.Permission{Verb: "get", Resource: "namespaces", Namespace: name}); err != nil {
			return err
		}
		if err == nil {
			out.Store.PutNamespace(inventory.FromNamespace(ns))
		}
	}
	return nil
}

// permitted takes note of what may not be read, and returns any other error.
func permitted(s *inventory.Snapshot, err error, p inventory.Permission) error {
	if apierrors.IsForbidden(err) {
		s.Unread = append(s.Unread, p)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}

// list reads all objects of a kind, a page at a time.
func list[L metav1.ListInterface, V any](ctx context.Context, client interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
}, convert func(L) []V) ([]V, error) {
	var out []V
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := client.List(ctx, options)
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			// It took too long to come back for more: once more, all at once.
			out, options = nil, metav1.ListOptions{}
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, convert(page)...)
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return out, nil
		}
	}
}
