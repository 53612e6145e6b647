package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/stsguard/stsguard/test/guarded"
)

// run starts the control plane with stsguard in front of it, tells the story
// and takes everything down again.
func run(ctx context.Context, out io.Writer) (err error) {
	cluster, err := guarded.Start(ctx, guarded.Options{Output: out})
	if err != nil {
		return fmt.Errorf("start the control plane: %w", err)
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()

	cli := filepath.Join(cluster.Dir, "stsguard")
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", cli, "./cmd/stsguard").CombinedOutput(); err != nil {
		return fmt.Errorf("build stsguard: %w\n%s", err, text)
	}
	t := &teller{out: out, command: func(ctx context.Context, args []string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, cli, args[1:]...)
		if args[0] == "kubectl" {
			cmd = cluster.Kubectl(ctx, args[1:]...)
		}
		cmd.Dir = filepath.Join("test", "demo", "manifests")
		return cmd
	}}
	return t.tell(ctx, story)
}

// teller runs the steps and keeps count.
type teller struct {
	out     io.Writer
	command func(ctx context.Context, args []string) *exec.Cmd
	passed  int
	failed  int
}

func (t *teller) tell(ctx context.Context, story []chapter) error {
	for i, c := range story {
		fmt.Fprintf(t.out, "\n%d. %s\n", i+1, c.title)
		for _, s := range c.steps {
			if err := t.step(ctx, s); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(t.out, "\n%d passed, %d failed\n", t.passed, t.failed)
	if t.failed > 0 {
		return fmt.Errorf("%d of %d steps came out otherwise than expected", t.failed, t.passed+t.failed)
	}
	return nil
}

// patience is how long a controller may take.
const patience = 30 * time.Second

func (t *teller) step(ctx context.Context, s step) error {
	fmt.Fprintln(t.out)
	if s.say != "" {
		fmt.Fprintf(t.out, "   %s\n", s.say)
	}
	fmt.Fprintf(t.out, "   expected: %s\n   $ %s\n", s.expect, s.run)
	var text string
	var surprises []string
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		var output bytes.Buffer
		cmd := t.command(ctx, strings.Fields(s.run))
		cmd.Stdout, cmd.Stderr = &output, &output
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("run %s: %w", s.run, err)
		}
		text = output.String()
		surprises = s.surprises(text, cmd.ProcessState.ExitCode())
		if len(surprises) == 0 || !s.eventually || time.Now().After(deadline) {
			break
		}
	}
	for line := range strings.Lines(text) {
		fmt.Fprintf(t.out, "     %s\n", strings.TrimRight(line, "\n"))
	}
	if len(surprises) == 0 {
		t.passed++
		fmt.Fprintln(t.out, "   ok")
		return nil
	}
	t.failed++
	for _, surprise := range surprises {
		fmt.Fprintf(t.out, "   SURPRISE: %s\n", surprise)
	}
	return nil
}

// surprises says in what the outcome is not the expected one.
func (s step) surprises(text string, code int) []string {
	denial := strings.Contains(text, "denied the request")
	warning := strings.Contains(text, "Warning: [")
	var out []string
	want := func(ok bool, what string) {
		if !ok {
			out = append(out, what)
		}
	}
	switch s.expect {
	case accepted, printed:
		want(code == 0, fmt.Sprintf("exit code %d", code))
		want(!warning || s.expect == printed, "a warning")
	case warned:
		want(code == 0, fmt.Sprintf("exit code %d", code))
		want(warning, "no warning")
	case denied:
		want(code != 0 && denial, "it was not denied")
	case refused:
		want(code != 0 && !denial, "kubectl did not refuse")
	case clean:
		want(code == 0, fmt.Sprintf("exit code %d", code))
	case failing:
		want(code == 1, fmt.Sprintf("exit code %d", code))
	}
	for _, part := range s.holds {
		want(strings.Contains(text, part), fmt.Sprintf("the output lacks %q", part))
	}
	for _, part := range s.lacks {
		want(!strings.Contains(text, part), fmt.Sprintf("the output holds %q", part))
	}
	return out
}
