package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/test/guarded"
)

const config = `apiVersion: stsguard.dev/v1alpha1
kind: Configuration
exemptions:
  namespaces: [kube-system, exempt, "No_Namespace"]
  usernames: ["ops 'team\"\\ é"]
`

// gone returns nil if the API server has neither configuration.
func (f *fixture) gone() error {
	_, v := f.validating()
	_, m := f.mutating()
	if !apierrors.IsNotFound(v) || !apierrors.IsNotFound(m) {
		return fmt.Errorf("validating: %v, mutating: %v", v, m)
	}
	return nil
}

// as is a client for somebody else.
func (f *fixture) as(user string) *kubernetes.Clientset {
	f.Helper()
	c := rest.CopyConfig(f.cp.Config)
	c.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
	return must(kubernetes.NewForConfig(c))(f.T)
}

// The life of stsguard on a cluster, from its installation to its removal.
func TestLife(t *testing.T) {
	f := start(t)
	f.install(`webhooks.annotations.example\.com/owner=the platform team\, "A=B"`)
	sets := f.client.AppsV1().StatefulSets(guardedNS)

	// As long as no replica is ready for the Service, nobody is held up.
	r := f.replica(config)
	f.eventually("it leads and waits", func() error {
		text, err := os.ReadFile(r.Process.Log())
		if err == nil && !strings.Contains(string(text), "the API server is not to ask yet") {
			err = errors.New("not yet")
		}
		return err
	})
	if err := f.gone(); err != nil {
		t.Fatal(err)
	}
	if _, err := sets.Create(t.Context(), orphan("early"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	f.publish(r)
	f.eventually("guarded", f.denied)
	f.eventually("mutating", func() error { _, err := f.mutating(); return err })
	v, m := must(f.validating())(t), must(f.mutating())(t)
	for _, o := range []metav1.Object{v, m} {
		if refs := o.GetOwnerReferences(); len(refs) != 1 || refs[0].Kind != "ClusterRole" || refs[0].Name != name {
			t.Errorf("%T belongs to %v", o, refs)
		}
	}
	if *v.Webhooks[0].FailurePolicy != admissionv1.Fail || *v.Webhooks[1].FailurePolicy != admissionv1.Ignore || *m.Webhooks[0].FailurePolicy != admissionv1.Ignore {
		t.Error("other failure policies")
	}

	f.deleteSecret()
	f.eventually("the new authority is trusted beside the old", func() error {
		now, err := f.validating()
		if err != nil {
			return err
		}
		if n := len(serials(now.Webhooks[0].ClientConfig.CABundle)); n != 2 {
			return fmt.Errorf("%d authorities", n)
		}
		return nil
	})
	f.mustBeDenied()

	t.Run("put back", func(t *testing.T) { f.with(t).putBack() })
	t.Run("spoilt Secret", func(t *testing.T) { f.with(t).spoil(r) })
	t.Run("client certificates", func(t *testing.T) { f.with(t).clientCertificates() })
	t.Run("exemptions", func(t *testing.T) { f.with(t).exempt(r) })

	r = f.replicaAfterOutage()

	// Whoever uninstalls it, with whatever tool, deletes the ClusterRole. It
	// still runs, and must not come back.
	if err := f.client.RbacV1().ClusterRoles().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the configurations are gone", f.gone)
	f.eventually("the Secret is gone", func() error {
		_, err := f.client.CoreV1().Secrets(namespace).Get(t.Context(), secret, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("got %v", err)
	})
	f.eventually("the leader has noticed", func() error {
		text, err := os.ReadFile(r.Process.Log())
		if err == nil && !strings.Contains(string(text), "will try again") {
			err = errors.New("not yet")
		}
		return err
	})
	if err := f.gone(); err != nil {
		t.Errorf("made anew: %v", err)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	f.eventually("nobody is held up", func() error {
		_, err := sets.Create(t.Context(), orphan("late"), metav1.CreateOptions{})
		return err
	})
}

// with is the same for a part of the test.
func (f *fixture) with(t *testing.T) *fixture {
	g := *f
	g.T = t
	return &g
}

func (f *fixture) mustBeDenied() {
	f.Helper()
	if err := f.denied(); err != nil {
		f.Error(err)
	}
}

// putBack lets others delete and change the configurations.
func (f *fixture) putBack() {
	api := f.client.AdmissionregistrationV1()
	before := must(f.validating())(f.T)
	mutating := must(f.mutating())(f.T)
	for what, change := range map[string]func() error{
		"validating deleted": func() error {
			return api.ValidatingWebhookConfigurations().Delete(f.Context(), name, metav1.DeleteOptions{})
		},
		"mutating deleted": func() error {
			return api.MutatingWebhookConfigurations().Delete(f.Context(), name, metav1.DeleteOptions{})
		},
		"validating changed": func() error {
			v := must(f.validating())(f.T)
			v.Webhooks[0].FailurePolicy = new(admissionv1.Ignore)
			v.Webhooks[1].ClientConfig.CABundle = nil
			v.Webhooks[0].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"no": "where"}}
			v.OwnerReferences = nil
			v.Labels = map[string]string{"theirs": "stays"}
			v.Annotations = map[string]string{"theirs": "stays"}
			_, err := api.ValidatingWebhookConfigurations().Update(f.Context(), v, metav1.UpdateOptions{})
			return err
		},
		"mutating emptied": func() error {
			m := must(f.mutating())(f.T)
			m.Webhooks = nil
			_, err := api.MutatingWebhookConfigurations().Update(f.Context(), m, metav1.UpdateOptions{})
			return err
		},
	} {
		if err := change(); err != nil {
			f.Fatalf("%s: %v", what, err)
		}
		f.eventually(what, func() error {
			v, err := f.validating()
			if err != nil {
				return err
			}
			m, err := f.mutating()
			if err != nil {
				return err
			}
			if !equality.Semantic.DeepEqual(v.Webhooks, before.Webhooks) || !equality.Semantic.DeepEqual(m.Webhooks, mutating.Webhooks) || len(v.OwnerReferences) != 1 || len(m.OwnerReferences) != 1 {
				return errors.New("not put back")
			}
			if what == "validating changed" && (v.Labels["theirs"] != "stays" || v.Annotations["theirs"] != "stays") {
				return errors.New("labels or annotations of others are gone")
			}
			return nil
		})
	}
	for _, meta := range []metav1.ObjectMeta{must(f.validating())(f.T).ObjectMeta, must(f.mutating())(f.T).ObjectMeta} {
		if got := meta.Annotations["example.com/owner"]; got != `the platform team, "A=B"` {
			f.Errorf("annotated %q", got)
		}
	}
	f.eventually("guarded", f.denied)
}

// spoil writes nonsense into the Secret: nobody notices.
func (f *fixture) spoil(r *guarded.Server) {
	secrets := f.client.CoreV1().Secrets(namespace)
	before := must(secrets.Get(f.Context(), secret, metav1.GetOptions{}))(f.T)
	serial := f.serial(r)
	for what, change := range map[string]func(map[string][]byte){
		"empty":         func(d map[string][]byte) { d["tls.crt"], d["tls.key"], d["ca.crt"], d["ca.key"] = nil, nil, nil, nil },
		"no authority":  func(d map[string][]byte) { delete(d, "ca.crt") },
		"no signing":    func(d map[string][]byte) { d["ca.key"] = []byte("no key") },
		"broken in two": func(d map[string][]byte) { d["tls.crt"] = d["tls.crt"][:len(d["tls.crt"])/2] },
	} {
		now := must(secrets.Get(f.Context(), secret, metav1.GetOptions{}))(f.T)
		change(now.Data)
		must(secrets.Update(f.Context(), now, metav1.UpdateOptions{}))(f.T)
		f.eventually(what, func() error {
			now, err := secrets.Get(f.Context(), secret, metav1.GetOptions{})
			if err == nil && !equality.Semantic.DeepEqual(now.Data, before.Data) {
				err = errors.New("not put back")
			}
			return err
		})
		if now := f.serial(r); now != serial {
			f.Errorf("%s: serves another certificate", what)
		}
		f.mustBeDenied()
	}
}

// exempt stops the webhook, so that only the API server's own conditions let
// anything pass.
func (f *fixture) exempt(r *guarded.Server) {
	for _, finalized := range []string{"finalized", "cleaned"} {
		s := headless(finalized)
		s.Finalizers = []string{"example.com/hold"}
		must(f.client.CoreV1().Services(guardedNS).Create(f.Context(), s, metav1.CreateOptions{}))(f.T)
	}
	must(f.client.CoreV1().Services(guardedNS).Create(f.Context(), headless("old"), metav1.CreateOptions{}))(f.T)
	if err := f.client.CoreV1().Services(guardedNS).Delete(f.Context(), "finalized", metav1.DeleteOptions{}); err != nil {
		f.Fatal(err)
	}
	// A reloaded configuration changes what is left out. So many users take
	// several conditions, and no request is to become too dear by them.
	var many strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&many, "  - user-%015d\n", i)
	}
	reloaded := strings.NewReplacer("exempt,", "exempt, reloaded,", "  usernames: [", "  usernames:\n"+many.String()+"  - ", "é\"]", "é\"").Replace(config)
	if err := r.SetConfig(reloaded); err != nil {
		f.Fatal(err)
	}
	f.eventually("the new exemption counts", func() error {
		v, err := f.validating()
		if err != nil {
			return err
		}
		if got := v.Webhooks[0].NamespaceSelector.MatchExpressions[0].Values; !slices.Equal(got, []string{"exempt", "kube-system", "reloaded", namespace}) {
			return fmt.Errorf("left out are %q", got)
		}
		return nil
	})

	if err := r.Process.Stop(syscall.SIGKILL); err != nil {
		f.Fatal(err)
	}
	create := func(c *kubernetes.Clientset, ns string) error {
		_, err := c.AppsV1().StatefulSets(ns).Create(f.Context(), orphan("dead"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	f.eventually("it is dead for the API server, too", func() error {
		err := create(f.client, guardedNS)
		if err == nil || !strings.Contains(err.Error(), `failed calling webhook "validate.stsguard.dev"`) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	for _, ns := range []string{"exempt", namespace, "kube-system"} {
		if err := create(f.client, ns); err != nil {
			f.Errorf("namespace %s: %v", ns, err)
		}
	}
	for _, user := range []string{"ops 'team\"\\ é", "user-000000000019999", "system:apiserver", "system:serviceaccount:kube-system:generic-garbage-collector"} {
		if err := create(f.as(user), guardedNS); err != nil {
			f.Errorf("user %s: %v", user, err)
		}
	}
	if create(f.as("ops"), guardedNS) == nil {
		f.Error("another user is left out")
	}
	services := f.client.CoreV1().Services(guardedNS)
	// The smallest objects that there are: no condition may fail on them.
	for what, do := range map[string]func() error{
		"delete, Ignore":       func() error { return services.Delete(f.Context(), "old", metav1.DeleteOptions{}) },
		"a finalizer is taken": func() error { return f.release("finalized") },
		"deletecollection": func() error {
			return f.client.CoreV1().RESTClient().Delete().Namespace(guardedNS).Resource("services").Param("fieldSelector", "metadata.name=cleaned").Do(f.Context()).Error()
		},
	} {
		if err := do(); err != nil {
			f.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"create a Service": func() error {
			_, err := services.Create(f.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "bare"}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}}, metav1.CreateOptions{})
			return err
		}(),
		"update a StatefulSet": func() error {
			s := must(f.client.AppsV1().StatefulSets(guardedNS).Get(f.Context(), "early", metav1.GetOptions{}))(f.T)
			s.Spec.Replicas = new(int32(1))
			_, err := f.client.AppsV1().StatefulSets(guardedNS).Update(f.Context(), s, metav1.UpdateOptions{})
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
			f.Errorf("%s while nobody answers: %v", what, err)
		}
	}
	if err := r.Withdraw(f.Context(), f.client); err != nil {
		f.Fatal(err)
	}
}

// replicaAfterOutage starts a replica where none was, and somebody has seen to it that
// nothing fails meanwhile. That lasts until it is ready for the Service.
func (f *fixture) replicaAfterOutage() *guarded.Server {
	api := f.client.AdmissionregistrationV1()
	v := must(f.validating())(f.T)
	v.Webhooks[0].FailurePolicy = new(admissionv1.Ignore)
	v.Webhooks[0].TimeoutSeconds = new(int32(1))
	must(api.ValidatingWebhookConfigurations().Update(f.Context(), v, metav1.UpdateOptions{}))(f.T)
	m := must(f.mutating())(f.T)
	m.Webhooks[0].TimeoutSeconds = new(int32(1))
	must(api.MutatingWebhookConfigurations().Update(f.Context(), m, metav1.UpdateOptions{}))(f.T)

	r := f.replica(config)
	f.eventually("all else is put back", func() error {
		v, noValidating := f.validating()
		m, noMutating := f.mutating()
		if err := errors.Join(noValidating, noMutating); err != nil {
			return err
		}
		if *v.Webhooks[0].TimeoutSeconds == 1 || *m.Webhooks[0].TimeoutSeconds == 1 {
			return errors.New("not yet")
		}
		return nil
	})
	if now := must(f.validating())(f.T); *now.Webhooks[0].FailurePolicy != admissionv1.Ignore {
		f.Errorf("it says %s, and nobody can answer", *now.Webhooks[0].FailurePolicy)
	}
	f.publish(r)
	f.eventually("it says Fail again", func() error {
		v, err := f.validating()
		if err == nil && *v.Webhooks[0].FailurePolicy != admissionv1.Fail {
			err = errors.New("not yet")
		}
		return err
	})
	f.eventually("guarded", f.denied)
	return r
}

// release takes the finalizer from a Service that is being deleted.
func (f *fixture) release(name string) error {
	services := f.client.CoreV1().Services(guardedNS)
	s, err := services.Get(f.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	s.Finalizers = nil
	_, err = services.Update(f.Context(), s, metav1.UpdateOptions{})
	return err
}

// clientCertificates asks a server for which not everybody may ask.
func (f *fixture) clientCertificates() {
	caPath := filepath.Join(f.cp.Dir, "ca.crt")
	s, err := guarded.StartServer(f.Context(), f.cp, guarded.ServerOptions{Kubeconfig: f.kubeconfig, Args: []string{"--client-ca=" + caPath, "--client-names=kube-apiserver-webhooks"}})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.WaitReady(f.Context()); err != nil {
		f.Fatal(err)
	}
	for who, want := range map[string]string{"": "401", "somebody": "403", "kube-apiserver-webhooks": "400"} {
		c := &rest.Config{Host: s.Base, TLSClientConfig: rest.TLSClientConfig{CAData: f.cp.Config.CAData}}
		if who != "" {
			u, err := f.cp.AddUser(who)
			if err != nil {
				f.Fatal(err)
			}
			c.CertData, c.KeyData = u.Config.CertData, u.Config.KeyData
		}
		client, err := rest.HTTPClientFor(c)
		if err != nil {
			f.Fatal(err)
		}
		response, err := client.Post(s.Base+"/validate", "application/json", strings.NewReader("{}"))
		if err != nil {
			f.Errorf("%q: %v", who, err)
			continue
		}
		response.Body.Close()
		if !strings.HasPrefix(response.Status, want) {
			f.Errorf("%q: want %s, got %s", who, want, response.Status)
		}
		client.CloseIdleConnections()
	}
	if c, err := tls.Dial("tcp", strings.TrimPrefix(s.Base, "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		c.Close()
		f.Error("speaks TLS 1.2")
	}
	if err := s.Stop(); err != nil {
		f.Fatal(err)
	}
}
