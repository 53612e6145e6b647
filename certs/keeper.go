package certs

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names are those by which the API server, and others in the cluster, reach a
// Service.
func Names(service, namespace, clusterDomain string) []string {
	name := service + "." + namespace + ".svc"
	return []string{name, name + "." + clusterDomain}
}

// Keeper keeps the Secret as it should be. One replica at a time does that; a
// second one would do no harm, since nothing is written over what one has not
// read.
type Keeper struct {
	Secret *Secret
	// Names are those of the serving certificate.
	Names     []string
	Lifetimes Lifetimes
	// Owner is what takes the Secret along when it is deleted. It fails when the
	// owner is gone: then there is nothing to keep.
	Owner func(context.Context) (metav1.OwnerReference, error)
	// Trust has the API server trust what the authorities in this bundle sign,
	// and says whether it had to change anything for that.
	Trust func(ctx context.Context, bundle []byte) (changed bool, err error)
	Clock func() time.Time

	// bundle has been trusted since, unless that is zero.
	bundle  []byte
	trusted time.Time
}

// Step does what is to be done now, and says when to come back at the latest. It
// is to be called again, too, when something has changed.
func (k *Keeper) Step(ctx context.Context) (due time.Time, err error) {
	// What comes due while this goes on is to be done the next time.
	began := k.Clock()
	m, err := k.keepSecret(ctx)
	if err != nil {
		k.trusted = time.Time{}
		return time.Time{}, err
	}
	bundle := m.Bundle()
	changed, err := k.Trust(ctx, bundle)
	switch {
	case err != nil:
		k.trusted = time.Time{}
		return time.Time{}, fmt.Errorf("have the API server trust the certificates: %w", err)
	case changed, k.trusted.IsZero(), !bytes.Equal(bundle, k.bundle):
		k.bundle, k.trusted = bundle, k.Clock()
	}
	return k.Lifetimes.Due(m, began, k.trusted), nil
}

// Forget is for who has not kept the Secret for a while: others may have.
func (k *Keeper) Forget() { k.trusted = time.Time{} }

// keepSecret reads the Secret and writes what it should hold.
func (k *Keeper) keepSecret(ctx context.Context) (*Material, error) {
	log := logr.FromContextOrDiscard(ctx).WithName("certificates")
	s := k.Secret
	there, err := s.client.Get(ctx, s.name, metav1.GetOptions{})
	remembered := s.remembered()
	var held, m *Material
	switch {
	case apierrors.IsNotFound(err):
		log.Info("there is no Secret", "secret", s.name, "remembered", remembered != nil)
		there = nil
		if remembered != nil {
			// Whoever deletes it wants other keys.
			if m, err = k.Lifetimes.Rotate(remembered, k.Clock()); err != nil {
				return nil, err
			}
		}
	case err != nil:
		return nil, fmt.Errorf("read the Secret of the certificates: %w", err)
	default:
		if held, err = Parse(there.Data); err != nil {
			log.Error(err, "the Secret is no good", "secret", s.name, "remembered", remembered != nil)
			m = remembered
		} else {
			m = remembered.follow(held, k.Clock())
		}
	}

	var trusted time.Time
	if m != nil && bytes.Equal(m.Bundle(), k.bundle) {
		trusted = k.trusted
	}
	next, err := k.Lifetimes.Next(m, k.Names, k.Clock(), trusted)
	if err != nil {
		return nil, err
	}
	if next != held {
		if err := k.write(ctx, there, next); err != nil {
			return nil, err
		}
		log.Info("wrote the Secret", "secret", s.name, "authorities", len(next.authorities), "expires", next.serving.Leaf.NotAfter)
	}
	if s.take(next) {
		log.Info("serving another certificate", "serial", next.serving.Leaf.SerialNumber.Text(16), "expires", next.serving.Leaf.NotAfter)
	}
	return next, nil
}

// write puts the material into the Secret that was read, or into a new one.
func (k *Keeper) write(ctx context.Context, there *corev1.Secret, m *Material) error {
	data, err := m.Data()
	if err != nil {
		return err
	}
	if there != nil {
		there = there.DeepCopy()
		if there.Data == nil {
			there.Data = map[string][]byte{}
		}
		for key, value := range data {
			there.Data[key] = value
		}
		if _, err := k.Secret.client.Update(ctx, there, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("write the Secret of the certificates: %w", err)
		}
		return nil
	}
	owner, err := k.Owner(ctx)
	if err != nil {
		return fmt.Errorf("make the Secret of the certificates: %w", err)
	}
	if _, err := k.Secret.client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: k.Secret.name, OwnerReferences: []metav1.OwnerReference{owner}},
		Type:       corev1.SecretTypeTLS,
		Data:       data,
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the Secret of the certificates: %w", err)
	}
	return nil
}
