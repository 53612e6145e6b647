// Command lint measures `stsguard lint` beside what others use to check the
// same manifests: each is a process of its own, they run in turn on the same
// files, and medians are compared.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// readCommand has this program read and split the files of a directory.
const readCommand = "read"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == readCommand:
		return readAndSplit(ctx, args[1])
	case len(args) > 1:
		return fmt.Errorf("usage: lint [DIR]: at most one directory of manifests, to be checked besides those made here")
	}
	dir, err := os.MkdirTemp("", "stsguard-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for manifests: %w", err)
	}
	defer os.RemoveAll(dir)
	b := bench{dir: dir, out: os.Stdout}
	if b.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if b.stsguard, err = build(ctx); err != nil {
		return err
	}
	if b.tools, err = install(ctx); err != nil {
		return err
	}
	given := ""
	if len(args) == 1 {
		given = args[0]
	}
	return b.measure(ctx, given)
}

// build builds the program to be measured, as a release is built.
func build(ctx context.Context) (string, error) {
	path, err := filepath.Abs("bin/stsguard")
	if err != nil {
		return "", fmt.Errorf("find bin: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "./cmd/stsguard")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build stsguard: %w", err)
	}
	return path, nil
}
