//go:build linux

package installed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/net"

	"github.com/stsguard/stsguard/test/docs"
)

// load is several clients, each in a namespace of its own, who create, change and
// delete right pairs and try a wrong one in between, without a pause.
type load struct {
	*cluster
	requests, excused atomic.Int64
	// may says what may go wrong at present; nil: nothing.
	may atomic.Pointer[func(error) bool]

	mu       sync.Mutex
	failures map[string]int
}

// load starts the clients. They end with the test.
func (c *cluster) load() *load {
	c.Helper()
	ctx, cancel := context.WithCancel(c.Context())
	l := &load{cluster: c, failures: map[string]int{}}
	var running sync.WaitGroup
	c.Cleanup(func() { cancel(); running.Wait() })
	for i := range 4 {
		ns := fmt.Sprintf("load-%d", i)
		if _, err := c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			c.Fatal(err)
		}
		running.Go(func() {
			for ctx.Err() == nil {
				l.round(ctx, ns)
			}
		})
	}
	return l
}

// round is a pair's life. What the one before left behind is taken away.
func (l *load) round(ctx context.Context, ns string) {
	sets, services := l.client.AppsV1().StatefulSets(ns), l.client.CoreV1().Services(ns)
	if !l.try(ctx, "delete a StatefulSet", gone(sets.Delete(ctx, "web", metav1.DeleteOptions{}))) ||
		!l.try(ctx, "delete a Service", gone(services.Delete(ctx, "web", metav1.DeleteOptions{}))) {
		return
	}
	_, err := services.Create(ctx, headless("web", "web"), metav1.CreateOptions{})
	if !l.try(ctx, "create a Service", err) {
		return
	}
	set, err := sets.Create(ctx, statefulSet("web", "web"), metav1.CreateOptions{})
	if !l.try(ctx, "create a StatefulSet", err) {
		return
	}
	set.Labels = map[string]string{"changed": "yes"}
	_, err = sets.Update(ctx, set, metav1.UpdateOptions{})
	l.try(ctx, "update a StatefulSet", conflicted(err))
	_, err = sets.Create(ctx, statefulSet("wrong", "nowhere"), metav1.CreateOptions{})
	if err == nil {
		err = errors.Join(errLetIn, sets.Delete(ctx, "wrong", metav1.DeleteOptions{}))
	} else if strings.Contains(err.Error(), "[service-not-found]") {
		err = nil
	}
	l.try(ctx, "create a wrong StatefulSet", err)
}

var errLetIn = errors.New("it is let in")

// gone is the error unless the object wasn't there.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// conflicted is the error unless a controller was faster.
func conflicted(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// try says whether a request went well. It keeps what went wrong, unless it may.
func (l *load) try(ctx context.Context, what string, err error) bool {
	l.requests.Add(1)
	if err == nil || ctx.Err() != nil {
		return err == nil
	}
	if may := l.may.Load(); may != nil && (*may)(err) {
		l.excused.Add(1)
		time.Sleep(20 * time.Millisecond)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures[what+": "+err.Error()]++
	return false
}

// outOfReach says whether the API server never got as far as asking anybody, or
// didn't live to tell. One that tells how it asked did.
func outOfReach(err error) bool {
	if strings.Contains(err.Error(), "failed calling webhook") {
		return false
	}
	return net.IsConnectionRefused(err) || net.IsConnectionReset(err) || net.IsProbableEOF(err) || net.IsHTTP2ConnectionLost(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsAlreadyExists(err) ||
		strings.Contains(err.Error(), "not yet ready to handle request") || strings.HasSuffix(err.Error(), "unexpected EOF")
}

// cutOff says whether the API server's connection to the webhook broke, or none
// came about. It asks once, and then says this.
func cutOff(err error) bool {
	text := err.Error()
	return apierrors.IsInternalError(err) && strings.Contains(text, "failed calling webhook") &&
		slices.ContainsFunc([]string{"EOF", "connection reset by peer", "broken pipe", "connection refused"}, func(end string) bool { return strings.HasSuffix(text, end) })
}

// Not every broken connection is excused: that depends on whose it was.
func TestExcuses(t *testing.T) {
	t.Parallel()
	called := func(end string) error {
		return apierrors.NewInternalError(errors.New(`failed calling webhook "validate.stsguard.dev": failed to call webhook: Post "https://stsguard-webhook.stsguard-system.svc:443/validate?timeout=5s": ` + end))
	}
	for _, end := range []string{"EOF", "unexpected EOF", "read: connection reset by peer", "use of closed network connection", "context deadline exceeded"} {
		if outOfReach(called(end)) {
			t.Errorf("a restart of the API server excuses that a webhook was asked in vain: %s", end)
		}
		own := &url.Error{Op: "Post", URL: "https://api/", Err: errors.New(end)}
		if end != "EOF" && end != "context deadline exceeded" && !outOfReach(own) {
			t.Errorf("a restart of the API server doesn't excuse %v", own)
		}
		if cutOff(own) {
			t.Errorf("the death of a replica excuses %v", own)
		}
	}
	if !cutOff(called("EOF")) || cutOff(called("context deadline exceeded")) {
		t.Error("the death of a replica excuses that the connection ends, and nothing else")
	}
}

// during has something happen under load, and holds what failed until some seconds
// later against none.
func (l *load) during(what string, happens func(c *cluster)) {
	l.Helper()
	l.T.Run(what, func(t *testing.T) {
		before, began := l.requests.Load(), time.Now()
		c := *l.cluster
		c.T = t
		happens(&c)
		time.Sleep(3 * time.Second)
		c.eventually("enough requests", func() error {
			if n := l.requests.Load() - before; n < 100 {
				return fmt.Errorf("%d requests", n)
			}
			return nil
		})
		l.mu.Lock()
		failures := l.failures
		l.failures = map[string]int{}
		l.mu.Unlock()
		t.Logf("%d requests in %.0f s", l.requests.Load()-before, time.Since(began).Seconds())
		for _, failure := range slices.Sorted(maps.Keys(failures)) {
			t.Errorf("failed %d times: %s", failures[failure], failure)
		}
	})
}

// pods are the replicas that run, by node.
func (c *cluster) pods() map[string]string {
	c.Helper()
	list, err := c.client.CoreV1().Pods(namespace).List(c.Context(), metav1.ListOptions{})
	if err != nil {
		c.Fatal(err)
	}
	pods := map[string]string{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			pods[p.Spec.NodeName] = p.Name
		}
	}
	return pods
}

const rolledOut = "kubectl -n stsguard-system rollout status deployment/stsguard-webhook --timeout=2m"

// Nothing may pass or fail because nobody answered, so that each webhook says
// Fail. Certificates count for half a minute, authorities for two minutes.
func TestNoAdmissionFails(t *testing.T) {
	t.Parallel()
	c := start(t)
	previous := filepath.Join(c.Dir, "previous")
	c.run("cp -R deploy/chart " + previous + "; sed -i 's/^version: .*/version: 0.0.1/; s/^appVersion: .*/appVersion: v0.0.1/' " + previous + "/Chart.yaml")
	c.run("helm install stsguard " + previous + ` --namespace stsguard-system --create-namespace \
		--set image.repository=registry.example/stsguard-webhook --set image.tag=v0.1.0 \
		--set certificates.lifetime=30s --set webhooks.failurePolicy.delete=Fail --set webhooks.failurePolicy.mutate=Fail`)
	c.run(rolledOut)
	c.guarded()
	before := c.bundle()
	l := c.load()
	for _, step := range []struct {
		what    string
		happens func(c *cluster)
	}{
		{"rolling update", func(c *cluster) {
			c.run("kubectl -n stsguard-system rollout restart deployment/stsguard-webhook")
			c.run(rolledOut)
		}},
		{"upgrade", func(c *cluster) {
			c.run(docs.Blocks(t, "docs/upgrade.md", "helm upgrade")[0].Text)
		}},
		{"rollback", func(c *cluster) {
			c.run("helm rollback stsguard --namespace stsguard-system")
			c.run(rolledOut)
		}},
		{"another leader", func(c *cluster) {
			leader := c.leader()
			c.run("kubectl -n stsguard-system delete pod " + leader)
			c.eventually("another leader", func() error {
				if c.leader() == leader {
					return errors.New(leader + " leads")
				}
				return nil
			})
			c.run(rolledOut)
		}},
		{"another configuration", func(c *cluster) {
			pods := c.pods()
			c.run("helm upgrade stsguard " + previous + " --namespace stsguard-system --reset-then-reuse-values --set 'config.exemptions.namespaces={kube-system,legacy}'")
			c.eventually("the namespace is left out", func() error {
				v, err := c.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(c.Context(), name, metav1.GetOptions{})
				if err == nil && !slices.Contains(v.Webhooks[0].NamespaceSelector.MatchExpressions[0].Values, "legacy") {
					err = fmt.Errorf("got %v", v.Webhooks[0].NamespaceSelector)
				}
				return err
			})
			if now := c.pods(); !maps.Equal(now, pods) {
				c.Errorf("the pods were %v and are %v", pods, now)
			}
		}},
		{"drained node", func(c *cluster) {
			c.run("kubectl drain node-2 --timeout=2m")
			c.run(rolledOut)
			c.run("kubectl uncordon node-2")
		}},
		{"restart of the API server", func(c *cluster) {
			l.may.Store(new(outOfReach))
			defer l.may.Store(nil)
			server, err := c.Component("kube-apiserver")
			if err != nil {
				c.Fatal(err)
			}
			if err := server.Stop(syscall.SIGKILL); err != nil {
				c.Fatal(err)
			}
			if err := server.Start(); err != nil {
				c.Fatal(err)
			}
			c.guarded()
		}},
		{"another authority", func(c *cluster) {
			c.eventually("no authority is left of those before", func() error {
				now := c.bundle()
				for certificate := range strings.SplitAfterSeq(strings.TrimSpace(before), "-----END CERTIFICATE-----\n") {
					if strings.Contains(now, certificate) {
						return errors.New("one is")
					}
				}
				return nil
			})
		}},
	} {
		l.during(step.what, step.happens)
	}

	// What a killed replica had under way is lost, and the API server asks it
	// until the kubelet has noticed. Nothing can be done about that from here; but
	// nothing is let in, and it is over within seconds.
	l.excused.Store(0)
	l.during("kill -9", func(c *cluster) {
		l.may.Store(new(cutOff))
		defer l.may.Store(nil)
		if err := c.nodes[0].Kill(namespace, c.pods()["node-1"]); err != nil {
			c.Fatal(err)
		}
		time.Sleep(3 * time.Second)
	})
	t.Logf("%d requests were lost", l.excused.Load())
	l.during("after kill -9", func(c *cluster) { c.run(rolledOut) })
}

// leader is the pod that leads.
func (c *cluster) leader() string {
	c.Helper()
	lease, err := c.client.CoordinationV1().Leases(namespace).Get(c.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	return pod
}

// bundle is what the API server trusts.
func (c *cluster) bundle() string {
	c.Helper()
	v, err := c.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(c.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return string(v.Webhooks[0].ClientConfig.CABundle)
}
