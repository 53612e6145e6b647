//go:build linux

package installed

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"github.com/stsguard/stsguard/test/docs"
)

// Whichever way stsguard is uninstalled, nothing is left but what
// docs/uninstall.md says. Meanwhile nobody is refused anything in the order that
// it gives, and for no more than a moment in others.
func TestUninstall(t *testing.T) {
	t.Parallel()
	c := start(t)
	const (
		helmAlone = "helm uninstall stsguard --namespace stsguard-system"
		// The docs say a second or so; a single answer that doesn't come takes some.
		aMoment = 10 * time.Second
	)
	ordered := docs.Blocks(t, "docs/uninstall.md", "kubectl delete clusterrole")[0].Text
	kubectlAlone := docs.Blocks(t, "docs/uninstall.md", "kubectl delete -f deploy/install.yaml")[0].Text
	if !strings.Contains(ordered, "\n"+helmAlone+"\n") {
		t.Fatalf("other commands: %s", ordered)
	}
	withHelm := func() { c.helmInstall("") }
	withKubectl := func() {
		c.run("kubectl delete namespace stsguard-system; kubectl apply -f deploy/install.yaml; " + rolledOut)
	}
	before := c.objects()
	p := c.createPairs()

	for _, way := range []struct {
		name      string
		install   func()
		uninstall string
		inOrder   bool
		left      []string
	}{
		{"in order", withHelm, ordered, true, nil},
		{"helm alone", withHelm, helmAlone, false, []string{
			"namespaces /stsguard-system", "leases.coordination.k8s.io stsguard-system/stsguard",
			// Every namespace has these.
			"configmaps stsguard-system/kube-root-ca.crt", "serviceaccounts stsguard-system/default",
		}},
		{"kubectl alone", withKubectl, kubectlAlone, false, nil},
	} {
		t.Log(way.name)
		way.install()
		c.guarded()
		p.since()
		began := time.Now()
		c.run(way.uninstall)
		took := time.Since(began)
		c.eventually(way.name+": nothing else is left", func() error {
			left := c.objects()
			left = slices.DeleteFunc(left, func(o string) bool {
				return slices.Contains(before, o) || slices.Contains(way.left, o) || strings.Contains(o, " default/pair-")
			})
			if len(left) > 0 {
				return fmt.Errorf("%s", strings.Join(left, "\n"))
			}
			return nil
		})
		r := p.since()
		t.Logf("%s: it took %.1fs, %d pairs were created, %d refused within %.1fs", way.name, took.Seconds(), r.created, len(r.failures), r.refused().Seconds())
		if way.inOrder && len(r.failures) > 0 {
			t.Errorf("%s: %s", way.name, strings.Join(r.failures, "\n"))
		}
		if r.refused() > aMoment {
			t.Errorf("%s: pairs were refused for %s", way.name, r.refused())
		}
	}
}

// objects are the names of all objects, but of those that come and go.
func (c *cluster) objects() []string {
	c.Helper()
	client, err := metadata.NewForConfig(c.Config)
	if err != nil {
		c.Fatal(err)
	}
	resources, err := c.client.Discovery().ServerPreferredResources()
	if err != nil {
		c.Fatal(err)
	}
	var out []string
	for _, list := range resources {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			c.Fatal(err)
		}
		for _, r := range list.APIResources {
			resource := group.WithResource(r.Name)
			if !slices.Contains(r.Verbs, "list") || r.Name == "events" || r.Name == "componentstatuses" {
				continue
			}
			objects, err := client.Resource(resource).List(c.Context(), metav1.ListOptions{})
			if err != nil {
				c.Fatal(err)
			}
			for _, o := range objects.Items {
				out = append(out, fmt.Sprintf("%s %s/%s", resource.GroupResource(), o.Namespace, o.Name))
			}
		}
	}
	return out
}
