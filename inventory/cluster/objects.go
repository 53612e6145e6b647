package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/inventory"
)

// StatefulSet returns one as the API server gives it in JSON, with fields that
// this program doesn't know.
func (l *Live) StatefulSet(ctx context.Context, namespace, name string) ([]byte, error) {
	return object(ctx, l.clients.apps.RESTClient(), "statefulsets", namespace, name)
}

// Service returns one as the API server gives it in JSON.
func (l *Live) Service(ctx context.Context, namespace, name string) ([]byte, error) {
	return object(ctx, l.clients.core.RESTClient(), "services", namespace, name)
}

func object(ctx context.Context, client rest.Interface, resource, namespace, name string) ([]byte, error) {
	result := client.Get().Namespace(namespace).Resource(resource).Name(name).
		SetHeader("Accept", runtime.ContentTypeJSON).Do(ctx)
	// The error of Raw doesn't have the API server's message.
	if err := result.Error(); err != nil {
		return nil, fmt.Errorf("get %s %s in namespace %s: %w", resource, name, namespace, err)
	}
	return result.Raw()
}

// Pods lists those that the StatefulSet selects.
func (l *Live) Pods(ctx context.Context, set *inventory.StatefulSet) ([]corev1.Pod, error) {
	selector := set.Selector
	if len(selector) == 0 {
		selector = set.PodLabels
	}
	if len(selector) == 0 {
		return nil, nil
	}
	pods, err := l.clients.core.Pods(set.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(selector).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("list pods in namespace %s: %w", set.Namespace, err)
	}
	return pods.Items, nil
}
