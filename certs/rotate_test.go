package certs

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var (
	names    = Names("stsguard", "guards", "cluster.local")
	epoch    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ordinary = Lifetimes{Serving: 90 * 24 * time.Hour}
)

// view is something that somebody has, until later he hears of the next.
type view[T any] struct {
	has     T
	pending []arrival[T]
}

type arrival[T any] struct {
	at time.Time
	is T
}

// tell lets the owner of the view know at the given time. Nobody hears of
// things in the wrong order.
func (v *view[T]) tell(at time.Time, is T) {
	if n := len(v.pending); n > 0 && at.Before(v.pending[n-1].at) {
		at = v.pending[n-1].at
	}
	v.pending = append(v.pending, arrival[T]{at, is})
}

func (v *view[T]) hear(now time.Time, take func(had, is T) T) {
	for len(v.pending) > 0 && !v.pending[0].at.After(now) {
		v.has, v.pending = take(v.has, v.pending[0].is), v.pending[1:]
	}
}

// model is a cluster: a Secret, replicas that hear of it late, API servers that
// hear of the caBundle late, and one replica that writes.
type model struct {
	t      *testing.T
	random *rand.Rand

	now        time.Time
	secret     *Material
	replicas   []*view[*Material]
	apiServers []*view[[]byte]
	// bundle is in the configurations; trusted is since when the writer knows
	// it there.
	bundle  []byte
	trusted time.Time

	authorities, certificates map[string]bool
	chains                    map[string][][]*x509.Certificate
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, random: rand.New(rand.NewPCG(seed, seed)), now: epoch,
		authorities: map[string]bool{}, certificates: map[string]bool{}, chains: map[string][][]*x509.Certificate{},
	}
	for range 3 {
		m.replicas = append(m.replicas, &view[*Material]{})
	}
	for range 2 {
		m.apiServers = append(m.apiServers, &view[[]byte]{})
	}
	return m
}

func (m *model) within(most time.Duration) time.Duration {
	return time.Duration(m.random.Int64N(int64(most)))
}

// step is what the writer does.
func (m *model) step(knows *Material) {
	m.t.Helper()
	trusted := m.trusted
	if knows == nil || string(knows.Bundle()) != string(m.bundle) {
		trusted = time.Time{}
	}
	next, err := ordinary.Next(knows, names, m.now, trusted)
	if err != nil {
		m.t.Fatal(err)
	}
	if next != m.secret {
		m.write(next)
	}
	if bundle := string(next.Bundle()); m.trusted.IsZero() || bundle != string(m.bundle) {
		m.bundle, m.trusted = []byte(bundle), m.now
		for _, a := range m.apiServers {
			a.tell(m.now.Add(m.within(ordinary.settling())), m.bundle)
		}
	}
}

func (m *model) write(next *Material) {
	m.t.Helper()
	data, err := next.Data()
	if err != nil {
		m.t.Fatal(err)
	}
	if m.secret, err = Parse(data); err != nil {
		m.t.Fatal(err)
	}
	for i, r := range m.replicas {
		// The first hears at once, the others up to one or two weeks late.
		r.tell(m.now.Add(time.Duration(i)*m.within(7*24*time.Hour)), m.secret)
	}
	m.certificates[m.secret.serving.Leaf.SerialNumber.String()] = true
	for _, a := range m.secret.authorities {
		m.authorities[a.certificate.SerialNumber.String()] = true
	}
}

// check holds every certificate that some replica serves against what every API
// server trusts.
func (m *model) check(at time.Time) {
	m.t.Helper()
	for i, r := range m.replicas {
		for j, a := range m.apiServers {
			if err := m.verify(r.has.serving.Leaf, a.has, at); err != nil {
				m.t.Fatalf("%s: what replica %d serves fails at API server %d: %v", at, i, j, err)
			}
		}
	}
}

// verify does what a client does, and remembers the chains that it found.
func (m *model) verify(leaf *x509.Certificate, bundle []byte, at time.Time) error {
	key := leaf.SerialNumber.String() + string(bundle)
	for _, chain := range m.chains[key] {
		if !slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return !counts(c, at) }) {
			return nil
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	chains, err := leaf.Verify(x509.VerifyOptions{DNSName: names[0], Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	m.chains[key] = chains
	return err
}

// hear lets everybody hear of what has come until now.
func (m *model) hear() {
	m.t.Helper()
	for _, r := range m.replicas {
		r.hear(m.now, func(had, is *Material) *Material { return had.follow(is, m.now) })
	}
	for _, a := range m.apiServers {
		a.hear(m.now, func(_, is []byte) []byte { return is })
	}
	m.check(m.now)
}

// next is when something happens.
func (m *model) next() time.Time {
	at := ordinary.Due(m.secret, m.now, m.trusted)
	earlier := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	for _, r := range m.replicas {
		if len(r.pending) > 0 {
			earlier(r.pending[0].at)
		}
	}
	for _, a := range m.apiServers {
		if len(a.pending) > 0 {
			earlier(a.pending[0].at)
		}
	}
	return at
}

// run goes on until the given time, and lets something go wrong now and then.
func (m *model) run(until time.Time, mishap func()) {
	m.step(nil)
	// From nothing: whoever is there serves, and is trusted, from now on.
	for _, r := range m.replicas {
		*r = view[*Material]{has: m.secret}
	}
	for _, a := range m.apiServers {
		*a = view[[]byte]{has: m.bundle}
	}
	for m.now.Before(until) {
		at := m.next()
		m.check(at.Add(-time.Second))
		m.now = at
		m.hear()
		if m.random.IntN(3) == 0 {
			// The writer is away for up to two weeks, and its successor doesn't
			// know since when the bundle is trusted.
			m.now = m.now.Add(m.within(14 * 24 * time.Hour))
			m.trusted = time.Time{}
			m.hear()
		}
		if m.random.IntN(4) == 0 {
			mishap()
		}
		m.step(m.secret)
		m.check(m.now)
	}
}

func TestTenYears(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			m.run(epoch.AddDate(10, 0, 0), func() {})
			if len(m.authorities) < 15 || len(m.certificates) < 45 {
				t.Errorf("only %d authorities and %d certificates in ten years", len(m.authorities), len(m.certificates))
			}
			if n := len(m.secret.authorities); n > 3 {
				t.Errorf("%d authorities are trusted in the end", n)
			}
		})
	}
}

// Somebody deletes the Secret, or puts back an old one.
func TestTenYearsOfMishaps(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			deleted, restored := 0, 0
			backup := m.secret
			m.run(epoch.AddDate(10, 0, 0), func() {
				switch m.random.IntN(3) {
				case 0:
					backup = m.secret
				case 1:
					deleted++
					rotated, err := ordinary.Rotate(m.secret, m.now)
					if err != nil {
						t.Fatal(err)
					}
					m.step(rotated)
				case 2:
					if backup == nil {
						return
					}
					restored++
					was := m.secret
					m.write(backup)
					m.step(was.follow(m.secret, m.now))
				}
			})
			if deleted == 0 || restored == 0 {
				t.Errorf("deleted %d times, restored %d times", deleted, restored)
			}
		})
	}
}
