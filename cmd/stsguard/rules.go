package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
)

func (c *Command) rules() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "rules [ID]",
		Short: "List the rules, or explain one",
		Long:  "List the rules with their levels, or explain the one of that ID.",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			_, rules, err := configuration(file)
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []string
			for _, r := range rules.Catalog {
				out = append(out, cobra.CompletionWithDesc(r.ID, r.Title))
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			_, rules, err := configuration(file)
			if err != nil {
				return exit{exitUsage, err}
			}
			var page []byte
			if len(args) == 0 {
				page = catalogPage(rules.Catalog)
			} else {
				rule := rules.Catalog.Rule(args[0])
				if rule == nil {
					return exit{exitUsage, errors.New(config.UnknownRule(args[0], rules.Catalog))}
				}
				page = rulePage(rule)
			}
			if _, err := c.Stdout.Write(page); err != nil {
				return exit{exitIncomplete, fmt.Errorf("write the rules: %w", err)}
			}
			return nil
		},
	}
	configFlag(cmd, &file)
	return cmd
}

// catalogPage lists the rules by level, the most severe first.
func catalogPage(catalog policies.Catalog) []byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tLEVEL\tTITLE")
	for _, level := range policies.Levels {
		for _, r := range catalog {
			if r.Level == level {
				fmt.Fprintf(w, "%s\t%s\t%s\n", r.ID, r.Level, report.Printable(r.Title))
			}
		}
	}
	_ = w.Flush() // into memory
	return b.Bytes()
}

var subjects = map[policies.Subject]string{
	policies.Relation:   "a StatefulSet with the Service that governs it",
	policies.OneService: "a Service",
	policies.Change:     "a change to an object in a cluster",
}

func rulePage(r *policies.Rule) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n%s.\n\n", r.ID, report.Printable(r.Title))
	fmt.Fprintf(&b, "Level:   %s\nSubject: %s\n\n", r.Level, subjects[r.Subject])
	b.WriteString(report.Fold("", "Why: "+r.Description))
	b.WriteString(report.Fold("", "Fix: "+r.Remedy))
	if len(r.Parameters) > 0 {
		b.WriteString("\nParameters:\n")
		for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
			p := r.Parameters[name]
			fmt.Fprintf(&b, "  %s (default: %s)\n", report.Printable(name), defaultValue(p.Default))
			b.WriteString(report.Fold("    ", p.Description))
		}
	}
	source := report.RuleURL(r.ID)
	if r.File != "" {
		source = r.File
	}
	b.WriteString("\nRead more:\n")
	for _, link := range append(slices.Clone(r.Related), source) {
		fmt.Fprintf(&b, "  %s\n", report.Printable(link))
	}
	return b.Bytes()
}

// defaultValue writes a parameter's default as it would stand in YAML.
func defaultValue(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = fmt.Sprintf("%q", item)
	}
	return "[" + strings.Join(items, ", ") + "]"
}
