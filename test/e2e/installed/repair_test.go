//go:build linux

package installed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/docs"
)

// A cluster in which all replicas are dead goes on as docs/troubleshoot.md says,
// and gets well in the ways that the docs tell.
func TestRepair(t *testing.T) {
	t.Parallel()
	// Nodes are taken for dead after a shorter time than usual.
	c := startWith(t, controlplane.Options{ControllerManagerArgs: []string{"--node-monitor-grace-period=20s"}})
	c.helmInstall("--set 'config.exemptions.namespaces={kube-system,exempt}' --set 'config.exemptions.usernames={ops}'")
	c.run("kubectl create namespace exempt; kubectl create namespace shop")
	for i := range 2 {
		if err := c.createPair(c.client, "shop", fmt.Sprintf("before-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	c.guarded()

	t.Log("both nodes die")
	for _, n := range c.nodes {
		n.Stop()
	}
	if n := c.endpoints(); n != 2 {
		t.Errorf("the API server knows of %d ready replicas already, so that this is not what the test is about", n)
	}
	c.deadButAlive()

	t.Log("one is added, and nobody does anything else")
	c.addNode()
	c.guarded()
	c.mustCreate("shop", "after-a-node")

	t.Log("it dies, too")
	c.nodes[2].Stop()
	if err := c.createPair(c.client, "shop", "dead"); !unreachable(err) {
		t.Errorf("while no replica answers: %v", err)
	}
	c.run(docs.Blocks(t, "docs/uninstall.md", "kubectl delete validatingwebhookconfiguration")[0].Text)
	c.mustCreate("shop", "without-a-configuration")

	t.Log("another one is added")
	c.addNode()
	c.run(docs.Blocks(t, "docs/troubleshoot.md", "$ kubectl -n stsguard-system delete pods")[0].Commands()[0].Line)
	c.guarded()
	c.mustCreate("shop", "at-last")
}

// createPair creates a headless Service, and a StatefulSet that names it.
func (c *cluster) createPair(client kubernetes.Interface, namespace, name string) error {
	_, noService := client.CoreV1().Services(namespace).Create(c.Context(), headless(name, name), metav1.CreateOptions{})
	_, noSet := client.AppsV1().StatefulSets(namespace).Create(c.Context(), statefulSet(name, name), metav1.CreateOptions{})
	return errors.Join(noService, noSet)
}

func (c *cluster) mustCreate(namespace, name string) {
	c.Helper()
	if err := c.createPair(c.client, namespace, name); err != nil {
		c.Errorf("create %s in %s: %v", name, namespace, err)
	}
}

// unreachable says whether the API server got no answer, and says so.
func unreachable(err error) bool {
	return err != nil && strings.Contains(err.Error(), `failed calling webhook "validate.stsguard.dev"`)
}

// endpoints counts those of the webhook's Service that are ready.
func (c *cluster) endpoints() int {
	c.Helper()
	list, err := c.client.DiscoveryV1().EndpointSlices(namespace).List(c.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + webhook})
	if err != nil {
		c.Fatal(err)
	}
	ready := 0
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			if *e.Conditions.Ready {
				ready++
			}
		}
	}
	return ready
}

// as is a client for somebody else who may do everything.
func (c *cluster) as(user string) kubernetes.Interface {
	c.Helper()
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.Fatal(err)
	}
	return client
}

// deadButAlive tries what can't be done while no replica answers, and all else.
// The API server waits for each answer, so all is tried at once.
func (c *cluster) deadButAlive() {
	c.Helper()
	ctx := c.Context()
	services, sets := c.client.CoreV1().Services("shop"), c.client.AppsV1().StatefulSets("shop")
	annotate := []byte(`{"metadata":{"annotations":{"touched":"true"}}}`)
	scale := []byte(`{"spec":{"replicas":1}}`)
	stuck := map[string]func() error{
		"create a Service": func() error {
			_, err := services.Create(ctx, headless("new", "new"), metav1.CreateOptions{})
			return err
		},
		"create a StatefulSet": func() error {
			_, err := sets.Create(ctx, statefulSet("new", "before-0"), metav1.CreateOptions{})
			return err
		},
		"change a Service": func() error {
			_, err := services.Patch(ctx, "before-0", types.MergePatchType, annotate, metav1.PatchOptions{})
			return err
		},
		"change a StatefulSet": func() error {
			_, err := sets.Patch(ctx, "before-0", types.MergePatchType, annotate, metav1.PatchOptions{})
			return err
		},
	}
	goesOn := map[string]func() error{
		"delete a Service":     func() error { return services.Delete(ctx, "before-1", metav1.DeleteOptions{}) },
		"delete a StatefulSet": func() error { return sets.Delete(ctx, "before-1", metav1.DeleteOptions{}) },
		"scale a StatefulSet": func() error {
			_, err := sets.Patch(ctx, "before-0", types.MergePatchType, scale, metav1.PatchOptions{}, "scale")
			if err != nil {
				return err
			}
			return c.hasPod(ctx, "shop", "before-0-0")
		},
		"a Deployment": func() error {
			if err := c.createDeployment(ctx, "shop", "app"); err != nil {
				return err
			}
			return c.hasPod(ctx, "shop", "app-")
		},
		"all in kube-system":    func() error { return c.createPair(c.client, metav1.NamespaceSystem, "dead") },
		"all in its own":        func() error { return c.createPair(c.client, namespace, "dead") },
		"all in an exempt one":  func() error { return c.createPair(c.client, "exempt", "dead") },
		"all of an exempt user": func() error { return c.createPair(c.as("ops"), "shop", "of-ops") },
		"helm upgrade": func() error {
			out, err := c.try("helm upgrade stsguard deploy/chart --namespace stsguard-system --reset-then-reuse-values")
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		},
	}
	var trying sync.WaitGroup
	for what, try := range stuck {
		trying.Go(func() {
			if err := try(); !unreachable(err) {
				c.Errorf("%s while no replica answers: %v", what, err)
			}
		})
	}
	for what, try := range goesOn {
		trying.Go(func() {
			if err := try(); err != nil {
				c.Errorf("%s while no replica answers: %v", what, err)
			}
		})
	}
	trying.Wait()
}

func (c *cluster) createDeployment(ctx context.Context, namespace, name string) error {
	labels := map[string]string{"app": name}
	_, err := c.client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.example/main"}}},
		}},
	}, metav1.CreateOptions{})
	return err
}

// hasPod waits until there is one whose name begins like this.
func (c *cluster) hasPod(ctx context.Context, namespace, prefix string) error {
	return within(10*patience, func() error {
		pods, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if strings.HasPrefix(p.Name, prefix) {
				return nil
			}
		}
		return fmt.Errorf("there is no pod %s", prefix)
	})
}
