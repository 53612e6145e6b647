// Package dns holds what the project says of DNS against CoreDNS, on a cluster
// with the real controllers: that stsguard predicts rightly which names
// resolve, what docs/dns.md tells, and what the rules rest on.
package dns

import (
	"context"
	"fmt"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/inventory/cluster"
	"github.com/stsguard/stsguard/test/controlplane"
)

const clusterDomain = "cluster.local"

// shared is what all tests work with, each in namespaces of its own.
var shared struct {
	*controlplane.ControlPlane
	resolver
	client kubernetes.Interface
	live   *cluster.Live

	// What the cluster has, by a watch.
	pods     corelisters.PodLister
	services corelisters.ServiceLister
	accounts corelisters.ServiceAccountLister
	slices   discoverylisters.EndpointSliceLister
}

func TestMain(m *testing.M) {
	os.Exit(controlplane.Run(watchingTests{m}, &shared.ControlPlane, controlplane.Options{Nodes: 2, DNS: true}))
}

// watchingTests are the tests, with the watches started before them.
type watchingTests struct{ tests *testing.M }

func (w watchingTests) Run() int {
	if err := watch(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return w.tests.Run()
}

func watch(ctx context.Context) (err error) {
	shared.resolver = resolver{shared.DNS}
	config := rest.CopyConfig(shared.Config)
	config.ContentType = runtime.ContentTypeProtobuf
	// Random objects are full of what the API server warns of.
	config.WarningHandler = rest.NoWarnings{}
	if shared.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	clients, err := cluster.Connect(shared.Config)
	if err != nil {
		return err
	}
	shared.live = cluster.NewLive(clients)
	factory := informers.NewSharedInformerFactory(shared.client, 0)
	shared.pods = factory.Core().V1().Pods().Lister()
	shared.services = factory.Core().V1().Services().Lister()
	shared.accounts = factory.Core().V1().ServiceAccounts().Lister()
	shared.slices = factory.Discovery().V1().EndpointSlices().Lister()
	factory.StartWithContext(ctx)
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("watch %v: it never began", kind)
		}
	}
	return nil
}
