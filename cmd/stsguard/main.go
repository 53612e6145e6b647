// Stsguard holds every StatefulSet against the Service that governs it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/stsguard/stsguard/gc"
)

func main() {
	os.Exit(run())
}

func run() int {
	// A closed pipe is then an error in writing, with an exit code of its own.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A read that waits for input doesn't notice. The second signal ends it.
	context.AfterFunc(ctx, stop)
	c := Command{Name: os.Args[0], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	return c.Main(ctx, os.Args[1:])
}
