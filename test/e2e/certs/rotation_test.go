package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/guarded"
)

// load is several clients who create, change and delete without a pause. What
// stsguard doesn't answer fails. Their connections stay open, so somebody else makes
// new ones all the time, and trusts whom the API server is told to trust.
type load struct {
	*fixture
	replicas []*guarded.Server
	stop     func()
	requests atomic.Int64

	mu       sync.Mutex
	failures map[string]int

	// What the replicas served, and what was trusted.
	leaves, authorities map[string]bool
}

const everyFailure = "--failure-policy=validate=Fail,delete=Fail,mutate=Fail"

func (f *fixture) load(replicas ...*guarded.Server) *load {
	f.Helper()
	must(f.client.CoreV1().Services(guardedNS).Create(f.Context(), headless("web"), metav1.CreateOptions{}))(f.T)
	ctx, cancel := context.WithCancel(f.Context())
	l := &load{fixture: f, replicas: replicas, failures: map[string]int{}, leaves: map[string]bool{}, authorities: map[string]bool{}}
	var running sync.WaitGroup
	l.stop = func() { cancel(); running.Wait() }
	f.Cleanup(l.stop)
	note := func(err error) {
		l.requests.Add(1)
		if err == nil || ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failures[err.Error()]++
	}
	l.look()
	running.Go(func() {
		for ctx.Err() == nil {
			l.look()
		}
	})
	dry := []string{metav1.DryRunAll}
	services, sets := f.client.CoreV1().Services(guardedNS), f.client.AppsV1().StatefulSets(guardedNS)
	for i := range 4 {
		running.Go(func() {
			set, other, changed := orphan("web"), headless(fmt.Sprintf("load-%d", i)), headless("web")
			set.Name = other.Name
			changed.Labels = map[string]string{"load": other.Name}
			for ctx.Err() == nil {
				_, err := sets.Create(ctx, set, metav1.CreateOptions{DryRun: dry})
				note(err)
				_, err = services.Create(ctx, other, metav1.CreateOptions{DryRun: dry})
				note(err)
				_, err = services.Update(ctx, changed, metav1.UpdateOptions{DryRun: dry})
				note(err)
				note(services.Delete(ctx, "web", metav1.DeleteOptions{DryRun: dry}))
			}
		})
	}
	return l
}

// look holds what every replica serves against what the API server is told to
// trust.
func (l *load) look() {
	v, err := l.validating()
	if err != nil {
		if l.Context().Err() == nil { // else a test that failed ends
			l.Error(err)
		}
		return
	}
	bundle := v.Webhooks[0].ClientConfig.CABundle
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	l.mu.Lock()
	replicas := l.replicas
	l.mu.Unlock()
	for _, r := range replicas {
		c, err := tls.Dial("tcp", r.Address(), &tls.Config{RootCAs: roots, ServerName: hook + "." + namespace + ".svc", NextProtos: []string{"h2", "http/1.1"}})
		l.mu.Lock()
		if err != nil {
			l.failures[fmt.Sprintf("a new connection with whom the API server trusts: %v", err)]++
		} else {
			l.leaves[c.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)] = true
			if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
				l.failures["speaks "+p]++
			}
			c.Close()
		}
		for _, s := range serials(bundle) {
			l.authorities[s] = true
		}
		l.mu.Unlock()
	}
}

// join has one more replica looked at.
func (l *load) join(r *guarded.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replicas = append(slices.Clone(l.replicas), r)
}

// seen is how many certificates were served and how many authorities trusted.
func (l *load) seen() (leaves map[string]bool, authorities int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.leaves), len(l.authorities)
}

// rotated does something, waits for an authority that is trusted because of it, and
// then for all replicas to serve a certificate that none has served before.
func (l *load) rotated(do func()) {
	l.Helper()
	_, before := l.seen()
	do()
	l.eventually("another authority", func() error {
		if leaves, now := l.seen(); now <= before {
			return fmt.Errorf("%d authorities, %d certificates", now, len(leaves))
		}
		return nil
	})
	served, _ := l.seen()
	l.eventually("its certificate is served", func() error {
		for _, r := range l.replicas {
			if served[l.serial(r)] {
				return fmt.Errorf("still another")
			}
		}
		return nil
	})
}

// done ends the load, of which nothing may have failed.
func (l *load) done() {
	l.Helper()
	l.stop()
	l.Logf("%d requests, %d certificates, %d authorities", l.requests.Load(), len(l.leaves), len(l.authorities))
	for err, times := range l.failures {
		l.Errorf("failed %d times: %s", times, err)
	}
	if l.requests.Load() < 500 {
		l.Errorf("only %d requests", l.requests.Load())
	}
}

// Certificates count for seconds, authorities for a minute.
func TestRotationUnderLoad(t *testing.T) {
	f := start(t)
	f.install()
	args := []string{"--cert-lifetime=15s", everyFailure}
	a, b := f.replica("", args...), f.replica("", args...)
	f.publish(a)
	f.publish(b)
	f.eventually("guarded", f.denied)
	l := f.load(a, b)
	for range 2 {
		l.rotated(func() {})
	}
	l.done()
	if len(l.leaves) < 4 {
		t.Errorf("only %d certificates were served", len(l.leaves))
	}
}

// The leader is killed without a word to the others, and the Secret is deleted
// before and after. The leader itself is no endpoint, so that no connection breaks.
func TestLeaderKilledUnderLoad(t *testing.T) {
	f := start(t)
	f.install()
	args := []string{"--cert-lifetime=80s", everyFailure}
	leader := f.replica("", args...)
	a, b := f.replica("", args...), f.replica("", args...)
	f.publish(a)
	f.publish(b)
	f.eventually("guarded", f.denied)
	if !f.leads(leader) || f.leads(a) || f.leads(b) {
		t.Fatal("another one leads")
	}
	l := f.load(a, b)
	l.rotated(f.deleteSecret)

	if err := leader.Process.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.rotated(f.deleteSecret)
	if !f.leads(a) && !f.leads(b) {
		t.Error("nobody leads")
	}
	l.done()
}
