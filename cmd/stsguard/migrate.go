package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/explain"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/migrate"
	"github.com/stsguard/stsguard/policies"
)

// migrateFlags are the flags of migrate.
type migrateFlags struct {
	options           migrate.Options
	namespace, config string
	cluster           clusterFlags
}

func (c *Command) migrate() *cobra.Command {
	var f migrateFlags
	cmd := &cobra.Command{
		Use:   "migrate statefulset/NAME",
		Short: "Plan how a running StatefulSet comes by a headless Service",
		Long: `Plan the steps by which a StatefulSet of a cluster comes by a headless governing
Service, where it has one with a cluster IP, an ExternalName, one that is
missing, or none. clusterIP and serviceName can't be changed, so something must
be created anew.

By default a Service of a new name is created, unless a headless one selects the
pods already. The StatefulSet is exchanged for one that names it, while its pods
run on; then the pods restart one at a time, since they get their names when
they are made. The old Service stays for clients. With --keep-name it is the
Service that changes: no pod restarts, but who needs its cluster IP has to go to
another Service, which is created first. A Service that is missing is created,
and no pod restarts, unless a headless one of another name selects the pods.

The plan is Markdown, with the commands and manifests of each step, what they do
to pods, volumes and clients, what to check, and how to go back. Nothing is
changed: the StatefulSet and its Service are read, Services and StatefulSets of
the namespace listed, and the StatefulSet's pods.

Exit codes:
  0  the plan is printed, or there is nothing to do
  2  wrong usage or configuration, or there is no such StatefulSet
  3  the cluster could not be read, or the output could not be written`,
		Example: `  stsguard migrate statefulset/web
  stsguard migrate sts/web -n shop --context production > plan.md
  stsguard migrate statefulset/web --keep-name --client-service web-public`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("say which StatefulSet, and only that: statefulset/NAME")
			}
			name, err := statefulSetName(args[0], "migrate", "a statefulset/NAME")
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("namespace") {
				if err := checkNamespace(f.namespace); err != nil {
					return err
				}
			}
			if f.options.ClientService != "" && !f.options.KeepName {
				return errors.New("--client-service is of use only with --keep-name: without it, clients keep the Service that they have")
			}
			return c.runMigrate(cmd.Context(), &f, name)
		},
	}
	cmd.Flags().StringVar(&f.options.Service, "service", "", "`NAME` of the headless Service (default: one that selects the pods already, else that of the present one with -headless)")
	cmd.Flags().BoolVar(&f.options.KeepName, "keep-name", false, "leave serviceName and the pods as they are, and make the Service of that name headless")
	cmd.Flags().StringVar(&f.options.ClientService, "client-service", "", "with --keep-name, the `NAME` of the Service that has a cluster IP in its place (default: its name with -client)")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "namespace `NS` of the StatefulSet (default: the context's)")
	configFlag(cmd, &f.config)
	f.cluster.register(cmd)
	exclusive(cmd, "service", "keep-name")
	return cmd
}

func (c *Command) runMigrate(ctx context.Context, f *migrateFlags, name string) error {
	conf, rules, err := configuration(f.config)
	if err != nil {
		return exit{exitUsage, err}
	}
	at, err := f.cluster.connect()
	if err != nil {
		return err
	}
	namespace := cmp.Or(f.namespace, at.namespace)
	world, err := readToMigrate(ctx, at, rules, conf, namespace, name)
	if e := (exit{}); errors.As(err, &e) {
		return e
	}
	if err != nil {
		return exit{exitIncomplete, fmt.Errorf("read cluster %s: %w", at.name, err)}
	}
	f.options.Kubectl = f.cluster.kubectl(namespace)
	plan, err := migrate.New(*world, f.options)
	if err != nil {
		return exit{exitUsage, err}
	}
	if err := plan.WriteText(c.Stdout); err != nil {
		return exit{exitIncomplete, err}
	}
	return nil
}

// readToMigrate reads what a plan is made from.
func readToMigrate(ctx context.Context, at *target, rules *policies.Rules, conf *config.Configuration, namespace, name string) (*migrate.World, error) {
	s, err := at.Snapshot(ctx, namespace)
	if err != nil {
		return nil, err
	}
	for _, p := range s.Unread {
		if p.Resource != "namespaces" {
			return nil, fmt.Errorf("the permission to %s is missing", p)
		}
	}
	set := setNamed(s.Store, namespace, name)
	if set == nil {
		w := where{worlds: []explain.World{{Reader: s.Store}}, namespace: namespace, cluster: at.name}
		return nil, exit{exitUsage, w.notFound(name)}
	}
	w := &migrate.World{Reader: s.Store, ClusterDomain: conf.ClusterDomain}
	if w.StatefulSet, err = at.StatefulSet(ctx, namespace, name); err != nil {
		return nil, err
	}
	if len(s.Store.ServicesNamed(namespace, set.ServiceName)) > 0 {
		if w.Governing, err = at.Service(ctx, namespace, set.ServiceName); err != nil {
			return nil, err
		}
	}
	if w.Pods, err = at.Pods(ctx, set); err != nil {
		return nil, err
	}
	w.Headless, err = headlessFor(ctx, rules, set)
	return w, err
}

func setNamed(r inventory.Reader, namespace, name string) *inventory.StatefulSet {
	for _, set := range r.StatefulSets(namespace) {
		if set.Name == name {
			return set
		}
	}
	return nil
}

// headlessFor is the Service that a StatefulSet needs, as the rule says it that
// finds it missing.
func headlessFor(ctx context.Context, rules *policies.Rules, set *inventory.StatefulSet) (map[string]any, error) {
	alone := *set
	alone.ServiceName = cmp.Or(set.ServiceName, set.Name)
	world := &inventory.Store{}
	world.PutStatefulSet(&alone)
	findings, err := rules.Engine(nil).Relation(ctx, inventory.Relate(world, &alone), policies.Extent{})
	if err != nil {
		return nil, err
	}
	for _, f := range findings {
		if f.Rule.ID == inventory.ReasonServiceNotFound && f.Fix != nil && f.Fix.Create != nil {
			return f.Fix.Create, nil
		}
	}
	return nil, fmt.Errorf("rule %s gives no Service for StatefulSet %q", inventory.ReasonServiceNotFound, set.Name)
}

// kubectl is how to call kubectl for that cluster and namespace.
func (f *clusterFlags) kubectl(namespace string) string {
	words := []string{"kubectl"}
	if f.kubeconfig != "" {
		words = append(words, "--kubeconfig", migrate.Quote(f.kubeconfig))
	}
	if f.context != "" {
		words = append(words, "--context", migrate.Quote(f.context))
	}
	return strings.Join(append(words, "-n", namespace), " ")
}
