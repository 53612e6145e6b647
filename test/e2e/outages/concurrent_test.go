package outages

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

// seedVariable has the clients choose as they did in a run before.
const seedVariable = "STSGUARD_SEED"

// configuration has deletions judged too, so that without concurrency nothing
// could ever be wrong where it is enforced.
const configuration = `apiVersion: stsguard.dev/v1alpha1
kind: Configuration
rules:
  service-in-use: {mode: enforce}
`

// TestConcurrentClients has several clients change both objects at once.
func TestConcurrentClients(t *testing.T) {
	g, c := start(t, nil)
	all := c.connect(t, g.ControlPlane)
	began := time.Now()
	for range namespaceCount {
		// All go to the next namespace together.
		var running sync.WaitGroup
		for _, client := range all {
			running.Go(func() {
				for range stay {
					client.do(t.Context(), client.next())
				}
			})
		}
		running.Wait()
	}
	r := c.read(t, g, nil)
	t.Logf("%s, in %.1fs", r.count(), time.Since(began).Seconds())
	for _, o := range r.ops {
		if o.outcome == failed {
			t.Errorf("nothing is in the way, but: %s", o)
		}
	}
	r.checkDenials(t)
	r.checkWrites(t)
	r.checkAudit(t, buildCLI(t), g.Kubeconfig)
	checkHealth(t, g)
}

// start starts a guarded control plane with the clients' namespaces.
func start(t *testing.T, through func(*controlplane.ControlPlane, *controlplane.User) (string, error)) (*guarded.Guarded, *clients) {
	t.Helper()
	cp, err := controlplane.Start(t.Context(), controlplane.Options{
		WithoutControllerManager: true,
		APIServerArgs: []string{
			// Every revision is looked at in the end.
			"--etcd-compaction-interval=0",
			// It ends so long after SIGTERM while watches are open.
			"--request-timeout=10s",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	options := guarded.Options{Config: configuration}
	for n := range int64(namespaceCount) {
		options.Namespaces = append(options.Namespaces, namespaceOf(n))
	}
	if through != nil {
		options.Through = func(user *controlplane.User) (string, error) { return through(cp, user) }
	}
	g, err := guarded.Guard(t.Context(), cp, options)
	if err != nil {
		t.Fatal(err)
	}
	return g, &clients{etcd: etcd{cp.Etcd()}}
}

// connect makes the clients.
func (c *clients) connect(t *testing.T, cp *controlplane.ControlPlane) []*client {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d has the clients choose the same again", seedVariable, seed)
	revision, err := c.etcd.revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.latest.Store(revision)
	var out []*client
	for i := range workers {
		client, err := c.add(cp, fmt.Sprintf("client-%d", i), seed)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, client)
	}
	return out
}

// checkHealth looks for what a webhook that goes on regardless hides.
func checkHealth(t *testing.T, g *guarded.Guarded) {
	t.Helper()
	text, err := g.Server.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "\nstsguard_panics_total 0\n") {
		t.Error("the webhook's metrics tell of a panic, or of none at all")
	}
	output, err := os.ReadFile(g.Server.Process.Log())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(output)) {
		if strings.Contains(line, "panic") || strings.Contains(line, "goroutine ") {
			t.Errorf("the webhook wrote: %s", line)
		}
	}
}

// eventually tries again for a while.
func eventually(t *testing.T, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %v", what, err)
		}
		pause(ctx)
	}
}
