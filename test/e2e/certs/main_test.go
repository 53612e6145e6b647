// Package certs holds stsguard's own certificates and webhook configurations
// against a real API server, which finds the replicas through a Service.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/docs"
	"github.com/stsguard/stsguard/test/guarded"
)

const (
	name      = "stsguard"                                               // of the configurations, the ClusterRole and the Lease
	namespace = "stsguard-system"                                        // stsguard's own
	hook      = "stsguard-webhook"                                       // the Service
	secret    = "stsguard-webhook-certs"                                 // its certificates
	user      = "system:serviceaccount:stsguard-system:stsguard-webhook" // who it is to the API server
	guardedNS = "shop"
)

// fixture is a control plane and, once they are started, some replicas.
type fixture struct {
	*testing.T
	cp         *controlplane.ControlPlane
	client     *kubernetes.Clientset
	kubeconfig string
	host       string   // where the replicas are asked
	flags      []string // of the chart's container
}

// start makes a control plane whose API server has more flags.
func start(t *testing.T, flags ...string) *fixture {
	t.Helper()
	f := &fixture{T: t}
	var err error
	if f.host, err = guarded.EndpointHost(); err != nil {
		t.Fatal(err)
	}
	if f.cp, err = controlplane.Start(t.Context(), controlplane.Options{APIServerArgs: append(flags, "--enable-aggregator-routing=true")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(f.cp.Dir, "webhook-*.log"))
			more, _ := filepath.Glob(filepath.Join(f.cp.Dir, "cert-manager.log"))
			logs = append(logs, more...)
			for _, path := range logs {
				text, _ := os.ReadFile(path)
				t.Logf("%s:\n%s", filepath.Base(path), text)
			}
		}
		if err := f.cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	if f.client, err = kubernetes.NewForConfig(f.cp.Config); err != nil {
		t.Fatal(err)
	}
	u, err := f.cp.AddUser(user)
	if err != nil {
		t.Fatal(err)
	}
	f.kubeconfig = u.Kubeconfig
	for _, ns := range []string{guardedNS, "exempt"} {
		must(f.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}))(t)
	}
	return f
}

// install renders the chart and applies it as docs/install.md does, with these values
// in the place of the page's. No pod runs for it: replicas are started beside.
func (f *fixture) install(set ...string) {
	f.Helper()
	for _, b := range docs.Blocks(f, "docs/install.md", "helm template") {
		for _, c := range b.Commands() {
			before, after, ok := strings.Cut(c.Line, "--set certificates.source=cert-manager")
			if !ok {
				f.Fatalf("%s: other values: %s", b, c.Line)
			}
			for _, value := range set {
				before += "--set '" + value + "' "
			}
			c.Line = before + after
			b.RunCommand(f, c, docs.Root(f), append(os.Environ(), f.cp.Env()...))
		}
	}
	d := must(f.client.AppsV1().Deployments(namespace).Get(f.Context(), hook, metav1.GetOptions{}))(f.T)
	f.flags = guarded.Portable(d.Spec.Template.Spec.Containers[0].Args)
}

// kubectl runs it as the admin.
func (f *fixture) kubectl(args ...string) {
	f.Helper()
	if out, err := f.cp.Kubectl(f.Context(), args...).CombinedOutput(); err != nil {
		f.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// must makes a failure fatal.
func must[T any](got T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// replica starts a webhook server with the flags of the chart, and waits until it
// is ready.
func (f *fixture) replica(config string, args ...string) *guarded.Server {
	f.Helper()
	s, err := guarded.StartServer(f.Context(), f.cp, guarded.ServerOptions{
		Kubeconfig: f.kubeconfig, Host: f.host, Config: config,
		Args: slices.Concat(f.flags, []string{"--namespace=" + namespace, "--cert-dir=", "--log-format=text"}, args),
	})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.WaitReady(f.Context()); err != nil {
		f.Fatal(err)
	}
	return s
}

// publish makes a replica an endpoint of the Service.
func (f *fixture) publish(r *guarded.Server) {
	f.Helper()
	if err := r.Publish(f.Context(), f.client); err != nil {
		f.Fatal(err)
	}
}

// retire ends a replica, which is no endpoint any longer.
func (f *fixture) retire(r *guarded.Server) {
	f.Helper()
	if err := r.Withdraw(f.Context(), f.client); err != nil {
		f.Fatal(err)
	}
	if err := r.Stop(); err != nil {
		f.Fatal(err)
	}
}

// leads says whether this replica takes itself for the leader.
func (f *fixture) leads(r *guarded.Server) bool {
	f.Helper()
	text, err := os.ReadFile(r.Process.Log())
	if err != nil {
		f.Fatal(err)
	}
	return strings.Count(string(text), " msg=leading ") > strings.Count(string(text), ` msg="not leading" `)
}

// deleteSecret is how somebody asks for other keys.
func (f *fixture) deleteSecret() {
	f.Helper()
	if err := f.client.CoreV1().Secrets(namespace).Delete(f.Context(), secret, metav1.DeleteOptions{}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) validating() (*admissionv1.ValidatingWebhookConfiguration, error) {
	return f.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(f.Context(), name, metav1.GetOptions{})
}

func (f *fixture) mutating() (*admissionv1.MutatingWebhookConfiguration, error) {
	return f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(f.Context(), name, metav1.GetOptions{})
}

// serial is that of the certificate that a replica serves now.
func (f *fixture) serial(r *guarded.Server) string {
	f.Helper()
	c, err := tls.Dial("tcp", r.Address(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
}

// serials are those of certificates in PEM.
func serials(data []byte) []string {
	var out []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c.SerialNumber.Text(16))
		}
	}
	slices.Sort(out)
	return out
}

// orphan is a StatefulSet whose Service doesn't exist.
func orphan(name string) *appsv1.StatefulSet {
	labels := map[string]string{"app": name}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(0)), ServiceName: name,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
			},
		},
	}
}

func headless(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// denied returns nil if the API server refuses an orphan on stsguard's word.
func (f *fixture) denied() error {
	sets := f.client.AppsV1().StatefulSets(guardedNS)
	_, err := sets.Create(f.Context(), orphan("orphan"), metav1.CreateOptions{})
	if err == nil {
		err = sets.Delete(f.Context(), "orphan", metav1.DeleteOptions{})
	}
	if err == nil || !strings.Contains(err.Error(), "service-not-found") {
		return fmt.Errorf("not denied: %v", err)
	}
	return nil
}

// eventually tries again for a while.
func (f *fixture) eventually(what string, check func() error) {
	f.Helper()
	controlplane.Eventually(f, time.Minute, what, check)
}
