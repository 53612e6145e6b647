package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stsguard/stsguard/report"
)

// The exit codes. Where several apply, wrong usage beats what could not be
// judged, and that beats findings.
const (
	exitClean = 0
	// exitFindings: something was found at or above --fail-on, or is to be
	// mended.
	exitFindings = 1
	// exitUsage: wrong usage or configuration.
	exitUsage = 2
	// exitIncomplete: an input could not be read, parsed or judged, or the
	// output could not be written.
	exitIncomplete = 3
)

// Command is the program with all that it takes from its surroundings.
type Command struct {
	// Name is what the program was called by, os.Args[0].
	Name           string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv looks an environment variable up.
	Getenv func(name string) string
}

// exit is an error with an exit code. Every other error is wrong usage. There
// is nothing more to say where err is nil.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Main runs the program and returns its exit code. It never panics.
func (c *Command) Main(ctx context.Context, args []string) (code int) {
	defer func() {
		if r := recover(); r != nil {
			c.note("internal error: %v; this is a bug, please report it at https://github.com/stsguard/stsguard/issues", r)
			code = exitIncomplete
		}
	}()
	if c.name() == completionName {
		args = append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	root := c.root()
	root.SetArgs(args)
	at, err := root.ExecuteContextC(ctx)
	var e exit
	switch {
	case err == nil:
		return exitClean
	case errors.As(err, &e):
		if e.err != nil {
			c.note("%v", e.err)
		}
		return e.code
	}
	c.note("%v", err)
	fmt.Fprintf(c.Stderr, "Run %q for usage.\n", at.CommandPath()+" --help")
	return exitUsage
}

// The names by which kubectl calls the program: as a plugin, and to complete what
// is typed after that one.
const (
	pluginName     = "kubectl-stsguard"
	completionName = "kubectl_complete-stsguard"
)

// name is what the program was called by, without directory and ending.
func (c *Command) name() string {
	return strings.TrimSuffix(filepath.Base(c.Name), ".exe")
}

func (c *Command) root() *cobra.Command {
	root := &cobra.Command{
		Use:     "stsguard",
		Version: moduleVersion(),
		Short:   "Make sure that StatefulSet pods have the DNS names their owners think they have",
		Long: `stsguard holds every StatefulSet against the headless Service that governs it,
the one that spec.serviceName names. Kubernetes never checks that this Service
exists, is headless and selects the pods; without it their DNS names don't
resolve.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(c.Stderr)
			return errors.Join(cmd.Help(), exit{code: exitUsage})
		},
	}
	root.SetIn(c.Stdin)
	root.SetOut(c.Stdout)
	root.SetErr(c.Stderr)
	root.AddCommand(c.lint(), c.fix(), c.audit(), c.explain(), c.migrate(), c.rules(), c.config(), c.version())
	if c.name() == pluginName {
		const called = "kubectl stsguard"
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: called}
		for _, sub := range root.Commands() {
			sub.Example = strings.ReplaceAll(sub.Example, "stsguard ", called+" ")
		}
	}
	return root
}

// note tells the user something beside the report.
func (c *Command) note(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(c.Stderr, "stsguard: %s\n", report.Printable(line))
		}
	}
}

// say writes what the user asked for.
func (c *Command) say(format string, args ...any) error {
	if _, err := fmt.Fprintf(c.Stdout, format+"\n", args...); err != nil {
		return exit{exitIncomplete, fmt.Errorf("write the output: %w", err)}
	}
	return nil
}

// color says whether the output is for eyes.
func (c *Command) color() bool {
	return c.isTerminal(c.Stdout) && c.Getenv("NO_COLOR") == ""
}

// isTerminal says whether what is written there is seen at once, and can be
// written over.
func (c *Command) isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && c.Getenv("TERM") != "dumb"
}

// choice is a flag that takes one of a few values.
type choice struct {
	value   string
	allowed []string
}

func (v *choice) String() string { return v.value }

func (v *choice) Type() string { return strings.Join(v.allowed, "|") }

func (v *choice) Set(s string) error {
	if !slices.Contains(v.allowed, s) {
		last := len(v.allowed) - 1
		return fmt.Errorf("must be %s or %s", strings.Join(v.allowed[:last], ", "), v.allowed[last])
	}
	v.value = s
	return nil
}

// choose adds a flag that takes one of a few values.
func choose(cmd *cobra.Command, v *choice, name, short, usage string) {
	cmd.Flags().VarP(v, name, short, usage)
	// The flag was added just now, which is all that this could complain of.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(v.allowed, cobra.ShellCompDirectiveNoFileComp))
}

// noArgs refuses arguments. cobra.NoArgs calls them commands.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes flags only, not %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// exclusive has the shell offer only one of two flags, and refuses both together
// before cobra does, which names groups of flags.
func exclusive(cmd *cobra.Command, one, other string) {
	cmd.MarkFlagsMutuallyExclusive(one, other)
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed(one) && cmd.Flags().Changed(other) {
			return fmt.Errorf("--%s and --%s can't be given together", one, other)
		}
		if before == nil {
			return nil
		}
		return before(cmd, args)
	}
}
