package certs

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func first(t *testing.T, now time.Time) *Material {
	t.Helper()
	m, err := ordinary.Next(nil, names, now, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func data(t *testing.T, m *Material) map[string][]byte {
	t.Helper()
	d, err := m.Data()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestServedOverTLS(t *testing.T) {
	m := first(t, time.Now())
	s := NewSecret(nil, "certs", time.Now)
	s.take(m)
	if err := s.Ready(time.Now()); err != nil {
		t.Error(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(m.Bundle())
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.GetCertificate})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	for _, name := range []string{"stsguard.guards.svc", "stsguard.guards.svc.cluster.local", "stsguard.other.svc"} {
		connection, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{ServerName: name, RootCAs: roots})
		if err == nil {
			connection.Close()
		}
		if want := name != "stsguard.other.svc"; (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNothingToServe(t *testing.T) {
	s := NewSecret(nil, "certs", func() time.Time { return epoch })
	if _, err := s.GetCertificate(nil); err == nil {
		t.Error("a certificate from nowhere")
	}
	if s.Ready(epoch) == nil {
		t.Error("ready without a certificate")
	}
	s.take(first(t, epoch))
	if err := s.Ready(epoch); err != nil {
		t.Error(err)
	}
	if s.Ready(epoch.Add(ordinary.Serving)) == nil {
		t.Error("ready with an expired certificate")
	}
}

func TestParse(t *testing.T) {
	good := data(t, first(t, epoch))
	m, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if again := data(t, m); !maps.EqualFunc(good, again, func(a, b []byte) bool { return slices.Equal(a, b) }) {
		t.Error("another Secret after reading and writing")
	}
	other := data(t, first(t, epoch))
	for name, c := range map[string]struct {
		change func(map[string][]byte)
		says   string
	}{
		"empty":                  {func(d map[string][]byte) { clear(d) }, "ca.key: no key"},
		"no authority":           {func(d map[string][]byte) { delete(d, "ca.crt") }, "ca.key: a key of no authority in ca.crt"},
		"another's authority":    {func(d map[string][]byte) { d["ca.crt"], d["ca.key"] = other["ca.crt"], other["ca.key"] }, "tls.crt: of no authority in ca.crt"},
		"another's signing key":  {func(d map[string][]byte) { d["ca.key"] = other["ca.key"] }, "ca.key: a key of no authority in ca.crt"},
		"another's key":          {func(d map[string][]byte) { d["tls.key"] = other["tls.key"] }, "tls.crt and tls.key: "},
		"a leaf among the roots": {func(d map[string][]byte) { d["ca.crt"] = append(slices.Clone(d["ca.crt"]), d["tls.crt"]...) }, "ca.crt: a certificate of no authority"},
		"a broken certificate":   {func(d map[string][]byte) { d["ca.crt"] = encode(certificateBlock, []byte("no")) }, "ca.crt: x509: "},
		"a broken key":           {func(d map[string][]byte) { d["ca.key"] = encode(keyBlock, []byte("no")) }, "ca.key: x509: "},
	} {
		changed := maps.Clone(good)
		c.change(changed)
		_, err := Parse(changed)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: want %q, got %v", name, c.says, err)
		}
		for _, key := range []string{"ca.key", corev1.TLSPrivateKeyKey} {
			if err != nil && strings.Contains(err.Error(), string(changed[key])) && len(changed[key]) > 0 {
				t.Errorf("%s: the error shows %s", name, key)
			}
		}
	}
}

// What is served is exchanged at once if it is good for nothing.
func TestNothingToLose(t *testing.T) {
	m := first(t, epoch)
	for name, c := range map[string]struct {
		names       []string
		after       time.Duration
		authorities int
	}{
		"another name":                   {Names("guard", "guards", "cluster.local"), 0, 1},
		"expired":                        {names, 100 * 24 * time.Hour, 1},
		"the authority has expired, too": {names, 400 * 24 * time.Hour, 1},
	} {
		now := epoch.Add(c.after)
		next, err := ordinary.Next(m, c.names, now, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if !counts(next.serving.Leaf, now) || !covers(next.serving.Leaf, c.names) || next.issuer() == nil || len(next.authorities) != c.authorities {
			t.Errorf("%s: got a certificate for %q until %s, and %d authorities", name, next.serving.Leaf.DNSNames, next.serving.Leaf.NotAfter, len(next.authorities))
		}
	}
	if next, err := ordinary.Next(m, names, epoch, epoch); err != nil || next != m {
		t.Errorf("a good one was exchanged: %v", err)
	}
}

// The steps of one rotation.
func TestRotation(t *testing.T) {
	was := first(t, epoch)
	m, err := ordinary.Rotate(was, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ordinary.Rotate(m, epoch); err != nil || again != m {
		t.Errorf("a second new authority: %v", err)
	}
	step := func(after time.Duration, trusted time.Time) *Material {
		t.Helper()
		next, err := ordinary.Next(m, names, epoch.Add(after), trusted)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	if step(time.Hour, time.Time{}) != m {
		t.Error("an authority that nobody trusts has signed")
	}
	if step(mostSettling-time.Second, epoch) != m {
		t.Error("an authority has signed too early")
	}
	next := step(mostSettling, epoch)
	if next.issuer() == was.issuer() || len(next.authorities) != 2 {
		t.Fatal("the new authority has not taken over")
	}
	if signers := next.signers(epoch.Add(mostSettling)); len(signers) != 1 || signers[0] != next.issuer() {
		t.Error("the old authority can still sign")
	}
	// Trusted by nobody, in time the old one renews what it signed.
	late := epoch.Add(70 * 24 * time.Hour)
	if next := step(late.Sub(epoch), time.Time{}); next.serving == m.serving || next.issuer().certificate != was.issuer().certificate || len(next.signers(late)) != 2 {
		t.Error("not renewed by the old authority")
	}
}

// A replica that finds an older Secret goes on with what it has.
func TestFollow(t *testing.T) {
	older, newer := first(t, epoch), first(t, epoch.Add(time.Hour))
	now := epoch.Add(2 * time.Hour)
	if newer.follow(older, now) != newer {
		t.Error("went back")
	}
	m := older.follow(newer, now)
	if m.serving != newer.serving || len(m.authorities) != 2 || len(m.signers(now)) != 1 {
		t.Error("did not go on, or no longer trusts what it served")
	}
	if (*Material)(nil).follow(newer, now) != newer {
		t.Error("did not begin")
	}
}
