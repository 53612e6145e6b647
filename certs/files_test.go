package certs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// files are those of somebody else, and who is trusted.
type files struct {
	*testing.T
	*Files
	now     time.Time
	trusted [][]byte
	fails   error
}

func newFiles(t *testing.T) *files {
	f := &files{T: t, now: epoch}
	f.Files = &Files{
		Dir: t.TempDir(), Name: names[0],
		Trusted: func(context.Context) ([][]byte, error) { return f.trusted, f.fails },
		Clock:   func() time.Time { return f.now },
	}
	return f
}

// put writes what another authority has signed, and returns whom to trust for it.
func (f *files) put() *Material {
	f.Helper()
	m := first(f.T, f.now)
	for name, content := range data(f.T, m) {
		if err := os.WriteFile(filepath.Join(f.Dir, name), content, 0o600); err != nil {
			f.Fatal(err)
		}
	}
	return m
}

// serves looks again after this time, and holds what is served against what should be.
func (f *files) serves(after time.Duration, want *Material, reason string) {
	f.Helper()
	f.now = f.now.Add(after)
	f.step(f.Context(), logr.Discard(), epoch)
	if want == nil {
		if err := f.Ready(f.now); err == nil || !strings.Contains(err.Error(), reason) {
			f.Errorf("ready: %v, want %q", err, reason)
		}
		if _, err := f.GetCertificate(nil); err == nil {
			f.Error("something is served")
		}
		return
	}
	got, err := f.GetCertificate(nil)
	if err != nil {
		f.Fatal(err)
	}
	if !got.Leaf.Equal(want.serving.Leaf) || !f.Expires().Equal(want.serving.Leaf.NotAfter) {
		f.Errorf("serves another certificate")
	}
	if !strings.Contains(f.reason, reason) || reason == "" && f.reason != "" {
		f.Errorf("reason %q, want %q", f.reason, reason)
	}
}

func TestFiles(t *testing.T) {
	f := newFiles(t)
	f.serves(0, nil, "no such file")
	one := f.put()
	f.serves(0, one, "") // the API server doesn't ask yet

	f.trusted = [][]byte{one.Bundle(), one.Bundle()}
	two := f.put()
	f.serves(time.Minute, one, "doesn't trust")
	f.fails = errors.New("no answer")
	f.serves(time.Minute, one, "no answer")
	f.fails, f.trusted = nil, [][]byte{two.Bundle(), one.Bundle()}
	f.serves(time.Minute, one, "doesn't trust")
	both := append(two.Bundle(), one.Bundle()...)
	f.trusted = [][]byte{both, both}
	f.serves(time.Minute, one, "long enough")
	f.fails = errors.New("no answer")
	f.serves(time.Minute, one, "no answer")
	f.fails = nil
	f.serves(mostSettling-time.Second, one, "long enough")
	f.serves(mostSettling-time.Second, one, "long enough")
	f.serves(time.Second, two, "")

	f.put()
	f.serves(time.Minute, two, "doesn't trust")
	if err := os.WriteFile(filepath.Join(f.Dir, "tls.crt"), []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.serves(time.Minute, two, "failed to find")
	three := f.put()
	expiry := two.serving.Leaf.NotAfter.Sub(f.now)
	f.serves(expiry-time.Second, two, "doesn't trust")
	f.serves(time.Second, three, "") // nothing is to lose
}

// What nobody trusts any longer is not served while another is trusted.
func TestFilesNothingToLose(t *testing.T) {
	f := newFiles(t)
	one := f.put()
	f.trusted = [][]byte{one.Bundle(), one.Bundle()}
	f.serves(0, one, "")
	two := f.put()
	f.trusted = [][]byte{append(two.Bundle(), one.Bundle()...), one.Bundle()}
	f.serves(time.Minute, one, "doesn't trust")
	// Somebody deletes the configurations, and the leader makes others.
	f.trusted = [][]byte{two.Bundle(), two.Bundle()}
	f.serves(time.Second, two, "")
}

// A replica that starts waits to be trusted, but not for ever.
func TestFilesAtTheStart(t *testing.T) {
	f := newFiles(t)
	other := f.put()
	m := f.put()
	f.trusted = [][]byte{other.Bundle()}
	f.serves(time.Minute, nil, "there is no certificate to serve yet: the API server doesn't trust it: ")
	f.trusted = append(f.trusted, m.Bundle())
	f.serves(time.Minute, nil, "doesn't trust")
	f.trusted = [][]byte{m.Bundle()}
	f.serves(time.Minute, m, "")

	f = newFiles(t)
	f.trusted = [][]byte{other.Bundle()}
	m = f.put()
	f.serves(mostSettling-time.Second, nil, "doesn't trust")
	f.serves(time.Second, m, "")
	if err := f.Ready(m.serving.Leaf.NotAfter); err == nil {
		t.Error("ready with what has expired")
	}

	f = newFiles(t)
	m = f.put()
	f.Name = "another.name.svc"
	f.trusted = [][]byte{m.Bundle()}
	f.serves(time.Minute, nil, "another.name.svc")
}

func TestTogether(t *testing.T) {
	f := newFiles(t)
	a, b := f.put().Bundle(), f.put().Bundle()
	end := epoch.Add(ordinary.authority())
	for what, c := range map[string]struct {
		now    time.Time
		bundle []byte
		others [][]byte
		want   string
	}{
		"alone":                            {epoch, a, nil, string(a)},
		"twice":                            {epoch, a, [][]byte{a, nil, a}, string(a)},
		"another":                          {epoch, b, [][]byte{a, b}, string(b) + string(a)},
		"kept as it is":                    {epoch, b, [][]byte{append(b, a...)}, string(b) + string(a)},
		"expired":                          {end, b, [][]byte{a}, string(b)},
		"not quite yet":                    {end.Add(-time.Second), b, [][]byte{a}, string(b) + string(a)},
		"beside a list of what is revoked": {epoch, append(encode("X509 CRL", []byte("x")), a...), nil, string(a)},
		"others' rubbish":                  {epoch, b, [][]byte{[]byte("x"), encode(certificateBlock, []byte("x"))}, string(b)},
	} {
		got, err := Together(c.now, c.bundle, c.others...)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", what, err, got, c.want)
		}
	}
	for _, bundle := range [][]byte{nil, []byte("x"), encode(certificateBlock, []byte("x"))} {
		if _, err := Together(epoch, bundle, a); err == nil {
			t.Errorf("%q: no error", bundle)
		}
	}
}
