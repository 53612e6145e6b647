// Package rollout takes a cluster full of wrong StatefulSets the way of
// docs/rollout.md, command by command, and shows at each step that nothing breaks
// and that what is denied is what audit said before.
package rollout

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/docs"
	"github.com/stsguard/stsguard/test/guarded"
)

var cp *controlplane.ControlPlane

func TestMain(m *testing.M) {
	os.Exit(controlplane.Run(m, &cp, controlplane.Options{Nodes: 2, APIServerArgs: []string{"--enable-aggregator-routing=true"}}))
}

// Everything is called as on the page, and as in the chart.
const (
	namespace  = "stsguard-system"
	name       = "stsguard"
	deployment = "stsguard-webhook"
)

// operator is the platform engineer, who has a shell and a client.
type operator struct {
	client *kubernetes.Clientset
	// warnings are those that the client got.
	warnings *guarded.Warnings
	dir      string
	env      []string
	stsguard string // path

	// kubeconfig is stsguard's; args and config are what its replica runs with.
	kubeconfig string
	server     *guarded.Server
	args       []string
	config     string
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{dir: t.TempDir()}
	var err error
	if o.client, o.warnings, err = guarded.Listening(cp.Config); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(docs.Root(t), "deploy"), filepath.Join(o.dir, "deploy")); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/stsguard/stsguard/cmd/stsguard").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	o.stsguard = filepath.Join(bin, "stsguard")
	o.env = append(append(os.Environ(), cp.Env(bin)...), "HOME="+t.TempDir())

	// The webhook is a process beside the nodes: none of their pods is to be an
	// endpoint.
	if _, err := o.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.client.CoreV1().ResourceQuotas(namespace).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "no-pods"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	u, err := cp.AddUser("system:serviceaccount:" + namespace + ":" + deployment)
	if err != nil {
		t.Fatal(err)
	}
	o.kubeconfig = u.Kubeconfig
	return o
}

// kubectl runs it with standard input, and returns what it prints.
func (o *operator) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	c := cp.Kubectl(t.Context(), args...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// deploy does for one replica what Kubernetes does after Helm: other arguments
// take another process, another ConfigMap reaches the one that runs.
func (o *operator) deploy(t *testing.T) {
	t.Helper()
	d, err := o.client.AppsV1().Deployments(namespace).Get(t.Context(), deployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := o.client.CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	args, text := guarded.Portable(d.Spec.Template.Spec.Containers[0].Args), m.Data[config.FileName]
	switch {
	case !slices.Equal(args, o.args):
		o.replace(t, text, args)
	case text != o.config:
		reloaded := `stsguard_config_reloads_total{result="ok"} `
		before := o.metric(t, reloaded)
		if err := o.server.SetConfig(text); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another configuration counts", func() error {
			if o.metric(t, reloaded) == before {
				return errors.New("not read yet")
			}
			return nil
		})
	}
	o.args, o.config = args, text
}

// replace starts another replica, and stops the one before.
func (o *operator) replace(t *testing.T, text string, args []string) {
	t.Helper()
	host, err := guarded.EndpointHost()
	if err != nil {
		t.Fatal(err)
	}
	s, err := guarded.StartServer(t.Context(), cp, guarded.ServerOptions{Kubeconfig: o.kubeconfig, Host: host, Config: text, Args: append([]string{
		"--namespace=" + namespace, "--cert-dir=",
	}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), o.client); err != nil {
		t.Fatal(err)
	}
	if o.server != nil {
		if err := o.server.Withdraw(t.Context(), o.client); err != nil {
			t.Fatal(err)
		}
		if err := o.server.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	o.server = s
}

// policy waits until the API server is told what to do without an answer, and
// until it asks.
func (o *operator) policy(t *testing.T, want string) {
	t.Helper()
	eventually(t, "failurePolicy "+want, func() error {
		c, err := o.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && string(*c.Webhooks[0].FailurePolicy) != want {
			err = fmt.Errorf("it is %s", *c.Webhooks[0].FailurePolicy)
		}
		return err
	})
	eventually(t, "the API server asks", func() error {
		o.warnings.Take()
		_, err := o.client.AppsV1().StatefulSets(metav1.NamespaceDefault).Create(t.Context(), probe(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if text := o.warnings.Take(); !strings.Contains(text, "[service-not-found]") {
			return fmt.Errorf("warned %q, %w", text, err)
		}
		return nil
	})
}

// metric is the value of a sample with this beginning.
func (o *operator) metric(t *testing.T, sample string) string {
	t.Helper()
	text, err := o.server.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(text, "\n"+sample)
	if !ok {
		t.Fatalf("no metric %s", sample)
	}
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// eventually tries again for a while.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	controlplane.Eventually(t, 2*time.Minute, what, check)
}
