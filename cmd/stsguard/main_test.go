package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stsguard/stsguard/test/docs"
	"github.com/stsguard/stsguard/test/script"
)

// collections is how many there were while the libraries were initialized.
var collections = func() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}()

func TestNoGarbageIsCollectedBeforeMain(t *testing.T) {
	if collections > 0 && os.Getenv("GOGC") == "" {
		t.Errorf("it was collected %d times", collections)
	}
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"stsguard": main})
}

// TestScripts runs what testdata/script documents. With UPDATE=1 in the
// environment the expected output in the scripts is written anew.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE") == "1",
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"exits": script.Exits, "pack": script.Pack},
	})
}

// lonely is a StatefulSet without its Service, and a Service to be mended.
const lonely = `{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": {"serviceName": "web"}}
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db-headless"}, "spec": {"selector": {"app": "db"}}}`

func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full")
	}
	defer full.Close()
	read, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]*os.File{"full disk": full, "closed pipe": pipe} {
		for _, args := range []string{"lint -", "lint -o json -", "fix -", "explain web -", "explain web -o json -", "rules", "rules service-not-found", "version"} {
			t.Run(name+"/"+args, func(t *testing.T) {
				var stderr strings.Builder
				c := exec.Cmd{
					Path: exe, Args: append([]string{"stsguard"}, strings.Fields(args)...), Dir: t.TempDir(),
					Stdin: strings.NewReader(lonely), Stdout: out, Stderr: &stderr,
				}
				err := c.Run()
				if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.ExitCode() != exitIncomplete {
					t.Errorf("ended with %v, want exit code %d", err, exitIncomplete)
				}
				if !strings.HasPrefix(stderr.String(), "stsguard: write the ") {
					t.Errorf("standard error: %q", stderr.String())
				}
			})
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	c := Command{Stdin: strings.NewReader(lonely), Stdout: &out, Stderr: io.Discard, Getenv: os.Getenv}
	if code := c.Main(ctx, []string{"lint", "-"}); code != exitIncomplete {
		t.Errorf("exit code %d, want %d", code, exitIncomplete)
	}
	if !strings.Contains(out.String(), "interrupted") {
		t.Errorf("output: %s", out.String())
	}
}

func TestInterruptedTwiceWhileWaiting(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, exe)
	c.Args, c.Dir = []string{"stsguard", "lint", "-"}, t.TempDir()
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = c.Wait() // it is a signal that ends it
		close(done)
	}()
	for {
		select {
		case <-done:
			if ctx.Err() != nil {
				t.Error("it went on waiting for input")
			}
			return
		case <-time.After(200 * time.Millisecond):
			_ = c.Process.Signal(os.Interrupt) // it may have ended
		}
	}
}

func TestColor(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there is no /dev/ptmx")
	}
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, x := range []struct {
		name string
		out  io.Writer
		env  map[string]string
		want bool
	}{
		{"a terminal", terminal, nil, true},
		{"a terminal whose user wants none", terminal, map[string]string{"NO_COLOR": "1"}, false},
		{"a terminal that has none", terminal, map[string]string{"TERM": "dumb"}, false},
		{"a file", file, nil, false},
		{"no file", io.Discard, nil, false},
	} {
		c := Command{Stdout: x.out, Getenv: func(name string) string { return x.env[name] }}
		if got := c.color(); got != x.want {
			t.Errorf("%s: color is %v, want %v", x.name, got, x.want)
		}
	}
}

// panicking stands for any bug below.
type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("a bug") }

func TestPanic(t *testing.T) {
	var stderr strings.Builder
	c := Command{Stdin: strings.NewReader(""), Stdout: panicking{}, Stderr: &stderr, Getenv: os.Getenv}
	if code := c.Main(t.Context(), []string{"version"}); code != exitIncomplete {
		t.Errorf("exit code %d, want %d", code, exitIncomplete)
	}
	if !strings.Contains(stderr.String(), "internal error: a bug") {
		t.Errorf("standard error: %s", stderr.String())
	}
}

// TestEverythingIsInAScript holds what the program offers against what the
// scripts use.
func TestEverythingIsInAScript(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	withCluster, err := filepath.Glob("../../test/cli/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, s := range append(scripts, withCluster...) {
		data, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if !strings.Contains(all.String(), " "+sub.CommandPath()) {
				t.Errorf("no script runs %s", sub.CommandPath())
			}
			sub.Flags().VisitAll(func(f *pflag.Flag) {
				if !strings.Contains(all.String(), "--"+f.Name) {
					t.Errorf("no script uses --%s of %s", f.Name, sub.CommandPath())
				}
			})
			check(sub)
		}
	}
	c := Command{Stdout: io.Discard, Stderr: io.Discard}
	root := c.root()
	root.InitDefaultCompletionCmd()
	check(root)
}

// TestReadme runs the commands that the README shows, where it shows them.
func TestReadme(t *testing.T) {
	blocks := docs.Blocks(t, "README.md", "$ stsguard ")
	t.Chdir("../..")
	for _, b := range blocks {
		for _, shown := range b.Commands() {
			var out strings.Builder
			c := Command{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
			if code := c.Main(t.Context(), strings.Fields(shown.Line)[1:]); code != exitFindings {
				t.Errorf("%s: exit code %d", shown.Line, code)
			}
			if out.String() != shown.Shows+"\n" {
				t.Errorf("got\n%s\nthe README shows\n%s", out.String(), shown.Shows)
			}
		}
	}
}

// TestNames shows what the program says when kubectl calls it.
func TestNames(t *testing.T) {
	for _, x := range []struct{ name, args, want string }{
		{"stsguard", "lint --help", "\n  stsguard lint [PATH|-]... [flags]\n"},
		{"/usr/bin/kubectl-stsguard", "lint --help", "\n  kubectl stsguard lint [PATH|-]... [flags]\n"},
		{"kubectl-stsguard.exe", "lint --help", "\n  kubectl stsguard lint deploy/\n"},
		{"kubectl-stsguard", "nope", "unknown command \"nope\" for \"kubectl stsguard\"\nRun \"kubectl stsguard --help\" for usage.\n"},
		{"kubectl_complete-stsguard", "lint --level s", "strict\n"},
	} {
		var out strings.Builder
		c := Command{Name: x.name, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: os.Getenv}
		c.Main(t.Context(), strings.Fields(x.args))
		if !strings.Contains(out.String(), x.want) {
			t.Errorf("%s %s: %s", x.name, x.args, out.String())
		}
	}
}
