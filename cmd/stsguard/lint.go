package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

// lintFormats are those that a report on manifests can have.
var lintFormats = []string{"text", "json", "sarif", "junit", "github"}

// lintFlags are the flags of lint.
type lintFlags struct {
	inputs
	output             output
	level, failOn      choice
	live               bool
	cluster            clusterFlags
	suppressions       string
	updateSuppressions bool
}

func (c *Command) lint() *cobra.Command {
	f := lintFlags{
		level:  choice{allowed: levels()},
		failOn: choice{allowed: append([]string{string(config.None)}, levels()...)},
	}
	cmd := &cobra.Command{
		Use:   "lint [PATH|-]...",
		Short: "Check manifests, Helm charts and kustomizations",
		Long: `Check the StatefulSets and Services in manifests: files, directories with all
below them, or standard input (-). Without a PATH the working directory is
checked. All manifests that are given to one call are judged together: a
StatefulSet's Service may be in any file, and the nearest one counts.

Helm charts, as directories or .tgz, are rendered, and kustomizations built, and
each is judged by itself. Nothing is fetched for that. What a kustomization
includes isn't checked on its own.

Exit codes:
  0  nothing was found at or above --fail-on
  1  something was
  2  wrong usage or configuration
  3  an input could not be read, parsed or judged, or the output could not be
     written; the rest was still checked and reported`,
		Example: `  stsguard lint deploy/
  stsguard lint charts/web -f production.yaml --set replicas=3
  kubectl get statefulsets,services -o yaml | stsguard lint -
  stsguard lint --level advice --fail-on none -o json .
  stsguard lint -o text -o sarif=stsguard.sarif .`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			if err := f.check(paths); err != nil {
				return err
			}
			if f.updateSuppressions && f.suppressions == "" {
				return errors.New("--update-suppressions needs --suppressions FILE, which it writes")
			}
			for _, name := range []string{"context", "kubeconfig", "config-from-cluster"} {
				if cmd.Flags().Changed(name) && !f.live {
					return fmt.Errorf("--%s is for --cluster", name)
				}
			}
			if f.live && !cmd.Flags().Changed("namespace") {
				f.namespace = ""
			}
			return c.runLint(cmd.Context(), &f, paths)
		},
	}
	f.output.register(cmd, lintFormats...)
	choose(cmd, &f.level, "level", "", "what to show, a level and those before it (default: what the configuration warns of, else strict)")
	choose(cmd, &f.failOn, "fail-on", "", "what to fail on (default: what the configuration enforces, else baseline)")
	f.flags(cmd)
	cmd.Flags().Lookup("namespace").Usage += " (with --cluster: default the context's)"
	cmd.Flags().BoolVar(&f.live, "cluster", false, "lay the manifests over a cluster and tell what an apply would do; nothing is changed")
	f.cluster.register(cmd)
	f.cluster.registerConfig(cmd)
	cmd.Flags().StringVar(&f.suppressions, "suppressions", "", "`FILE` of known findings, which don't fail the run; those that are gone are named")
	cmd.Flags().BoolVar(&f.updateSuppressions, "update-suppressions", false, "write that file anew: what is found is known, what is gone is dropped")
	fileFlag(cmd, "suppressions")
	return cmd
}

func levels() []string {
	out := make([]string, len(policies.Levels))
	for i, l := range policies.Levels {
		out[i] = string(l)
	}
	return out
}

func (c *Command) runLint(ctx context.Context, f *lintFlags, paths []string) error {
	o := lint.Options{
		Paths:   paths,
		Reading: c.reading(&f.inputs),
		FailOn:  policies.Level(f.failOn.value),
		Show:    policies.Level(f.level.value),
	}
	var at *target
	var err error
	if f.live {
		if at, err = f.cluster.connect(); err != nil {
			return err
		}
		o.Cluster, o.Context = at, at.name
		o.Reading.Namespace = cmp.Or(o.Reading.Namespace, at.namespace)
	}
	conf, rules, err := f.cluster.configured(ctx, at, f.config)
	if err != nil {
		return err
	}
	o.Judge = verdict.New(rules, conf, "", time.Now)
	if f.suppressions != "" {
		if o.Suppressions, err = lint.LoadSuppressions(f.suppressions, f.updateSuppressions, rules.Catalog); err != nil {
			return exit{exitUsage, err}
		}
	}
	if o.Rendering, err = f.render.options(o.Reading.Namespace); err != nil {
		return exit{exitUsage, err}
	}
	var read atomic.Int64
	o.Reading.Progress = &read
	stop := c.progress(&f.output, func() string { return fmt.Sprintf("stsguard: working... files read: %d", read.Load()) })
	defer stop()
	r := lint.Run(ctx, o)
	stop()
	var notes []report.Note
	for _, note := range o.Judge.Notes() {
		notes = append(notes, report.Note{Message: note})
	}
	r.Notes = append(notes, r.Notes...)
	switch {
	case len(r.Errors) > 0:
	case r.Summary.Files == 0:
		r.Notes = append(r.Notes, report.Note{Message: "no manifests found: there is no .yaml, .yml or .json file, Helm chart or kustomization to read"})
	case r.Summary.Documents == 0:
		r.Notes = append(r.Notes, report.Note{Message: "no manifests found: what was read is empty"})
	}
	err = c.tell(r, &f.output)
	if o.Suppressions != nil {
		if err := c.tellKnown(o.Suppressions, f, len(r.Errors) == 0); err != nil {
			return exit{exitIncomplete, err}
		}
	}
	return err
}
