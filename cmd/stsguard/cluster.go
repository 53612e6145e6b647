package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/stsguard/stsguard/inventory/cluster"
)

// clusterFlags say which cluster to read, as kubectl has them.
type clusterFlags struct {
	context, kubeconfig string
}

func (f *clusterFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.context, "context", "", "kubeconfig context `NAME` of the cluster (default: the current one)")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` (default: $KUBECONFIG, else ~/.kube/config)")
}

// connect returns the cluster's clients, what to call it, and the namespace of
// the context.
func (f *clusterFlags) connect() (clients *cluster.Clients, name, namespace string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.context})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", "", exit{exitUsage, fmt.Errorf("find the cluster: %w", err)}
	}
	namespace, _, err = loader.Namespace()
	if err != nil {
		return nil, "", "", exit{exitUsage, fmt.Errorf("find the context's namespace: %w", err)}
	}
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, "", "", exit{exitUsage, fmt.Errorf("find the context: %w", err)}
	}
	clients, err = cluster.Connect(config)
	if err != nil {
		return nil, "", "", exit{exitUsage, err}
	}
	return clients, cmp.Or(f.context, raw.CurrentContext, config.Host), namespace, nil
}
