package certs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// Certificates of the chart for cert-manager. The Secret of the second has its name.
const (
	servingCertificate   = hook
	authorityCertificate = hook + "-ca"
)

// renew has cert-manager issue another certificate, as cmctl renew does, and returns
// when it is in its Secret.
func (f *fixture) renew(certificate, secret string) {
	f.Helper()
	before := must(f.secretSerial(secret, "tls.crt"))(f.T)
	f.eventually("no issuance is under way", func() error {
		out, err := f.cp.Kubectl(f.Context(), "-n", namespace, "get", "certificate", certificate, "-o", `jsonpath={.status.conditions[?(@.type=="Issuing")].status}`).Output()
		if err == nil && string(out) == "True" {
			err = fmt.Errorf("it is")
		}
		return err
	})
	f.kubectl("-n", namespace, "patch", "certificate", certificate, "--subresource=status", "--type=json", "-p",
		`[{"op":"add","path":"/status/conditions/-","value":{"type":"Issuing","status":"True","reason":"ManuallyTriggered","message":"asked for"}}]`)
	f.eventually("another "+certificate, func() error {
		now, err := f.secretSerial(secret, "tls.crt")
		if err == nil && now == before {
			err = fmt.Errorf("still %s", now)
		}
		return err
	})
}

// anotherAuthority has the authority and then the certificate issued anew.
func (f *fixture) anotherAuthority() {
	f.Helper()
	before := must(f.secretSerial(tlsSecret, "ca.crt"))(f.T)
	f.renew(authorityCertificate, authorityCertificate)
	// cert-manager may not have heard of the other authority yet when it signs.
	f.eventually("a certificate of the other authority", func() error {
		f.renew(servingCertificate, tlsSecret)
		now, err := f.secretSerial(tlsSecret, "ca.crt")
		if err == nil && now == before {
			err = fmt.Errorf("still of %s", now)
		}
		return err
	})
}

// changes counts how often the webhook configurations are written, until the test
// ends.
func (f *fixture) changes() *atomic.Int64 {
	f.Helper()
	count := &atomic.Int64{}
	api := f.client.AdmissionregistrationV1()
	ctx, stop := context.WithCancel(context.WithoutCancel(f.Context()))
	validating := must(api.ValidatingWebhookConfigurations().Watch(ctx, metav1.ListOptions{}))(f.T)
	mutating := must(api.MutatingWebhookConfigurations().Watch(ctx, metav1.ListOptions{}))(f.T)
	var counting sync.WaitGroup
	for _, w := range []watch.Interface{validating, mutating} {
		counting.Go(func() {
			for event := range w.ResultChan() {
				if event.Type == watch.Modified {
					count.Add(1)
				}
			}
		})
	}
	f.Cleanup(func() { validating.Stop(); mutating.Stop(); stop(); counting.Wait() })
	return count
}

// injected returns nil once cainjector has written something into a configuration.
func (f *fixture) injected() error {
	v, err := f.validating()
	if err == nil && !slices.ContainsFunc(v.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return strings.Contains(e.Manager, "cainjector") }) {
		err = fmt.Errorf("managed by %v", v.ManagedFields)
	}
	return err
}

// cert-manager issues the certificates, of an authority that changes, too.
func TestCertManagerUnderLoad(t *testing.T) {
	f := start(t)
	if err := f.cp.StartCertManager(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.install("certificates.source=cert-manager", "certificates.lifetime=4m")
	f.eventually("a certificate", func() error { _, err := f.secretSerial(tlsSecret, "tls.crt"); return err })

	// The leader's node hears late of each change, and the other one at once.
	a := f.replica("", f.mount(tlsSecret, 10*time.Second).flag(), everyFailure)
	b := f.replica("", f.mount(tlsSecret, 0).flag(), everyFailure)
	f.publish(a)
	f.publish(b)
	f.eventually("guarded", f.denied)
	l := f.load(a, b)

	f.renew(servingCertificate, tlsSecret)
	l.served()

	f.anotherAuthority()
	l.served()
	f.mustBeDenied()

	// Who annotates the configurations has cainjector write the same into them.
	changes := f.changes()
	for _, kind := range []string{"validatingwebhookconfiguration", "mutatingwebhookconfiguration"} {
		f.kubectl("annotate", kind, name, "cert-manager.io/inject-ca-from="+namespace+"/"+servingCertificate)
	}
	f.eventually("cainjector has written", f.injected)
	f.anotherAuthority()
	l.served()
	f.mustBeDenied()
	// Both write once for the annotation and once for the authority, in any order.
	// Replicas look every ten seconds, so that a quarrel would show.
	if n := changes.Load(); n > 12 {
		t.Errorf("the webhook configurations were written %d times", n)
	}
	l.done()
}
