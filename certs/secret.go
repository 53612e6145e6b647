package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
)

var errNone = errors.New("there is no certificate to serve yet")

// hearEvery is how often the Secret is looked at though it hasn't changed: what it
// holds may not have counted yet by this replica's clock.
const hearEvery = time.Minute

// Secret is the Secret as this replica knows it. What is no good is never
// served: the last good certificate stays.
type Secret struct {
	client  corev1client.SecretInterface
	name    string
	clock   func() time.Time
	changed chan struct{}

	mu    sync.Mutex
	known *Material
}

// NewSecret prepares one that knows nothing until Start.
func NewSecret(client corev1client.SecretInterface, name string, clock func() time.Time) *Secret {
	return &Secret{client: client, name: name, clock: clock, changed: make(chan struct{}, 1)}
}

// Start watches until the context is done.
func (s *Secret) Start(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx).WithName("certificates")
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, s.name).String()
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.FieldSelector = selector
				return s.client.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.FieldSelector = selector
				return s.client.Watch(ctx, o)
			},
		},
		ObjectType:   &corev1.Secret{},
		ResyncPeriod: hearEvery,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { s.hear(log, o) },
			UpdateFunc: func(_, o any) { s.hear(log, o) },
			DeleteFunc: func(any) { s.nudge() },
		},
	})
	informer.RunWithContext(ctx)
	return nil
}

// NeedLeaderElection tells controller-runtime's manager that every replica
// serves.
func (s *Secret) NeedLeaderElection() bool { return false }

// hear takes over what the Secret holds now.
func (s *Secret) hear(log logr.Logger, o any) {
	defer s.nudge()
	m, err := Parse(o.(*corev1.Secret).Data)
	if err != nil {
		log.Error(err, "the Secret is no good: the last certificate stays", "secret", s.name)
		return
	}
	if s.take(m) {
		leaf := m.serving.Leaf
		log.Info("serving another certificate", "serial", leaf.SerialNumber.Text(16), "expires", leaf.NotAfter, "names", leaf.DNSNames)
	}
}

// take remembers the material, and says whether its certificate is another one.
func (s *Secret) take(m *Material) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.known
	s.known = was.follow(m, s.clock())
	return was == nil || !was.serving.Leaf.Equal(s.known.serving.Leaf)
}

// remembered is the last that was good, nil for none.
func (s *Secret) remembered() *Material {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

func (s *Secret) nudge() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Changed gets something after the Secret has changed. It is for one reader.
func (s *Secret) Changed() <-chan struct{} { return s.changed }

// Ready returns an error while there is no certificate to serve at this time.
func (s *Secret) Ready(now time.Time) error {
	m := s.remembered()
	if m == nil {
		return errNone
	}
	return ready(m.serving.Leaf, now)
}

// ready returns an error if the certificate is no good at this time.
func ready(leaf *x509.Certificate, now time.Time) error {
	if !counts(leaf, now) {
		return fmt.Errorf("the certificate counts from %s to %s, and it is %s",
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// Expires is when the certificate that is served expires; zero while there is
// none.
func (s *Secret) Expires() time.Time {
	if m := s.remembered(); m != nil {
		return m.serving.Leaf.NotAfter
	}
	return time.Time{}
}

// GetCertificate is for [tls.Config].
func (s *Secret) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m := s.remembered()
	if m == nil {
		return nil, errNone
	}
	return m.serving, nil
}
