package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory/cluster"
	"github.com/stsguard/stsguard/policies"
)

// clusterFlags say which cluster to read, as kubectl has them.
type clusterFlags struct {
	context, kubeconfig string
	// config names a ConfigMap that holds the webhook's configuration.
	config string
}

// installed is where the webhook's configuration is unless somebody put it
// elsewhere, and the key that it has there.
const (
	installed    = "stsguard-system/stsguard"
	installedKey = config.FileName
)

func (f *clusterFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.context, "context", "", "kubeconfig context `NAME` of the cluster (default: the current one)")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` (default: $KUBECONFIG, else ~/.kube/config)")
}

func (f *clusterFlags) registerConfig(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config-from-cluster", "", "use the webhook's configuration, from key "+installedKey+" of the ConfigMap `NAMESPACE/NAME`")
	cmd.Flags().Lookup("config-from-cluster").NoOptDefVal = installed
	exclusive(cmd, "config", "config-from-cluster")
}

// target is a cluster to read.
type target struct {
	*cluster.Live
	// name is what to call it, namespace that of its context.
	name, namespace string
}

func (f *clusterFlags) connect() (*target, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.context})
	connection, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, exit{exitUsage, errors.New("find the cluster: there is no kubeconfig: name one with --kubeconfig or $KUBECONFIG")}
	}
	if err != nil {
		return nil, exit{exitUsage, fmt.Errorf("find the cluster: %w", err)}
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, exit{exitUsage, fmt.Errorf("find the context's namespace: %w", err)}
	}
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, exit{exitUsage, fmt.Errorf("find the context: %w", err)}
	}
	clients, err := cluster.Connect(connection)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	return &target{
		Live: cluster.NewLive(clients),
		name: cmp.Or(f.context, raw.CurrentContext, connection.Host), namespace: namespace,
	}, nil
}

// configured is the webhook's configuration where that is wanted, else that of
// the file, with the rules that it asks for.
func (f *clusterFlags) configured(ctx context.Context, t *target, file string) (*config.Configuration, *policies.Rules, error) {
	if f.config == "" {
		conf, rules, err := configuration(file)
		if err != nil {
			return nil, nil, exit{exitUsage, err}
		}
		return conf, rules, nil
	}
	namespace, name, ok := strings.Cut(f.config, "/")
	if !ok || namespace == "" || name == "" {
		return nil, nil, fmt.Errorf("invalid argument %q for \"--config-from-cluster\" flag: must be NAMESPACE/NAME", f.config)
	}
	data, err := t.ConfigMap(ctx, namespace, name)
	if apierrors.IsNotFound(err) {
		err = fmt.Errorf("%w: name the webhook's with --config-from-cluster=NAMESPACE/NAME, or a file with --config", err)
	}
	if err != nil {
		return nil, nil, exit{exitUsage, err}
	}
	text, ok := data[installedKey]
	if !ok {
		return nil, nil, exit{exitUsage, fmt.Errorf("ConfigMap %s has no key %s", f.config, installedKey)}
	}
	conf, rules, err := config.Parse("ConfigMap "+f.config, []byte(text))
	if err != nil {
		return nil, nil, exit{exitUsage, err}
	}
	return conf, rules, nil
}
