//go:build linux

package installed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// gitOps is a tool that applies what a manifest says, again and again, and takes
// back what others have changed.
type gitOps struct {
	*cluster
	manifest string // path
	prune    bool
}

// A GitOps tool has nothing to put back, and nothing that it does stops anybody:
// from before the installation on, through another configuration, other
// certificates and an upgrade.
func TestGitOps(t *testing.T) {
	t.Parallel()
	c := start(t)
	p := c.createPairs()
	g := &gitOps{cluster: c, manifest: filepath.Join(c.Dir, "install.yaml")}
	text, err := os.ReadFile(filepath.Join(root, "deploy", "install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.manifest, text, 0o644); err != nil {
		t.Fatal(err)
	}
	// Other certificates are in use ten seconds after they are asked for.
	g.edit("--cert-lifetime=2160h", "--cert-lifetime=100s")

	g.until("it is installed", c.denied)
	g.until("all replicas run", g.rolledOut)
	g.still()

	first := g.certificate()
	c.run("kubectl -n stsguard-system delete secret stsguard-webhook-certs")
	g.until("another certificate is in use", func() error {
		if now := g.certificate(); now == "" || now == first {
			return errors.New("not yet")
		}
		return nil
	})
	g.still()

	g.edit("      - kube-system\n", "      - kube-system\n      - exempt\n")
	g.until("the API server leaves the namespace alone", func() error {
		v, err := c.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && !slices.Contains(v.Webhooks[0].NamespaceSelector.MatchExpressions[0].Values, "exempt") {
			err = fmt.Errorf("not yet: %v", v.Webhooks[0].NamespaceSelector)
		}
		return err
	})
	g.still()

	g.edit(local+":v0.1.0", registry+":v0.2.0")
	g.until("all replicas are upgraded", g.rolledOut)
	g.prune = true
	g.until("it keeps a list for that", func() error {
		_, err := c.client.CoreV1().Secrets(namespace).Get(t.Context(), "gitops", metav1.GetOptions{})
		return err
	})
	g.still()

	p.stop()
	r := p.since()
	t.Logf("%d pairs", r.created)
	for _, err := range r.failures {
		t.Errorf("refused: %s", err)
	}
	if r.created < 100 {
		t.Errorf("only %d pairs", r.created)
	}
	// Each was made once, and changed for other certificates and for another
	// namespace that is left alone.
	v, err := c.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || v.Generation != 3 {
		t.Errorf("the ValidatingWebhookConfiguration was written %d times: %v", v.Generation, err)
	}
	m, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || m.Generation != 3 {
		t.Errorf("the MutatingWebhookConfiguration was written %d times: %v", m.Generation, err)
	}
}

// edit changes the manifest, where it is to say something once.
func (g *gitOps) edit(from, to string) {
	g.Helper()
	text, err := os.ReadFile(g.manifest)
	if err != nil {
		g.Fatal(err)
	}
	if n := strings.Count(string(text), from); n != 1 {
		g.Fatalf("the manifest has %q %d times", from, n)
	}
	if err := os.WriteFile(g.manifest, []byte(strings.Replace(string(text), from, to, 1)), 0o644); err != nil {
		g.Fatal(err)
	}
}

// sync applies the manifest.
func (g *gitOps) sync() {
	g.Helper()
	command := "kubectl apply --server-side --field-manager=gitops --force-conflicts -f " + g.manifest
	if g.prune {
		command = "KUBECTL_APPLYSET=true " + command + " --prune --applyset=gitops --namespace=stsguard-system"
	}
	if out := g.run(command); strings.Contains(out, "pruned") {
		g.Errorf("it prunes: %s", out)
	}
}

// until applies it every second until something is the case, at least once.
func (g *gitOps) until(what string, check func() error) {
	g.Helper()
	var next time.Time
	g.eventually(what, func() error {
		if time.Now().After(next) {
			next = time.Now().Add(time.Second)
			g.sync()
		}
		return check()
	})
}

// rolledOut says what is missing until all replicas are as the Deployment says.
func (g *gitOps) rolledOut() error {
	d, err := g.client.AppsV1().Deployments(namespace).Get(g.Context(), webhook, metav1.GetOptions{})
	if err != nil {
		return err
	}
	s := d.Status
	if s.ObservedGeneration != d.Generation || s.UpdatedReplicas != *d.Spec.Replicas || s.AvailableReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas {
		return fmt.Errorf("%+v", s)
	}
	return nil
}

// certificate is the one that the replicas are to serve.
func (g *gitOps) certificate() string {
	s, err := g.client.CoreV1().Secrets(namespace).Get(g.Context(), secret, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return string(s.Data["tls.crt"])
}

// still waits until nothing of what the tool and stsguard write changes any more
// while both are at work.
func (g *gitOps) still() {
	g.Helper()
	const rounds = 4
	before, unchanged := "", 0
	g.eventually("nothing changes any more", func() error {
		g.sync()
		now := g.versions()
		if now != before {
			before, unchanged = now, 0
		} else if unchanged++; unchanged == rounds {
			return nil
		}
		time.Sleep(time.Second)
		return fmt.Errorf("it did %d rounds ago", unchanged)
	})
}

// versions are those of all objects that the tool and stsguard write.
func (g *gitOps) versions() string {
	g.Helper()
	const columns = " -o custom-columns=KIND:.kind,NAME:.metadata.name,VERSION:.metadata.resourceVersion --no-headers"
	return g.run("kubectl get -f " + g.manifest + columns + "; kubectl get validatingwebhookconfiguration,mutatingwebhookconfiguration stsguard" + columns +
		"; kubectl -n stsguard-system get secret stsguard-webhook-certs" + columns)
}
