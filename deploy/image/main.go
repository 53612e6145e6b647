// Command image builds the container image of stsguard-webhook from a checkout
// of this repository, for every platform at once: an OCI archive with nothing
// in it but the program and what belongs to it. It takes no daemon, no base
// image and no registry, and the same commit and the same Go give the same
// bytes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run builds the image and prints its name with its digest.
func run(ctx context.Context, args []string, environment func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	source := flags.String("source", ".", "`directory` of the checkout")
	output := flags.String("output", "stsguard-webhook.tar", "`file` to write the archive to")
	repository := flags.String("repository", "localhost/"+program, "`name` of the image, without a tag")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var created time.Time
	if epoch := environment("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH must be in seconds, not %q", epoch)
		}
		created = time.Unix(seconds, 0).UTC()
	}
	binaries, err := build(ctx, *source)
	if err != nil {
		return err
	}
	image, err := assemble(*source, binaries, created)
	if err != nil {
		return err
	}
	reference, err := image.write(*output, *repository)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, reference); err != nil {
		return fmt.Errorf("print the digest: %w", err)
	}
	return nil
}
