package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/certs"
	"github.com/stsguard/stsguard/registration"
	"github.com/stsguard/stsguard/verdict"
)

// readEvery is how often a leader looks at the authorities in --cert-dir.
const readEvery = 10 * time.Second

// authorities is the file in --cert-dir with whom to trust, as in cert-manager's
// Secrets.
const authorities = "ca.crt"

// registered is what keeps the API server asking this stsguard: webhook
// configurations, and the certificates, if they are our own.
type registered struct {
	configurations *registration.Keeper
	certificate    certificate
	leader         *leader
}

// newRegistered puts it together; nothing happens before it is started.
func newRegistered(o options, connection *rest.Config, clusterDomain string) (*registered, error) {
	connection = rest.CopyConfig(connection)
	connection.QPS = -1
	client, err := kubernetes.NewForConfig(connection)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	lease, err := newLease(connection, o.namespace, o.register)
	if err != nil {
		return nil, err
	}
	r := &registered{configurations: &registration.Keeper{
		Client: client,
		Options: registration.Options{
			Name: o.register, Namespace: o.namespace, Service: o.service,
			Policies: o.policies, TimeoutSeconds: int32(o.timeout / time.Second), Annotations: o.annotations,
		},
		Clock: time.Now,
	}}
	r.leader = &leader{lock: lease, begin: func() {}, watch: r.configurations.Watch, clock: time.Now, nudged: make(chan struct{}, 1)}
	names := certs.Names(o.service, o.namespace, clusterDomain)
	if o.certDir != "" {
		r.certificate = &certs.Files{Dir: o.certDir, Name: names[0], Trusted: r.configurations.Trusted, Clock: time.Now}
		r.leader.step = func(ctx context.Context) (time.Time, error) {
			bundle, err := r.trust(ctx, filepath.Join(o.certDir, authorities))
			if err == nil {
				_, err = r.configurations.Apply(ctx, bundle)
			}
			return time.Now().Add(readEvery), err
		}
		return r, nil
	}

	secret := certs.NewSecret(client.CoreV1().Secrets(o.namespace), o.certSecret, time.Now)
	r.certificate = secret
	keeper := &certs.Keeper{
		Secret:    secret,
		Names:     names,
		Lifetimes: certs.Lifetimes{Serving: o.certLifetime},
		Owner:     r.configurations.Owner,
		Trust:     r.configurations.Apply,
		Clock:     time.Now,
	}
	r.leader.begin, r.leader.step = keeper.Forget, keeper.Step
	r.leader.watch = func(ctx context.Context, nudge func()) {
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-secret.Changed():
					nudge()
				}
			}
		}()
		r.configurations.Watch(ctx, nudge)
	}
	return r, nil
}

// trust is whom the API server is to trust: the authorities in the file, and those
// that it trusts already, since a replica may serve a certificate of theirs.
func (r *registered) trust(ctx context.Context, file string) ([]byte, error) {
	bundle, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read whom the API server is to trust: %w", err)
	}
	trusted, err := r.configurations.Trusted(ctx)
	if err != nil {
		return nil, err
	}
	if bundle, err = certs.Together(time.Now(), bundle, trusted...); err != nil {
		return nil, fmt.Errorf("read whom the API server is to trust: %s: %w", file, err)
	}
	return bundle, nil
}

// use has the API server leave alone what this judge does.
func (r *registered) use(j *verdict.Judge) {
	namespaces, usernames := j.LeftAlone()
	r.configurations.SetExemptions(registration.Exemptions{Namespaces: namespaces, Usernames: usernames})
	r.leader.nudge()
}
