package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"regexp"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/guarded"
)

// company is somebody with an authority, who knows nothing of stsguard.
type company struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	life        time.Duration // of its certificates
}

func sign(t *testing.T, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey, life time.Duration) *x509.Certificate {
	t.Helper()
	template.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))(t)
	template.NotBefore = time.Now()
	template.NotAfter = time.Now().Add(life)
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by))(t)
	return must(x509.ParseCertificate(der))(t)
}

func newCompany(t *testing.T, life time.Duration) *company {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "company"}, IsCA: true, BasicConstraintsValid: true}
	return &company{sign(t, template, template, key, key, life), key, life}
}

// put has the company write a certificate into the Secret that the chart mounts.
func (f *fixture) put(c *company) {
	f.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(f.T)
	leaf := sign(f.T, &x509.Certificate{DNSNames: []string{hook + "." + namespace + ".svc"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, c.certificate, key, c.key, c.life)
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: tlsSecret}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": block("CERTIFICATE", leaf.Raw),
		"tls.key": block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(f.T)),
		"ca.crt":  block("CERTIFICATE", c.certificate.Raw),
	}}
	secrets := f.client.CoreV1().Secrets(namespace)
	_, err := secrets.Create(f.Context(), s, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(f.Context(), s, metav1.UpdateOptions{})
	}
	if err != nil {
		f.Fatal(err)
	}
}

var expiry = regexp.MustCompile(`(?m)^stsguard_certificate_expiry_timestamp_seconds [1-9]`)

// The company changes its certificate and then its authority, and never has both
// authorities in the Secret at once.
func TestCertDirUnderLoad(t *testing.T) {
	f := start(t)
	f.install("certificates.source=secret")
	const life = 2 * time.Minute
	one, other := newCompany(t, life), newCompany(t, life)
	f.put(one)
	// The leader's node hears late of each change, and the other one at once.
	a := f.replica("", f.mount(tlsSecret, 15*time.Second).flag(), everyFailure)
	b := f.replica("", f.mount(tlsSecret, 0).flag(), everyFailure)
	f.publish(a)
	f.publish(b)
	f.eventually("guarded", f.denied)
	l := f.load(a, b)

	f.put(one)
	l.served()

	f.put(other)
	// A replica that starts now has the other certificate alone.
	c := f.replica("", f.mount(tlsSecret, 0).flag(), everyFailure)
	l.join(c)
	f.publish(c)
	l.served()
	f.mustBeDenied()
	l.done()
	if text := must(b.Scrape(t.Context()))(t); !expiry.MatchString(text) {
		t.Errorf("no metric of when the certificate expires:\n%s", text)
	}

	// As docs/upgrade.md has it, certificates of another source, and back.
	replicas := l.replicas
	change := func(source string, flags ...string) {
		for _, r := range replicas {
			f.retire(r)
		}
		f.install("certificates.source=" + source)
		r := f.replica("", flags...)
		f.publish(r)
		f.eventually("guarded", f.denied)
		replicas = []*guarded.Server{r}
	}
	change("self")
	f.put(newCompany(t, life))
	change("secret", f.mount(tlsSecret, 0).flag())
}
