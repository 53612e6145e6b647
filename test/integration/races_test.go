package integration

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestServiceThenStatefulSet creates pairs as fast as the API server takes
// them: the StatefulSet is often there before the webhook's cache has heard of
// its Service, which the number of live reads tells.
func TestServiceThenStatefulSet(t *testing.T) {
	const pairs, workers = 2000, 6
	ns := namespace(t, nil)
	began := time.Now()
	var next atomic.Int64
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for i := next.Add(1); i <= pairs && !t.Failed(); i = next.Add(1) {
				name := fmt.Sprintf("pair-%d", i)
				if _, err := shared.Client.CoreV1().Services(ns).Create(t.Context(), service(name), metav1.CreateOptions{}); err != nil {
					t.Errorf("create Service: %v", err)
				}
				if _, err := shared.Client.AppsV1().StatefulSets(ns).Create(t.Context(), set("sts-"+name, name), metav1.CreateOptions{}); err != nil {
					t.Errorf("create StatefulSet: %v", err)
				}
			}
		})
	}
	running.Wait()
	t.Logf("%d pairs in %.1fs", pairs, time.Since(began).Seconds())
	text, err := shared.Server.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("live reads: %s", line(text, `stsguard_live_reads_total{result="ok"}`))
}
