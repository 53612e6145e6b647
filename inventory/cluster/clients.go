// Package cluster reads a cluster into an inventory: through a watch, for
// everything, and live, for one namespace.
package cluster

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Clients are connections to one API server.
type Clients struct {
	core corev1client.CoreV1Interface
	apps appsv1client.AppsV1Interface
}

// Connect prepares clients. They speak protobuf and have no rate limit of
// their own: live reads stand between an admission request and its answer, and
// the API server limits them by priority and fairness.
func Connect(config *rest.Config) (*Clients, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.QPS = -1
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	core, err := corev1client.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	apps, err := appsv1client.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return &Clients{core: core, apps: apps}, nil
}
