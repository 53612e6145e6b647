package certs

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mount is a directory with the files of a Secret, as a kubelet keeps them: each is
// a link into a directory that is exchanged in one step, some time after the Secret
// has changed.
type mount struct {
	dir string
	lag time.Duration

	mu      sync.Mutex
	version string // of the Secret that it shows
}

// mount mounts a Secret that is there, until the test ends. Each node hears of a
// change at a time of its own.
func (f *fixture) mount(secret string, lag time.Duration) *mount {
	f.Helper()
	m := &mount{dir: must(os.MkdirTemp(f.cp.Dir, "mount-"))(f.T), lag: lag}
	s := must(f.client.CoreV1().Secrets(namespace).Get(f.Context(), secret, metav1.GetOptions{}))(f.T)
	if err := m.show(s); err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(f.Context()))
	watch := must(f.client.CoreV1().Secrets(namespace).Watch(ctx, metav1.SingleObject(metav1.ObjectMeta{Name: secret})))(f.T)
	var keeping sync.WaitGroup
	keeping.Go(func() {
		for event := range watch.ResultChan() {
			s, ok := event.Object.(*corev1.Secret)
			if !ok {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(m.lag):
			}
			if err := m.show(s); err != nil {
				f.Error(err)
			}
		}
	})
	f.Cleanup(func() { watch.Stop(); stop(); keeping.Wait() })
	return m
}

// tlsSecret is the one that the chart mounts.
const tlsSecret = hook + "-tls"

// served waits until all replicas serve what is in it.
func (l *load) served() {
	l.Helper()
	want := must(l.secretSerial(tlsSecret, "tls.crt"))(l.T)
	l.eventually("the certificate is served", func() error {
		for _, r := range l.replicas {
			if got := l.serial(r); got != want {
				return fmt.Errorf("%s instead of %s", got, want)
			}
		}
		return nil
	})
}

// secretSerial is that of the first certificate that a Secret has under this key.
func (f *fixture) secretSerial(secret, key string) (string, error) {
	s, err := f.client.CoreV1().Secrets(namespace).Get(f.Context(), secret, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(s.Data[key])
	if block == nil {
		return "", fmt.Errorf("no certificate in %s of %s", key, secret)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	return c.SerialNumber.Text(16), nil
}

// show exchanges the files.
func (m *mount) show(s *corev1.Secret) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.ResourceVersion == m.version {
		return nil
	}
	data := filepath.Join(m.dir, "..data")
	before, _ := os.Readlink(data)
	next, err := os.MkdirTemp(m.dir, "..")
	if err != nil {
		return err
	}
	for name, content := range s.Data {
		if err := os.WriteFile(filepath.Join(next, name), content, 0o600); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	if err := os.Symlink(filepath.Base(next), data+".next"); err != nil {
		return err
	}
	if err := os.Rename(data+".next", data); err != nil {
		return err
	}
	m.version = s.ResourceVersion
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(m.dir, before))
}

func (m *mount) flag() string { return fmt.Sprintf("--cert-dir=%s", m.dir) }
