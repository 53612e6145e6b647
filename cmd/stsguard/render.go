package main

import (
	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/inventory/render"
)

// renderFlags say how charts are rendered.
type renderFlags struct {
	values, set, apiVersions []string
	releaseName, kubeVersion string
}

func (f *renderFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.values, "values", "f", nil, "values for Helm charts from `FILE` (repeatable)")
	flags.StringArrayVar(&f.set, "set", nil, "values for Helm charts, such as a.b=1,c=2 (`KEY=VALUE`; repeatable)")
	flags.StringVar(&f.releaseName, "release-name", "release-name", "release `NAME` of Helm charts")
	flags.StringArrayVar(&f.apiVersions, "api-versions", nil, "`VERSION` of an API that Helm charts find in the cluster, besides those of Kubernetes (repeatable)")
	flags.StringVar(&f.kubeVersion, "kube-version", "", "`VERSION` of Kubernetes that Helm charts find (default: the latest that Helm knows)")
	fileFlag(cmd, "values")
	for _, name := range []string{"set", "release-name", "api-versions", "kube-version"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions) // which were added just now
	}
}

// options reads the values. What is wrong with the flags is an error.
func (f *renderFlags) options(namespace string) (render.Options, error) {
	o := render.Options{
		Namespace: namespace, ReleaseName: f.releaseName,
		APIVersions: f.apiVersions, KubeVersion: f.kubeVersion,
	}
	if err := o.Check(); err != nil {
		return o, err
	}
	values, err := render.Values(f.values, f.set)
	o.Values = values
	return o, err
}
