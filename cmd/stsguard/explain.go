package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/explain"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/inventory/render"
	"github.com/stsguard/stsguard/report"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	inputs
	output  choice
	live    bool
	cluster clusterFlags
}

func (c *Command) explain() *cobra.Command {
	f := explainFlags{output: choice{"text", []string{"text", "json"}}}
	cmd := &cobra.Command{
		Use:   "explain statefulset/NAME [PATH|-]...",
		Short: "Show the DNS names of a StatefulSet's pods, and whether they resolve",
		Long: `Show the DNS name of each of a StatefulSet's pods, whether it resolves by the
Kubernetes DNS specification and on CoreDNS, and why not; the SRV records; the
Service that governs the StatefulSet; and what else selects the pods.

The StatefulSet is looked for in manifests, Helm charts and kustomizations: files,
directories with all below them, or standard input (-); without a PATH in the
working directory. With --cluster it is that of a cluster, of which Services and
StatefulSets are read. Names are predicted from what these objects say; the pods
are not looked at.

  always        as long as the Service exists
  once running  as soon as the pod has an address, ready or not
  once ready    as long as the pod is ready
  not promised  the specification doesn't say that it resolves
  never, unknown

Exit codes:
  0  the name of every pod is guaranteed by the specification, once it is ready
  1  the name of some pod is not
  2  wrong usage or configuration, or there is no such StatefulSet
  3  an input could not be read or parsed, the cluster could not be read, or the
     output could not be written`,
		Example: `  stsguard explain statefulset/web deploy/
  helm template my-release ./chart | stsguard explain sts/web -
  stsguard explain statefulset/web --cluster -n shop -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("say which StatefulSet: statefulset/NAME")
			}
			name, err := statefulSetName(args[0], "explain", "a statefulset/NAME, before any PATH")
			if err != nil {
				return err
			}
			if err := f.check(args[1:]); err != nil {
				return err
			}
			if f.live && !cmd.Flags().Changed("namespace") {
				f.namespace = ""
			}
			return c.runExplain(cmd.Context(), &f, name, args[1:])
		},
	}
	choose(cmd, &f.output, "output", "o", "format of the explanation")
	cmd.Flags().BoolVar(&f.live, "cluster", false, "explain a StatefulSet of a cluster")
	f.cluster.register(cmd)
	f.flags(cmd)
	cmd.Flags().Lookup("namespace").Usage = "namespace `NS` of the StatefulSet, and of objects that give none (with --cluster: default the context's)"
	return cmd
}

// statefulSetName reads TYPE/NAME as kubectl has it, or NAME alone. What is to be
// done, and to what only, is for errors.
func statefulSetName(arg, verb, only string) (string, error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		kind, name = "statefulset", arg
	}
	switch strings.TrimSuffix(strings.ToLower(kind), ".apps") {
	case "statefulset", "statefulsets", "sts":
	default:
		return "", fmt.Errorf("can't %s %q: only %s", verb, arg, only)
	}
	if name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("can't %s %q: say statefulset/NAME", verb, arg)
	}
	return name, nil
}

// check holds the flags against what they may be, alone and together.
func (f *explainFlags) check(paths []string) error {
	if err := f.inputs.check(paths); err != nil {
		return err
	}
	switch {
	case !f.live && f.cluster != clusterFlags{}:
		return errors.New("--context and --kubeconfig are of use only with --cluster")
	case f.live && len(paths) > 0:
		return errors.New("--cluster explains what is in the cluster: leave the PATH out, or leave out --cluster")
	case f.live && len(f.exclude) > 0:
		return errors.New("--exclude is of use only without --cluster")
	}
	return nil
}

func (c *Command) runExplain(ctx context.Context, f *explainFlags, name string, paths []string) error {
	conf, rules, err := configuration(f.config)
	if err != nil {
		return exit{exitUsage, err}
	}
	w := where{zone: inventory.Zone{ClusterDomain: conf.ClusterDomain, RuntimeLabels: runtimeLabels(conf)}, namespace: f.namespace}
	if f.live {
		err = w.readCluster(ctx, &f.cluster)
	} else {
		err = c.readManifests(ctx, &w, paths, &f.inputs)
	}
	if err != nil {
		return err
	}
	var sets []explain.StatefulSet
	for _, world := range w.worlds {
		sets = append(sets, explain.Explain(world, w.namespace, name)...)
	}
	if len(sets) == 0 {
		missing := exit{exitUsage, w.notFound(name)}
		if len(w.errors) == 0 {
			return missing
		}
		// It may stand in what could not be read.
		c.note("%v", missing)
	}
	e := explain.New(conf.ClusterDomain, sets, w.errors)
	if f.output.value == "json" {
		for _, e := range e.Errors {
			fmt.Fprintln(c.Stderr, e)
		}
		err = e.WriteJSON(c.Stdout)
	} else {
		err = e.WriteText(c.Stdout, func(rule string) string {
			if r := rules.Catalog.Rule(rule); r != nil {
				return r.Remedy
			}
			return ""
		})
	}
	switch {
	case err != nil:
		return exit{exitIncomplete, err}
	case len(e.Errors) > 0:
		return exit{code: exitIncomplete}
	case !e.Guaranteed():
		return exit{code: exitFindings}
	}
	return nil
}

// where is where the StatefulSet is looked for.
type where struct {
	worlds    []explain.World
	zone      inventory.Zone
	namespace string
	// cluster is what to call the cluster, empty for manifests.
	cluster string
	// errors are what could not be read.
	errors []report.Error
}

func (c *Command) readManifests(ctx context.Context, w *where, paths []string, in *inputs) error {
	reading := c.reading(in)
	rendering, err := in.render.options(in.namespace)
	if err != nil {
		return exit{exitUsage, err}
	}
	fail := func(errs []manifest.Error) {
		for _, e := range errs {
			w.errors = append(w.errors, report.Error(e))
		}
	}
	found := manifest.Find(ctx, paths, reading)
	fail(found.Errors)
	leftOut := found.LeftOut
	for rendered := range render.Worlds(ctx, found, rendering) {
		set := manifest.Read(ctx, rendered.Sources, reading)
		fail(rendered.Errors)
		fail(set.Errors)
		leftOut = append(leftOut, rendered.LeftOut...)
		w.worlds = append(w.worlds, explain.World{
			Reader: set.Store, Zone: w.zone,
			Locate: func(ref inventory.Ref) report.Location { return report.Location(set.Locate(ref, "")) },
		})
	}
	for _, l := range leftOut {
		c.note("%s is left out: %s", l.Path, l.Reason)
	}
	return nil
}

func (w *where) readCluster(ctx context.Context, flags *clusterFlags) error {
	at, err := flags.connect()
	if err != nil {
		return err
	}
	w.cluster, w.namespace = at.name, cmp.Or(w.namespace, at.namespace)
	s, err := at.Snapshot(ctx, w.namespace)
	if err != nil {
		return exit{exitIncomplete, fmt.Errorf("read cluster %s: %w", at.name, err)}
	}
	if !s.Permitted("statefulsets", w.namespace) {
		return exit{exitIncomplete, fmt.Errorf("read cluster %s: may not list statefulsets in namespace %s", at.name, w.namespace)}
	}
	w.zone.NoWorkloads, w.zone.NoServices = true, !s.Permitted("services", w.namespace)
	w.worlds = []explain.World{{Reader: s.Store, Zone: w.zone}}
	if w.zone.NoServices {
		w.errors = append(w.errors, report.Error{Message: fmt.Sprintf("read cluster %s: may not list services in namespace %s", at.name, w.namespace)})
	}
	return nil
}

// mostNames is how many of the names that there are an error names.
const mostNames = 5

// notFound says that there is no such StatefulSet, and which there are.
func (w *where) notFound(name string) error {
	in := fmt.Sprintf("in namespace %q", w.namespace)
	if w.cluster != "" {
		in += " of cluster " + w.cluster
	}
	var others, elsewhere []string
	for _, world := range w.worlds {
		for _, namespace := range world.Namespaces() {
			for _, set := range world.StatefulSets(namespace) {
				switch {
				case namespace == w.namespace:
					others = append(others, set.Name)
				case set.Name == name:
					elsewhere = append(elsewhere, namespace)
				}
			}
		}
	}
	message := fmt.Sprintf("there is no StatefulSet %q %s", name, in)
	switch {
	case len(elsewhere) > 0:
		slices.Sort(elsewhere)
		elsewhere = slices.Compact(elsewhere)
		message += fmt.Sprintf("; there is one in namespace %s: choose it with -n", strings.Join(elsewhere, ", "))
	case len(others) > 0:
		slices.SortFunc(others, func(a, b string) int {
			return cmp.Or(levenshtein.ComputeDistance(name, a)-levenshtein.ComputeDistance(name, b), cmp.Compare(a, b))
		})
		others = slices.Compact(others)
		message += "; there is " + strings.Join(others[:min(len(others), mostNames)], ", ")
		if more := len(others) - mostNames; more > 0 {
			message += fmt.Sprintf(" and %d more", more)
		}
	}
	return errors.New(message)
}

// runtimeLabels are the keys of labels that, the configuration says, something
// adds to running pods.
func runtimeLabels(c *config.Configuration) []string {
	var out []string
	list, _ := c.Rules[inventory.ReasonSelectorMismatch].Parameters["runtimeLabels"].([]any)
	for _, v := range list {
		if key, ok := v.(string); ok {
			out = append(out, key)
		}
	}
	return out
}
