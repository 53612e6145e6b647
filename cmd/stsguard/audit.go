package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/audit"
	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

// auditFlags are the flags of audit.
type auditFlags struct {
	output                        output
	level, failOn                 choice
	namespace, config, exceptions string
	all                           bool
	cluster                       clusterFlags
}

func (c *Command) audit() *cobra.Command {
	f := auditFlags{
		level:  choice{allowed: levels()},
		failOn: choice{allowed: append([]string{string(config.None)}, levels()...)},
	}
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check a cluster",
		Long: `Check the StatefulSets and Services that a cluster has, and say what enforcement
would deny if they were created today. Nothing is changed: Services and
StatefulSets are listed, and Namespaces read for their labels.

Exit codes:
  0  nothing was found at or above --fail-on
  1  something was
  2  wrong usage or configuration
  3  something could not be read or judged, or the output could not be written;
     the rest was still checked and reported`,
		Example: `  stsguard audit --all-namespaces
  stsguard audit -n shop --fail-on strict -o json
  stsguard audit -A --write-exceptions exceptions.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("namespace") {
				if err := checkNamespace(f.namespace); err != nil {
					return err
				}
			}
			return c.runAudit(cmd.Context(), &f)
		},
	}
	f.output.register(cmd, "table", "text", "json", "junit")
	choose(cmd, &f.level, "level", "", "what to show, a level and those before it (default: what the namespace or the configuration warns of)")
	choose(cmd, &f.failOn, "fail-on", "", "what to fail on (default: what the namespace or the configuration enforces)")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "check namespace `NS` (default: the context's)")
	cmd.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "check all namespaces")
	configFlag(cmd, &f.config)
	cmd.Flags().StringVar(&f.exceptions, "write-exceptions", "", "write what fails to `FILE` as exceptions, to be given reasons")
	f.cluster.register(cmd)
	f.cluster.registerConfig(cmd)
	exclusive(cmd, "namespace", "all-namespaces")
	return cmd
}

func (c *Command) runAudit(ctx context.Context, f *auditFlags) error {
	if err := fresh(f.exceptions); f.exceptions != "" && err != nil {
		return err
	}
	at, err := f.cluster.connect()
	if err != nil {
		return err
	}
	conf, rules, err := f.cluster.configured(ctx, at, f.config)
	if err != nil {
		return err
	}
	judge := verdict.New(rules, conf, "", time.Now)
	o := audit.Options{
		Cluster: at, Judge: judge,
		Levels: verdict.Levels{Enforce: policies.Level(f.failOn.value), Warn: policies.Level(f.level.value)},
	}
	if !f.all {
		o.Namespaces = []string{cmp.Or(f.namespace, at.namespace)}
	}
	stop := c.progress(&f.output, func() string { return "reading the cluster" })
	r := audit.Run(ctx, o)
	stop()
	for _, note := range judge.Notes() {
		r.Notes = append(r.Notes, report.Note{Message: note})
	}
	err = c.tell(r, &f.output)
	if f.exceptions != "" {
		if err := writeExceptions(f.exceptions, r); err != nil {
			return exit{exitIncomplete, err}
		}
	}
	return err
}

// fresh refuses a file in which somebody may have given reasons already.
func fresh(file string) error {
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
		return fmt.Errorf("invalid argument %q for \"--write-exceptions\" flag: the file is there already: name another", file)
	}
	return nil
}

func writeExceptions(file string, r *report.Report) error {
	text, err := audit.Exceptions(r)
	if err != nil {
		return err
	}
	if err := writeFile(file, text); err != nil {
		return fmt.Errorf("write the exceptions to %s: %w", file, reason(err))
	}
	return nil
}
