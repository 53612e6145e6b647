package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// certificate is the one that this replica serves, our own or somebody else's.
type certificate interface {
	manager.Runnable
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Ready returns an error while there is none that counts.
	Ready(now time.Time) error
	// Expires is zero while there is none.
	Expires() time.Time
}

// notAsked says nothing about whom the API server trusts. A replica that registers
// nothing doesn't know, and so serves another certificate as soon as that is there.
func notAsked(context.Context) (bundles [][]byte, err error) { return nil, nil }

// addCertificate has the manager keep it. A replica without a certificate is not
// ready.
func addCertificate(m manager.Manager, c certificate) error {
	return errors.Join(
		m.Add(c),
		m.AddReadyzCheck("certificate", func(*http.Request) error { return c.Ready(time.Now()) }),
		metrics.Registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "stsguard_certificate_expiry_timestamp_seconds",
			Help: "When the certificate expires that is served, in seconds since 1970; 0 while there is none.",
		}, func() float64 {
			if at := c.Expires(); !at.IsZero() {
				return float64(at.Unix())
			}
			return 0
		})),
	)
}
