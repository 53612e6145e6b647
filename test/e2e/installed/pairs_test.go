//go:build linux

package installed

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pairs are created and deleted, one after the other: headless Services, each with
// a StatefulSet that names it, which nobody has a reason to refuse.
type pairs struct {
	stop func() // ends it

	mu sync.Mutex
	record
}

// record is what has become of pairs for a while.
type record struct {
	created     int
	failures    []string
	first, last time.Time // failure
}

func (r *record) refused() time.Duration { return r.last.Sub(r.first) }

// createPairs begins.
func (c *cluster) createPairs() *pairs {
	c.Helper()
	ctx, cancel := context.WithCancel(c.Context())
	p := &pairs{}
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			began := time.Now()
			err := c.comeAndGo(fmt.Sprintf("pair-%d", i))
			p.mu.Lock()
			if err == nil {
				p.created++
			} else {
				p.failures = append(p.failures, err.Error())
				if p.last = time.Now(); p.first.IsZero() {
					p.first = began
				}
			}
			p.mu.Unlock()
		}
	})
	p.stop = func() { cancel(); running.Wait() }
	c.Cleanup(p.stop)
	return p
}

// since is what has become of them since it was last asked.
func (p *pairs) since() record {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.record
	p.record = record{}
	return r
}

// comeAndGo creates a pair and deletes it, whatever becomes of the one half.
func (c *cluster) comeAndGo(name string) error {
	err := c.createPair(c.client, metav1.NamespaceDefault, name)
	_ = c.client.AppsV1().StatefulSets(metav1.NamespaceDefault).Delete(c.Context(), name, metav1.DeleteOptions{})
	_ = c.client.CoreV1().Services(metav1.NamespaceDefault).Delete(c.Context(), name, metav1.DeleteOptions{})
	return err
}
