package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/report"
)

// fixFlags are the flags of fix.
type fixFlags struct {
	inputs
	write, diff, createMissing bool
}

func (c *Command) fix() *cobra.Command {
	var f fixFlags
	cmd := &cobra.Command{
		Use:   "fix [PATH|-]...",
		Short: "Mend manifests",
		Long: `Mend what stsguard lint finds in manifests, where there is one way to do it
that changes nothing for clients: a governing Service that doesn't say
clusterIP: None, a StatefulSet that doesn't name the one headless Service of its
pods, a Service that selects another value than the pods' label. All else is
left as it is, with a hint; so is what is rendered from Helm charts and
kustomizations, where the hint names the template.

Standard output is a unified diff, for patch -p1, or for git apply at the top of
a repository; nothing is written without --write. Only the lines that must
change do. What a changed manifest says is read back and judged again, and the
change refused unless it is right.

Exit codes:
  0  nothing is to be changed, or all of it was written
  1  there is a diff
  2  wrong usage or configuration
  3  an input could not be read, parsed or judged, or the output could not be
     written; the rest was still mended`,
		Example: `  stsguard fix deploy/
  stsguard fix --write --create-missing deploy/
  stsguard fix deploy/ | git apply`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			if err := f.check(paths); err != nil {
				return err
			}
			if f.write && slices.Contains(paths, "-") {
				return errors.New("--write can't change standard input: leave it out for a diff, or name the files")
			}
			return c.runFix(cmd.Context(), &f, paths)
		},
	}
	cmd.Flags().BoolVar(&f.diff, "diff", false, "show what changes, which is the default without --write")
	cmd.Flags().BoolVar(&f.write, "write", false, "change the files")
	cmd.Flags().BoolVar(&f.createMissing, "create-missing", false, "add the headless Services that StatefulSets name and that are nowhere")
	f.flags(cmd)
	return cmd
}

func (c *Command) runFix(ctx context.Context, f *fixFlags, paths []string) error {
	judge, err := f.judge()
	if err != nil {
		return err
	}
	rendering, err := f.render.options(f.namespace)
	if err != nil {
		return exit{exitUsage, err}
	}
	fixes := lint.Fix(ctx, lint.FixOptions{
		Paths: paths, Reading: c.reading(&f.inputs), Rendering: rendering, Judge: judge, CreateMissing: f.createMissing,
	})
	for _, note := range judge.Notes() {
		c.note("%s", note)
	}
	for _, note := range fixes.Notes {
		c.note("%s", note)
	}
	for _, l := range fixes.LeftOut {
		c.note("%s is left out: %s", l.Path, l.Reason)
	}
	for _, e := range fixes.Errors {
		fmt.Fprintln(c.Stderr, e)
	}
	if fixes.Read == 0 && len(fixes.Errors) == 0 {
		c.note("no manifests found: there is no .yaml, .yml or .json file, Helm chart or kustomization to read")
	}
	if f.diff || !f.write {
		err = c.diff(fixes)
	}
	if f.write && err == nil {
		var written []string
		if written, err = lint.Write(fixes.Files); err != nil {
			for _, path := range written {
				c.note("%s was written", path)
			}
		}
	}
	if err != nil {
		return exit{exitIncomplete, err}
	}
	writeFixes(c.Stderr, fixes, f)
	switch {
	case len(fixes.Errors) > 0:
		return exit{code: exitIncomplete}
	case !f.write && len(fixes.Files) > 0:
		return exit{code: exitFindings}
	}
	return nil
}

func (c *Command) diff(fixes *lint.Fixes) error {
	text, err := lint.Diff(fixes.Files)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c.Stdout, text); err != nil {
		return fmt.Errorf("write the diff: %w", err)
	}
	return nil
}

const immutable = "Note: clusterIP and serviceName can't be changed on an object that exists in a cluster, and the " +
	"API server refuses to apply the new manifest over it. Run stsguard migrate statefulset/NAME there first: " +
	"it plans the steps, and what becomes of pods and volumes."

// settled are the rules whose findings are mended in clusterIP or serviceName.
var settled = []string{inventory.ReasonNotHeadless, inventory.ReasonNameMissing, "clusterip-none-missing"}

// writeFixes tells people what was mended, what wasn't, and what to know of it.
// That it could not be told is no reason to fail: what was asked for is done.
func writeFixes(w io.Writer, fixes *lint.Fixes, f *fixFlags) {
	var b bytes.Buffer
	done, fixed := "fix", "%s would be fixed in %s with --write"
	if f.write {
		done, fixed = "fixed", "%s fixed in %s"
	}
	deployed := false
	for _, m := range fixes.Applied {
		line(&b, &m.Finding, done)
		deployed = deployed || m.Immutable
	}
	for _, h := range fixes.Hints {
		line(&b, &h.Finding, "hint")
		deployed = deployed || slices.Contains(settled, h.Rule)
		for _, detail := range strings.Split(h.Message, "\n")[1:] {
			b.WriteString(report.Fold("  ", detail))
		}
		for reason := range strings.Lines(h.Reason) {
			b.WriteString(report.Fold("  ", strings.TrimSuffix(reason, "\n")))
		}
		b.WriteString(report.Fold("  ", "Fix: "+h.Advice))
		if h.Fix == nil || h.Fix.Create == nil {
			continue
		}
		for text := range strings.Lines(h.Fix.Manifest) {
			fmt.Fprintf(&b, "    %s\n", report.Printable(strings.TrimSuffix(text, "\n")))
		}
		if h.Reason == "" && !h.Fix.Safe && !f.createMissing {
			b.WriteString(report.Fold("  ", "With --create-missing, stsguard fix adds it if no other can be meant."))
		}
	}
	if deployed {
		b.WriteString(report.Fold("", immutable))
	}
	switch {
	case len(fixes.Applied) > 0:
		fmt.Fprintf(&b, fixed+", %d left", count(len(fixes.Applied), "finding"), count(len(fixes.Files), "file"), len(fixes.Hints))
	case len(fixes.Hints) > 0:
		fmt.Fprintf(&b, "%s left to you", count(len(fixes.Hints), "finding"))
	default:
		b.WriteString("nothing to fix")
	}
	if n := len(fixes.Errors); n > 0 {
		fmt.Fprintf(&b, " (incomplete: %s)", count(n, "error"))
	}
	b.WriteByte('\n')
	_, _ = w.Write(b.Bytes())
}

func line(b *bytes.Buffer, f *report.Finding, label string) {
	headline, _, _ := strings.Cut(f.Message, "\n")
	fmt.Fprintf(b, "%s: %s: %s [%s]\n", report.Printable(fmt.Sprintf("%s:%d:%d", f.Location.File, f.Location.Line, f.Location.Column)), label, report.Printable(headline), f.Rule)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
