package certs

import (
	"crypto/x509"
	"slices"
	"time"
)

// Lifetimes say how long certificates count. All follow from one: an authority
// counts four times as long as a serving certificate and has a successor halfway,
// so that all that it signs have their full length, with as much to spare.
type Lifetimes struct {
	// Serving is how long a serving certificate counts. It is renewed when a
	// third of that is left.
	Serving time.Duration
}

func (l Lifetimes) authority() time.Duration { return 4 * l.Serving }

// renewal is how long before its end a serving certificate is renewed.
func (l Lifetimes) renewal() time.Duration { return l.Serving / 3 }

// succession is how long before its end an authority gets a successor.
func (l Lifetimes) succession() time.Duration { return 2 * l.Serving }

// mostSettling is ample time for every API server to hear of a change.
const mostSettling = 5 * time.Minute

// settling is how long an authority is trusted before anybody relies on it.
func (l Lifetimes) settling() time.Duration { return min(mostSettling, l.Serving/10) }

// Next is what m should be at this time for a server of these names; it is m
// itself if that is good. A nil m is one of which nothing is known. All of m's
// authorities have been trusted since the given time; zero means that they may
// not be trusted yet.
func (l Lifetimes) Next(m *Material, names []string, now, trusted time.Time) (*Material, error) {
	if m == nil {
		m = &Material{}
	}
	next := m.unexpired(now)
	issuer := next.issuer()
	if issuer == nil || !counts(next.serving.Leaf, now) || !covers(next.serving.Leaf, names) {
		// There is nothing to lose. The oldest that can sign is the one that is
		// trusted the longest.
		if next.newest(now) == nil {
			var err error
			if next, err = l.Rotate(next, now); err != nil {
				return nil, err
			}
		}
		return l.issue(next, next.signers(now)[0], names, now)
	}

	newest := next.newest(now)
	if newest == nil || newest == issuer && newest.certificate.NotAfter.Sub(now) <= l.succession() {
		return l.Rotate(next, now)
	}
	if newest != issuer && !trusted.IsZero() && now.Sub(trusted) >= l.settling() {
		return l.issue(next.signedBy(newest), newest, names, now)
	}
	leaf := next.serving.Leaf
	if issuer.key != nil && leaf.NotAfter.Sub(now) <= l.renewal() && issuer.certificate.NotAfter.After(leaf.NotAfter) {
		return l.issue(next, issuer, names, now)
	}
	if next.equal(m) {
		return m, nil
	}
	return next, nil
}

// Rotate is m with an authority that takes over once it is trusted. It is m
// itself if there is one that waits for that already.
func (l Lifetimes) Rotate(m *Material, now time.Time) (*Material, error) {
	if newest := m.newest(now); newest != nil && newest != m.issuer() {
		return m, nil
	}
	a, err := newAuthority(now, l.authority())
	if err != nil {
		return nil, err
	}
	return m.with(a), nil
}

// issue is the same with a new serving certificate.
func (l Lifetimes) issue(m *Material, by *authority, names []string, now time.Time) (*Material, error) {
	begin := now.Add(-skew)
	if m.serving != nil {
		// Whoever has the one before would take an older one for a step back. That
		// may be of another replica, whose clock is ahead.
		if before := m.serving.Leaf.NotBefore; before.After(begin) && !before.After(now) {
			begin = before
		}
	}
	serving, err := by.serving(names, begin, now.Add(l.Serving))
	if err != nil {
		return nil, err
	}
	return &Material{authorities: m.authorities, serving: serving}, nil
}

// Due is when Next will have something to do, as far as can be known now.
func (l Lifetimes) Due(m *Material, now, trusted time.Time) time.Time {
	due := m.serving.Leaf.NotAfter
	at := func(t time.Time) {
		if t.After(now) && t.Before(due) {
			due = t
		}
	}
	at(m.serving.Leaf.NotAfter.Add(-l.renewal()))
	for _, a := range m.authorities {
		at(a.certificate.NotAfter)
		at(a.certificate.NotAfter.Add(-l.succession()))
	}
	if !trusted.IsZero() {
		at(trusted.Add(l.settling()))
	}
	return due
}

// covers says whether the certificate has exactly these names.
func covers(c *x509.Certificate, names []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(c.DNSNames)), slices.Sorted(slices.Values(names)))
}
