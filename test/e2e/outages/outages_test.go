package outages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

// minutes is longer than any test: what is held back by so much never arrives.
const minutes = 10 * time.Minute

// TestOutages takes away one thing after the other while clients go on.
func TestOutages(t *testing.T) {
	var p *proxy
	g, c := start(t, func(cp *controlplane.ControlPlane, user *controlplane.User) (kubeconfig string, err error) {
		p, kubeconfig, err = newProxy(cp, user)
		return kubeconfig, err
	})
	t.Cleanup(func() { _ = p.server.Close() })
	cli := buildCLI(t)
	all := c.connect(t, g.ControlPlane)
	probe, err := c.add(g.ControlPlane, "probe", 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{Guarded: g, proxy: p, clients: c, probe: probe}
	s.prepare(t)

	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	// Before the control plane goes away, whatever happens.
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	for _, client := range all {
		running.Go(func() {
			for ctx.Err() == nil {
				// What has begun is done, so that each has an outcome.
				if client.do(t.Context(), client.next()).outcome == failed {
					pause(ctx)
				}
			}
		})
	}

	restart := func(name string, signal os.Signal) {
		s.outage(t, fmt.Sprintf("%s gets %s", name, signal), 0, func(t *testing.T) { s.restart(t, name, signal) })
	}
	const seconds = 2 * time.Second
	s.outage(t, "the cache is seconds behind", seconds, func(t *testing.T) {
		p.setDelay(seconds)
		s.goOn(t, 600)
		p.setDelay(0)
	})
	s.outage(t, "the cache is minutes behind", minutes, func(t *testing.T) {
		p.setDelay(minutes)
		s.unheard(t, cli)
		s.goOn(t, 600)
		p.setDelay(0)
	})
	s.outage(t, "watches are cut", 0, func(t *testing.T) {
		for range 4 {
			p.cut()
			s.goOn(t, 30)
		}
	})
	restart(webhookServer, syscall.SIGTERM)
	s.outage(t, "the API server is out of the webhook's reach", 0, func(t *testing.T) {
		before := c.troubled.Load()
		p.refuse(true)
		s.notice(t, before)
		s.goOn(t, 20)
		p.refuse(false)
	})
	restart(webhookServer, syscall.SIGKILL)
	restart("kube-apiserver", syscall.SIGTERM)
	s.outage(t, "the webhook restarts while the API server is gone", 0, func(t *testing.T) {
		server, err := g.Component("kube-apiserver")
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Stop(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		before := c.troubled.Load()
		if err := g.Server.Process.Stop(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := g.Server.Process.Start(); err != nil {
			t.Fatal(err)
		}
		s.notice(t, before)
		s.begin(t, server)
	})
	restart("etcd", syscall.SIGTERM)
	restart("etcd", syscall.SIGKILL)
	restart("kube-apiserver", syscall.SIGKILL)

	stop()
	running.Wait()
	r := c.read(t, g, s.outages)
	t.Log(r.count())
	for _, o := range r.ops {
		if o.outcome == failed && !unjudged(o.err) {
			t.Errorf("neither judged nor left unjudged: %s", o)
		}
		if o.outcome == failed && !r.during(o) {
			t.Errorf("nothing is in the way, but: %s", o)
		}
	}
	r.checkDenials(t)
	r.checkWrites(t)
	r.checkAudit(t, cli, g.Kubeconfig)
	checkHealth(t, g)
}

// during says whether there was an outage at some time of the operation.
func (r *results) during(o *operation) bool {
	for _, x := range r.outages {
		if !o.ended.Before(x.began) && !o.began.After(x.ended) {
			return true
		}
	}
	return false
}

// webhookServer is not a component of the control plane.
const webhookServer = "stsguard-webhook"

// scene is where outages happen.
type scene struct {
	*guarded.Guarded
	proxy   *proxy
	clients *clients
	// probe finds out whether all is well again, in a namespace of its own.
	probe   *client
	app     string // what the Service "flip" selects
	round   int
	outages []outage
}

const probed = "probed"

// outage has something happen, and returns when all is well again.
func (s *scene) outage(t *testing.T, what string, delay time.Duration, happen func(t *testing.T)) {
	t.Run(what, func(t *testing.T) {
		o := outage{began: time.Now(), delay: delay}
		happen(t)
		eventually(t, "the webhook is ready", s.Server.Ready)
		s.caughtUp(t)
		o.ended = time.Now()
		s.outages = append(s.outages, o)
		t.Logf("%.1fs; %d operations so far", o.ended.Sub(o.began).Seconds(), s.clients.done.Load())
	})
	if t.Failed() {
		t.FailNow()
	}
}

// restart stops something, waits until clients suffer from it, and starts it
// again.
func (s *scene) restart(t *testing.T, name string, signal os.Signal) {
	process := s.Server.Process
	if name != webhookServer {
		var err error
		if process, err = s.Component(name); err != nil {
			t.Fatal(err)
		}
	}
	before := s.clients.troubled.Load()
	if err := process.Stop(signal); err != nil {
		t.Fatal(err)
	}
	s.notice(t, before)
	s.begin(t, process)
}

// begin starts a process again and waits for the API server.
func (s *scene) begin(t *testing.T, p *controlplane.Process) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the API server is ready", func(ctx context.Context) error {
		return s.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// notice returns when some client has been troubled since there were so many
// troubled operations.
func (s *scene) notice(t *testing.T, before int64) {
	t.Helper()
	eventually(t, "clients notice", func(context.Context) error {
		if s.clients.troubled.Load() == before {
			return errors.New("none has been troubled")
		}
		return nil
	})
}

// goOn returns when so many more operations are done.
func (s *scene) goOn(t *testing.T, more int64) {
	t.Helper()
	enough := s.clients.done.Load() + more
	eventually(t, "clients go on", func(context.Context) error {
		if n := s.clients.done.Load(); n < enough {
			return fmt.Errorf("%d operations are done, want %d", n, enough)
		}
		return nil
	})
}

// op is an operation in the probe's namespace.
func op(kind, name string) *operation {
	return &operation{namespace: probed, part: part{kind, name}}
}

// prepare makes the probe's namespace, before anyone else does anything.
func (s *scene) prepare(t *testing.T) {
	t.Helper()
	s.addNamespace(t, probed)
	s.app = "one"
	s.must(t, written, created(op("Service", "flip"), service{headless, s.app, ""}))
	s.must(t, written, created(op("Service", "turned"), service{headless, "turned", ""}))
	eventually(t, "the cache has the Services", func(ctx context.Context) error {
		all, err := s.Client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		return s.cached(ctx, "Service", len(all.Items))
	})
	s.caughtUp(t)
}

// must has one operation end in one way.
func (s *scene) must(t *testing.T, want outcome, o *operation) {
	t.Helper()
	if s.probe.do(t.Context(), o); o.outcome != want {
		t.Fatalf("want %s: %s", want, o)
	}
}

// unheard does what the cache hears nothing of: nothing is denied for that, and
// what is allowed for it, audit finds.
func (s *scene) unheard(t *testing.T, cli string) {
	t.Helper()
	s.must(t, written, created(op("Service", "new"), service{headless, "new", ""}))
	s.must(t, written, created(op("StatefulSet", "new"), set{"new", "new", ""}))
	s.must(t, denied, created(op("StatefulSet", "lost"), set{"nowhere", "lost", ""}))

	s.must(t, written, aliased(op("Service", "turned")))
	s.must(t, written, created(op("StatefulSet", "late"), set{"turned", "turned", ""}))
	out, err := exec.CommandContext(t.Context(), cli, "audit", "--kubeconfig", s.Kubeconfig, "-n", probed).CombinedOutput()
	if err == nil || !regexp.MustCompile(`(?m)^probed +statefulset/late +deny +service-external-name `).Match(out) {
		t.Errorf("stsguard audit: %v\n%s", err, out)
	}
}

// caughtUp returns when the cache has heard of everything that was written up
// to now. Until it has, what is asked for here is allowed on its word alone: no
// two StatefulSets have a label in common, since a mere warning of that would
// have the cluster read live. Right objects are allowed on the way, and wrong
// ones denied in the end.
func (s *scene) caughtUp(t *testing.T) {
	t.Helper()
	s.round++

	before := s.app
	if s.app = "one"; s.app == before {
		s.app = "other"
	}
	done := func(ctx context.Context, o *operation) error {
		if s.probe.do(ctx, o); o.outcome != written && !apierrors.IsNotFound(o.err) && !apierrors.IsAlreadyExists(o.err) {
			return errors.New(o.String())
		}
		return nil
	}
	removed := func(kind, name string) *operation {
		o := op(kind, name)
		o.verb = remove
		return o
	}
	eventually(t, "nothing is in the way", func(ctx context.Context) error {
		return done(ctx, removed("StatefulSet", "early"))
	})
	eventually(t, "a Service is changed", func(ctx context.Context) error {
		return done(ctx, selecting(op("Service", "flip"), s.app))
	})
	eventually(t, "the cache knows the changed Service", func(ctx context.Context) error {
		o := s.probe.do(ctx, created(op("StatefulSet", "early"), set{"flip", before, ""}))
		if o.outcome == denied {
			return nil
		}
		return errors.Join(errors.New(o.String()), done(ctx, removed("StatefulSet", "early")))
	})

	name := fmt.Sprintf("pair-%d", s.round)
	eventually(t, "a pair is created", func(ctx context.Context) error {
		if err := done(ctx, created(op("Service", name), service{headless, name, ""})); err != nil {
			return err
		}
		return done(ctx, created(op("StatefulSet", name), set{name, name, ""}))
	})
	eventually(t, "the cache knows the StatefulSet", func(ctx context.Context) error {
		o := s.probe.do(ctx, removed("Service", name))
		if o.outcome == denied {
			return nil
		}
		return errors.Join(errors.New(o.String()), done(ctx, created(op("Service", name), service{headless, name, ""})))
	})

	s.addNamespace(t, fmt.Sprintf("fresh-%d", s.round))
	eventually(t, "the cache knows the namespace", func(ctx context.Context) error {
		all, err := s.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		return s.cached(ctx, "Namespace", len(all.Items))
	})
}

func (s *scene) addNamespace(t *testing.T, name string) {
	t.Helper()
	eventually(t, "namespace "+name, func(ctx context.Context) error {
		_, err := s.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// cached checks how many objects of a kind the cache holds.
func (s *scene) cached(ctx context.Context, kind string, want int) error {
	text, err := s.Server.Scrape(ctx)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("stsguard_cached_objects{kind=%q} %d\n", kind, want)
	if !strings.Contains(text, line) {
		return fmt.Errorf("the metrics don't say %s", line)
	}
	return nil
}
