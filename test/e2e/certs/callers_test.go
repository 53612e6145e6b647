package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/docs"
)

// An API server that shows a certificate, as docs/security.md has it, is answered by a
// replica that wants one of that name, and by no other.
func TestCallers(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	c := newCompany(t, time.Hour)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	leaf := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, c.certificate, key, c.key, c.life)
	authority := write("ca.crt", block("CERTIFICATE", c.certificate.Raw))
	write("tls.crt", block("CERTIFICATE", leaf.Raw))
	write("tls.key", block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(t)))
	here := func(b docs.Block) []byte {
		if !strings.Contains(b.Text, "/etc/kubernetes/stsguard/") {
			t.Fatalf("%s: other paths: %s", b, b.Text)
		}
		return []byte(strings.ReplaceAll(b.Text, "/etc/kubernetes/stsguard/", dir+"/"))
	}
	write("kubeconfig", here(docs.Blocks(t, "docs/security.md", "apiVersion: v1\nkind: Config\n")[0]))
	plugins := write("plugins.yaml", here(docs.Blocks(t, "docs/security.md", "apiVersion: apiserver.config.k8s.io")[0]))

	f := start(t, "--admission-control-config-file="+plugins)
	f.install()
	r := f.replica("", everyFailure, "--client-ca="+authority, "--client-names=kube-apiserver")
	f.publish(r)
	f.eventually("guarded", f.denied)
	mutating := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	f.eventually("mutating", func() error { _, err := mutating.Get(t.Context(), name, metav1.GetOptions{}); return err })
	must(f.client.CoreV1().Services(guardedNS).Create(t.Context(), headless("right"), metav1.CreateOptions{}))(t)
	f.retire(r)

	r = f.replica("", everyFailure, "--client-ca="+authority, "--client-names=somebody-else")
	f.publish(r)
	f.eventually("another name is not answered", func() error {
		err := f.denied()
		if !strings.Contains(fmt.Sprint(err), "failed calling webhook") || !strings.Contains(err.Error(), `stsguard doesn't answer "kube-apiserver"`) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}
