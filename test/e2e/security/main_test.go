// Package security holds what the docs say of security and of operation against a
// real stsguard-webhook, which keeps its own certificates and configurations, and
// a real API server that finds it through a Service.
package security

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

// Everything is called as in the docs.
const (
	namespace = "stsguard-system"
	name      = "stsguard"         // of the configurations, the ClusterRole and the Lease
	hook      = "stsguard-webhook" // of the Service and the Deployment
	secret    = "stsguard-webhook-certs"
	user      = "system:serviceaccount:stsguard-system:stsguard-webhook"
	hostname  = hook + "." + namespace + ".svc"
	authority = "ca.crt" // in the Secret
)

const config = "apiVersion: stsguard.dev/v1alpha1\nkind: Configuration\n"

// cluster is what all tests work with, each in a namespace of its own.
type cluster struct {
	*controlplane.ControlPlane
	client     *kubernetes.Clientset
	kubeconfig string // stsguard's
	server     *guarded.Server
}

var shared cluster

func TestMain(m *testing.M) {
	os.Exit(controlplane.Run(prepared{m}, &shared.ControlPlane, controlplane.Options{APIServerArgs: []string{"--enable-aggregator-routing=true"}}))
}

// prepared are the tests, with stsguard started before them.
type prepared struct{ tests *testing.M }

func (p prepared) Run() int {
	if err := shared.guard(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return p.tests.Run()
}

func (c *cluster) guard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var err error
	quiet := rest.CopyConfig(c.Config)
	quiet.WarningHandler = rest.NoWarnings{}
	if c.client, err = kubernetes.NewForConfig(quiet); err != nil {
		return err
	}
	// Its pods never run: the server is a process beside.
	if out, err := c.Kubectl(ctx, "apply", "-f", "../../../deploy/install.yaml").CombinedOutput(); err != nil {
		return fmt.Errorf("install: %w\n%s", err, out)
	}
	u, err := c.AddUser(user)
	if err != nil {
		return err
	}
	c.kubeconfig = u.Kubeconfig
	return c.serve(ctx)
}

// serve starts the only replica, and returns when the API server asks it.
func (c *cluster) serve(ctx context.Context) error {
	host, err := guarded.EndpointHost()
	if err != nil {
		return err
	}
	if c.server, err = guarded.StartServer(ctx, c.ControlPlane, guarded.ServerOptions{Kubeconfig: c.kubeconfig, Host: host, Config: config, Args: []string{
		"--namespace=" + namespace, "--cert-dir=", "--register=" + name, "--service=" + hook,
		"--metrics-plain-http=false", "--log-level=debug", "--log-format=json",
	}}); err != nil {
		return err
	}
	if err := c.server.WaitReady(ctx); err != nil {
		return err
	}
	if err := c.server.Publish(ctx, c.client); err != nil {
		return err
	}
	return c.server.Process.WaitReady(ctx, "the API server to ask", func(ctx context.Context) error {
		_, err := c.client.AppsV1().StatefulSets("default").Create(ctx, set("probe", "missing", nil), metav1.CreateOptions{})
		if apierrors.IsForbidden(err) {
			return nil
		}
		if err == nil {
			err = c.client.AppsV1().StatefulSets("default").Delete(ctx, "probe", metav1.DeleteOptions{})
		}
		return fmt.Errorf("not denied: %v", err)
	})
}

// set is a StatefulSet governed by this Service.
func set(name, governing string, annotations map[string]string) *appsv1.StatefulSet {
	labels := map[string]string{"app": name}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
		Spec: appsv1.StatefulSetSpec{
			Replicas:    new(int32(0)),
			ServiceName: governing,
			Selector:    &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
			},
		},
	}
}

// trusted is a client's side of TLS that knows stsguard's authority, and that has
// the server say that it is the webhook.
func trusted(t *testing.T) *tls.Config {
	t.Helper()
	s, err := shared.client.CoreV1().Secrets(namespace).Get(t.Context(), secret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.Data[authority]) {
		t.Fatal("no authority in the Secret")
	}
	return &tls.Config{RootCAs: pool, ServerName: hostname}
}

// client asks over TLS.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trusted(t)}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func newNamespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	ns, err := shared.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// eventually tries again for a while.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	controlplane.Eventually(t, time.Minute, what, check)
}
