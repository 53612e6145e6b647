package controlplane

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Run runs a package's tests around one control plane, which it puts into cp
// first, and returns the exit code. An interrupt or SIGTERM ends the tests.
// It is meant to be all of a TestMain, with a *testing.M or with something
// around one that prepares more:
//
//	func TestMain(m *testing.M) { os.Exit(controlplane.Run(m, &cp, controlplane.Options{})) }
func Run(tests interface{ Run() int }, cp **ControlPlane, opts Options) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	started, err := Start(ctx, opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}()
	*cp = started

	finished := make(chan int, 1)
	go func() { finished <- tests.Run() }()
	select {
	case code := <-finished:
		return code
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr, "interrupted: stopping the control plane")
		return 130
	}
}

// Eventually tries again until check succeeds. When patience is over, that ends the
// test.
func Eventually(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, patience time.Duration, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
