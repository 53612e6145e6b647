package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
)

// readEvery is how often the files are looked at. What they hold is compared: each
// is a link into a directory that is exchanged.
const readEvery = 10 * time.Second

// Files is a certificate of others in a directory: tls.crt and tls.key, as
// cert-manager's Secret is mounted. Each replica gets them at a time of its own, up
// to minutes after others, and so does the one that tells the API server whom to
// trust. So another certificate is served only once the API server has trusted its
// authority for a while.
type Files struct {
	Dir string
	// Name is that by which the API server reaches the Service.
	Name string
	// Trusted is whom the API server is told to trust, for each webhook; none while
	// it doesn't ask.
	Trusted func(context.Context) (bundles [][]byte, err error)
	Clock   func() time.Time

	// waiting is the certificate that may be served soon, and has been trusted since,
	// unless that is zero. Nobody but step looks at both.
	waiting *x509.Certificate
	since   time.Time

	mu      sync.Mutex
	serving *tls.Certificate
	reason  string // why what the files hold isn't served
}

// Start reads the files again and again until the context is done.
func (f *Files) Start(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx).WithName("certificates")
	began := f.Clock()
	ticker := time.NewTicker(readEvery)
	defer ticker.Stop()
	for {
		f.step(ctx, log, began)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// NeedLeaderElection tells controller-runtime's manager that every replica serves.
func (f *Files) NeedLeaderElection() bool { return false }

// step serves what the files hold, or says why not yet.
func (f *Files) step(ctx context.Context, log logr.Logger, began time.Time) {
	found, err := tls.LoadX509KeyPair(filepath.Join(f.Dir, corev1.TLSCertKey), filepath.Join(f.Dir, corev1.TLSPrivateKeyKey))
	if err == nil {
		err = f.servable(ctx, &found, began)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil:
		if f.reason != err.Error() {
			log.Info("another certificate is not served yet", "reason", err.Error())
		}
		f.reason = err.Error()
		return
	case f.serving == nil || !f.serving.Leaf.Equal(found.Leaf):
		log.Info("serving another certificate", "serial", found.Leaf.SerialNumber.Text(16), "expires", found.Leaf.NotAfter, "names", found.Leaf.DNSNames)
	}
	f.serving, f.reason = &found, ""
}

// servable returns nil if the certificate can be served, as far as the API server is
// concerned.
func (f *Files) servable(ctx context.Context, found *tls.Certificate, began time.Time) error {
	f.mu.Lock()
	serving := f.serving
	f.mu.Unlock()
	now := f.Clock()
	switch {
	case serving == nil && now.Sub(began) >= mostSettling:
		// If it is not trusted by now, then not because of somebody who is late.
		return nil
	case serving != nil && (serving.Leaf.Equal(found.Leaf) || !counts(serving.Leaf, now)):
		return nil
	}
	bundles, err := f.Trusted(ctx)
	if err == nil {
		err = trusted(found, f.Name, bundles, now)
	}
	if err != nil || !found.Leaf.Equal(f.waiting) {
		f.waiting, f.since = found.Leaf, time.Time{}
	}
	if err != nil {
		return err
	}
	if serving == nil || len(bundles) == 0 || trusted(serving, f.Name, bundles, now) != nil {
		// There is nothing to lose.
		return nil
	}
	if f.since.IsZero() {
		f.since = now
	}
	lifetimes := Lifetimes{Serving: found.Leaf.NotAfter.Sub(found.Leaf.NotBefore)}
	if now.Sub(f.since) < lifetimes.settling() {
		return errors.New("the API server has not trusted its authority long enough")
	}
	return nil
}

// trusted returns nil if whoever trusts one of these bundles, whichever it is, takes
// the certificate for one of that name.
func trusted(c *tls.Certificate, name string, bundles [][]byte, now time.Time) error {
	intermediates := x509.NewCertPool()
	for _, der := range c.Certificate[1:] {
		if above, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(above)
		}
	}
	for _, bundle := range bundles {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundle)
		if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates, CurrentTime: now}); err != nil {
			return fmt.Errorf("the API server doesn't trust it: %w", err)
		}
	}
	return nil
}

// Ready returns an error while there is no certificate to serve at this time.
func (f *Files) Ready(now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.serving == nil {
		return fmt.Errorf("there is no certificate to serve yet: %s", f.reason)
	}
	return ready(f.serving.Leaf, now)
}

// Expires is when the certificate that is served expires; zero while there is none.
func (f *Files) Expires() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.serving == nil {
		return time.Time{}
	}
	return f.serving.Leaf.NotAfter
}

// GetCertificate is for [tls.Config].
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.serving == nil {
		return nil, errNone
	}
	return f.serving, nil
}

// Together is a bundle that trusts whom the first one does and, until they have
// expired, whom the others do: for those whose certificate is of an authority before.
func Together(now time.Time, bundle []byte, others ...[]byte) ([]byte, error) {
	all, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		for _, block := range blocks(other) {
			// The API server passes over what is no certificate, too.
			c, err := x509.ParseCertificate(block.Bytes)
			if err == nil && now.Before(c.NotAfter) && !slices.ContainsFunc(all, c.Equal) {
				all = append(all, c)
			}
		}
	}
	return cert.EncodeCertificates(all...)
}
