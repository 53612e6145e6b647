// Command cluster runs a throwaway cluster, with nodes and DNS, until it is
// interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/stsguard/stsguard/test/controlplane"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, output io.Writer) (err error) {
	cp, err := controlplane.Start(ctx, controlplane.Options{Nodes: 2, DNS: true, Output: output})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Stop()) }()
	host, port, err := net.SplitHostPort(cp.DNS)
	if err != nil {
		return err
	}
	fmt.Fprintf(output, `
In another shell:

  export KUBECONFIG=%s KUBECACHEDIR=%s
  export PATH=%s:$PATH
  kubectl get namespaces
  dig @%s -p %s kubernetes.default.svc.cluster.local

The logs are in %s. Ctrl-C stops everything and removes it.
`, cp.Kubeconfig, filepath.Join(cp.Dir, "cache"), filepath.Dir(cp.KubectlPath), host, port, cp.Dir)
	return cp.Wait(ctx)
}
