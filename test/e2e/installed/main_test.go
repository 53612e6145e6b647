//go:build linux

// Package installed installs stsguard as its documentation says, into a cluster
// whose nodes run the pods, and lives with it: the API server finds the webhook
// through the chart's Service, as in any cluster.
package installed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/docs"
	"github.com/stsguard/stsguard/test/node"
)

const (
	root = "../../.."
	// As the documentation has them.
	namespace = "stsguard-system"
	name      = "stsguard"
	webhook   = "stsguard-webhook"
	secret    = "stsguard-webhook-certs"
	registry  = "registry.example/stsguard-webhook"
	local     = "localhost/stsguard-webhook"
)

// What was prepared for the tests, and where.
var prepared string

// subnets counts those of nodes: tests may run at the same time.
var subnets atomic.Uint32

func TestMain(m *testing.M) {
	if err := node.Missing(); err != nil {
		fmt.Fprintf(os.Stderr, "nothing is tested: %v\n", err)
		os.Exit(m.Run()) // each test says so, too
	}
	os.Exit(node.Isolated(prepare, func(dir string) int {
		prepared = dir
		// Most of the time they wait, whatever the processors.
		if err := flag.Set("test.parallel", "8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

// prepare builds the image as `make image` does, and the command-line tool.
func prepare(dir string) error {
	archive := filepath.Join(dir, "image.tar")
	for _, args := range [][]string{
		{"-C", filepath.Join(root, "deploy", "image"), "run", ".", "-source", "../..", "-output", archive},
		{"build", "-o", filepath.Join(dir, "stsguard"), filepath.Join(root, "cmd", "stsguard")},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	_, err := node.Unpack(context.Background(), archive, dir)
	return err
}

// cluster is a control plane with nodes.
type cluster struct {
	*testing.T
	*controlplane.ControlPlane
	client *kubernetes.Clientset
	nodes  []*node.Node
}

// start makes a cluster with two nodes.
func start(t *testing.T) *cluster {
	t.Helper()
	return startWith(t, controlplane.Options{})
}

// startWith does so with more flags.
func startWith(t *testing.T, opts controlplane.Options) *cluster {
	t.Helper()
	if err := node.Missing(); err != nil {
		t.Skip(err)
	}
	opts.Scheduler, opts.Address = true, node.Address
	opts.APIServerArgs = append(opts.APIServerArgs, "--enable-aggregator-routing=true")
	cp, err := controlplane.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{T: t, ControlPlane: cp}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.Stop()
		}
		if t.Failed() {
			c.logs()
		}
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	cp.Config.WarningHandler = rest.NoWarnings{}
	if c.client, err = kubernetes.NewForConfig(cp.Config); err != nil {
		t.Fatal(err)
	}
	c.addNode()
	c.addNode()
	return c
}

func (c *cluster) addNode() {
	c.Helper()
	server, err := url.Parse(c.Config.Host)
	if err != nil {
		c.Fatal(err)
	}
	images := map[string]*node.Image{}
	for _, reference := range []string{local + ":v0.1.0", registry + ":v0.1.0", registry + ":v0.2.0"} {
		images[reference] = node.Unpacked(prepared)
	}
	id := len(c.nodes) + 1
	subnet := subnets.Add(1)
	n, err := node.Start(c.Context(), c.client, node.Options{
		Name: fmt.Sprintf("node-%d", id), Subnet: byte(subnet), Images: images, APIServerPort: server.Port(),
		Dir: filepath.Join(c.Dir, fmt.Sprintf("node-%d", id)),
	})
	if err != nil {
		c.Fatal(err)
	}
	c.nodes = append(c.nodes, n)
}

// logs shows what the nodes and the pods wrote.
func (c *cluster) logs() {
	paths, _ := filepath.Glob(filepath.Join(c.Dir, "node-*", "*.log"))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err == nil && len(text) > 0 {
			c.Logf("%s:\n%s", strings.TrimPrefix(path, c.Dir), text[max(0, len(text)-8<<10):])
		}
	}
}

// run runs commands as somebody would who stands in the repository, and returns
// what they print. The first that fails ends the test.
func (c *cluster) run(commands string) string {
	c.Helper()
	out, err := c.try(commands)
	if err != nil {
		c.Fatalf("%s\n%v\n%s", commands, err, out)
	}
	return out
}

func (c *cluster) try(commands string) (string, error) {
	cmd := exec.CommandContext(c.Context(), "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "HOME="+c.Dir)
	cmd.Env = append(cmd.Env, c.Env(prepared)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// helmInstall installs the chart as docs/install.md does, with more flags.
func (c *cluster) helmInstall(flags string) {
	c.Helper()
	c.run(strings.Replace(docs.Blocks(c, "docs/install.md", "helm install")[0].Text, " --set image.tag", " "+flags+" --set image.tag", 1))
}

// kubectlInstall installs the manifest as docs/install.md does.
func (c *cluster) kubectlInstall() {
	c.Helper()
	dir := c.TempDir()
	kustomization := docs.Blocks(c, "docs/install.md", "apiVersion: kustomize.config.k8s.io")[0].Text
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o644); err != nil {
		c.Fatal(err)
	}
	c.run("cp deploy/install.yaml " + dir + "; cd " + dir + "; " + docs.Blocks(c, "docs/install.md", "kubectl apply")[0].Text)
}

// eventually tries again for a while.
func (c *cluster) eventually(what string, check func() error) {
	c.Helper()
	controlplane.Eventually(c, 2*time.Minute, what, check)
}

// guarded waits until the API server asks, and hears from stsguard.
func (c *cluster) guarded() {
	c.Helper()
	c.eventually("wrong StatefulSets are denied", c.denied)
}

// denied says what else becomes of a wrong StatefulSet, if that isn't denied by
// stsguard.
func (c *cluster) denied() error {
	sets := c.client.AppsV1().StatefulSets(metav1.NamespaceDefault)
	_, err := sets.Create(c.Context(), statefulSet("orphan", "nowhere"), metav1.CreateOptions{})
	if err == nil {
		return errors.Join(errors.New("it is let in"), sets.Delete(c.Context(), "orphan", metav1.DeleteOptions{}))
	}
	if !strings.Contains(err.Error(), "[service-not-found]") {
		return err
	}
	return nil
}

func statefulSet(name, service string) *appsv1.StatefulSet {
	labels := map[string]string{"app": name}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: service, Replicas: new(int32(0)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.example/main"}}},
			},
		},
	}
}

func headless(name, app string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": app},
			Ports: []corev1.ServicePort{{Name: "main", Port: 80}},
		},
	}
}
