package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestUnreadableAuthorities: while there has been no file to read, nobody is known.
// Without any authorities, those of the system would count.
func TestUnreadableAuthorities(t *testing.T) {
	c := &callers{path: filepath.Join(t.TempDir(), "ca.crt")}
	config := &tls.Config{}
	c.secure(config)
	with, err := config.GetConfigForClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	if with.ClientCAs == nil {
		t.Error("whom the system trusts may ask")
	}
}

// caller is a client certificate that is its own authority.
func caller(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestCallers: who may ask is decided for each connection, by the authorities that
// are in the file then.
func TestCallers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.crt")
	know := func(c tls.Certificate) {
		t.Helper()
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, renewed := caller(t, "apiserver"), caller(t, "apiserver")
	c := &callers{path: path}
	s := httptest.NewUnstartedServer(c.allow(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	// For a certificate and a client that trusts it.
	other := httptest.NewTLSServer(nil)
	defer other.Close()
	s.TLS = &tls.Config{Certificates: other.TLS.Certificates}
	c.secure(s.TLS)
	s.StartTLS()
	defer s.Close()
	sessions := tls.NewLRUClientSessionCache(0)
	// ask gives the status, or 0 where there is no connection.
	ask := func(with ...tls.Certificate) int {
		t.Helper()
		transport := other.Client().Transport.(*http.Transport).Clone()
		transport.DisableKeepAlives = true
		transport.TLSClientConfig.Certificates = with
		transport.TLSClientConfig.ClientSessionCache = sessions
		response, err := (&http.Client{Transport: transport}).Get(s.URL)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	expect := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %d, want %d", what, got, want)
		}
	}
	know(old)
	expect("nobody", ask(), http.StatusUnauthorized)
	expect("without names, whom the authority knows", ask(old), http.StatusOK)
	expect("whom it doesn't know", ask(renewed), 0)
	know(renewed)
	expect("another authority", ask(renewed), http.StatusOK)
	expect("who is known no longer", ask(old), 0)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("while there is no file, who was known", ask(renewed), http.StatusOK)
	c.names = []string{"somebody"}
	expect("another name", ask(renewed), http.StatusForbidden)
}
