package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
)

// secure is how the webhooks are served. The API server speaks HTTP/1.1 with
// webhooks, so that its requests spread over all replicas; HTTP/2 would only open
// the door for those who misuse it (rapid reset, floods of frames).
func secure(c *tls.Config) {
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{"http/1.1"}
}

// callers are those who may ask, by their certificates.
type callers struct {
	path string
	// names may be empty: then everybody may whom the authority knows.
	names []string

	mu   sync.Mutex
	pool *x509.CertPool
}

// load reads the file with the authorities.
func (c *callers) load() (*x509.CertPool, error) {
	data, err := os.ReadFile(c.path)
	if err != nil {
		return nil, fmt.Errorf("--client-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("--client-ca: no certificate in %s", c.path)
	}
	return pool, nil
}

// authorities reads the file for each connection, since it changes when the
// authority does. While it can't be read the last ones count.
func (c *callers) authorities() *x509.CertPool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pool, err := c.load(); err == nil {
		c.pool = pool
	}
	return c.pool
}

// secure has the server look at certificates of clients. One that is no good ends
// the connection; whether there is one at all, only allow asks, so that probes
// need none.
func (c *callers) secure(config *tls.Config) {
	config.ClientAuth = tls.VerifyClientCertIfGiven
	// None at all would mean those of the system.
	c.pool = x509.NewCertPool()
	// A session that is resumed would not be held against the authorities again.
	config.SessionTicketsDisabled = true
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		with := config.Clone()
		with.ClientCAs = c.authorities()
		return with, nil
	}
}

// allow passes on requests of those who may ask.
func (c *callers) allow(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "stsguard wants a client certificate: the API server shows one if its --admission-control-config-file has a kubeConfigFile for webhooks", http.StatusUnauthorized)
			return
		}
		leaf := r.TLS.VerifiedChains[0][0]
		if len(c.names) > 0 && !slices.Contains(c.names, leaf.Subject.CommonName) && !slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return slices.Contains(c.names, n) }) {
			http.Error(w, fmt.Sprintf("stsguard doesn't answer %q: it is not among --client-names", leaf.Subject.CommonName), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
