package certs

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The keys of the Secret beside those of the serving certificate.
const (
	authoritiesKey = "ca.crt"
	signingKey     = "ca.key"
)

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "EC PRIVATE KEY"
)

// Material is what the Secret holds: the authorities to trust, the oldest first,
// the keys of those that sign, and the serving certificate. It never changes.
type Material struct {
	authorities []*authority
	serving     *tls.Certificate
}

// Parse reads the data of a Secret. The error says what is wrong, and shows
// nothing of the keys.
func Parse(data map[string][]byte) (*Material, error) {
	m := &Material{}
	for _, block := range blocks(data[authoritiesKey]) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", authoritiesKey, err)
		}
		if !c.IsCA {
			return nil, fmt.Errorf("%s: a certificate of no authority", authoritiesKey)
		}
		m.authorities = append(m.authorities, &authority{certificate: c})
	}
	m.sort()
	for _, block := range blocks(data[signingKey]) {
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", signingKey, err)
		}
		i := slices.IndexFunc(m.authorities, func(a *authority) bool { return key.PublicKey.Equal(a.certificate.PublicKey) })
		if i < 0 {
			return nil, fmt.Errorf("%s: a key of no authority in %s", signingKey, authoritiesKey)
		}
		m.authorities[i].key = key
	}
	if !slices.ContainsFunc(m.authorities, func(a *authority) bool { return a.key != nil }) {
		return nil, fmt.Errorf("%s: no key", signingKey)
	}
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	if _, ok := pair.PrivateKey.(*ecdsa.PrivateKey); !ok {
		return nil, fmt.Errorf("%s: not an ECDSA key", corev1.TLSPrivateKeyKey)
	}
	m.serving = &pair
	if m.issuer() == nil {
		return nil, fmt.Errorf("%s: of no authority in %s", corev1.TLSCertKey, authoritiesKey)
	}
	return m, nil
}

// Data is what to put into the Secret.
func (m *Material) Data() (map[string][]byte, error) {
	var keys []byte
	for _, a := range m.authorities {
		if a.key == nil {
			continue
		}
		key, err := encodeKey(a.key)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key...)
	}
	private, ok := m.serving.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the serving key is not an ECDSA key")
	}
	key, err := encodeKey(private)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		authoritiesKey:          m.Bundle(),
		signingKey:              keys,
		corev1.TLSCertKey:       encode(certificateBlock, m.serving.Leaf.Raw),
		corev1.TLSPrivateKeyKey: key,
	}, nil
}

// Bundle is the certificates of all authorities, in PEM: whoever trusts them
// trusts the serving certificate, and the next one.
func (m *Material) Bundle() []byte {
	var out []byte
	for _, a := range m.authorities {
		out = append(out, encode(certificateBlock, a.certificate.Raw)...)
	}
	return out
}

// issuer is the authority that signed the serving certificate, nil for none.
func (m *Material) issuer() *authority {
	if m.serving == nil {
		return nil
	}
	for _, a := range m.authorities {
		if a.signed(m.serving.Leaf) {
			return a
		}
	}
	return nil
}

// signers are the authorities that can sign at this time, the oldest first.
func (m *Material) signers(now time.Time) []*authority {
	var out []*authority
	for _, a := range m.authorities {
		if a.key != nil && counts(a.certificate, now) {
			out = append(out, a)
		}
	}
	return out
}

// newest is the signer that takes over, or has: another than the issuer, if there
// is one, since keys of those before it are gone. It is nil for none.
func (m *Material) newest(now time.Time) *authority {
	issuer := m.issuer()
	var newest *authority
	for _, a := range m.signers(now) {
		if newest == nil || a != issuer {
			newest = a
		}
	}
	return newest
}

// with is the same with one more authority.
func (m *Material) with(a *authority) *Material {
	out := &Material{authorities: append(slices.Clone(m.authorities), a), serving: m.serving}
	out.sort()
	return out
}

// trusting is the same with the authorities of another, but not their keys. It is
// m itself if that has them all.
func (m *Material) trusting(other *Material) *Material {
	out := m
	for _, a := range other.authorities {
		if !slices.ContainsFunc(m.authorities, func(b *authority) bool { return a.certificate.Equal(b.certificate) }) {
			out = out.with(&authority{certificate: a.certificate})
		}
	}
	return out
}

// follow is what becomes of m, which may be nil, for somebody who finds this in
// the Secret at this time. Whoever puts back an older one changes nothing, and neither
// does one that doesn't count yet while m does. If m doesn't count yet, it is itself of
// a clock that was ahead.
func (m *Material) follow(found *Material, now time.Time) *Material {
	if m == nil {
		return found
	}
	begins, begin := m.serving.Leaf.NotBefore, found.serving.Leaf.NotBefore
	if begin.Before(begins) && !begins.After(now) || begin.After(now) && counts(m.serving.Leaf, now) {
		return m
	}
	return found.trusting(m.unexpired(now))
}

// signedBy is the same where no other authorities than these can sign.
func (m *Material) signedBy(keep ...*authority) *Material {
	out := &Material{serving: m.serving}
	for _, a := range m.authorities {
		if !slices.Contains(keep, a) {
			a = &authority{certificate: a.certificate}
		}
		out.authorities = append(out.authorities, a)
	}
	return out
}

// unexpired is the same less the authorities that have expired.
func (m *Material) unexpired(now time.Time) *Material {
	out := &Material{serving: m.serving}
	for _, a := range m.authorities {
		if now.Before(a.certificate.NotAfter) {
			out.authorities = append(out.authorities, a)
		}
	}
	return out
}

func (m *Material) sort() {
	slices.SortStableFunc(m.authorities, func(a, b *authority) int {
		return cmp.Or(a.certificate.NotBefore.Compare(b.certificate.NotBefore), bytes.Compare(a.certificate.Raw, b.certificate.Raw))
	})
}

// equal says whether both are the same to whoever reads the Secret.
func (m *Material) equal(other *Material) bool {
	return slices.EqualFunc(m.authorities, other.authorities, func(a, b *authority) bool {
		return a.certificate.Equal(b.certificate) && (a.key == nil) == (b.key == nil)
	}) && m.serving == other.serving
}

// counts says whether the certificate is valid at this time.
func counts(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && now.Before(c.NotAfter)
}

func blocks(data []byte) []*pem.Block {
	var out []*pem.Block
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return out
		}
		out, data = append(out, block), rest
	}
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode(keyBlock, der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
