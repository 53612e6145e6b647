// Command bench measures what stsguard's admission webhook costs beside one of
// controller-runtime that allows everything: both on the same server, asked
// over TLS from another process, with the same requests in turn.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// serveCommand has this program be the server.
const serveCommand = "serve"

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
	if len(args) == 4 && args[0] == serveCommand {
		objects, err := strconv.Atoi(args[3])
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		return serve(ctx, args[1], args[2], objects)
	}
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	return measure(ctx, os.Stdout)
}
