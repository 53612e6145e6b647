package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/stsguard/stsguard/registration"
)

const (
	// The times of Kubernetes' own controllers.
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second

	// stepTimeout ends a step that hangs, before somebody else leads.
	stepTimeout = renewDeadline
	// lookEvery is how often everything is looked at though nothing was heard.
	lookEvery = time.Minute
	// Failed steps are tried again, less and less often.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// leader does what one replica at a time does. Losing the lead ends nothing but
// that: the manager of controller-runtime would end the process, just when the API
// server comes back from a restart and asks.
type leader struct {
	lock resourcelock.Interface
	// begin is called whenever this replica begins to lead.
	begin func()
	// step does what is to be done now, and says when to come back.
	step func(context.Context) (due time.Time, err error)
	// watch calls nudge when something has changed that step looks after.
	watch func(ctx context.Context, nudge func())
	clock func() time.Time

	nudged chan struct{}
}

// newLease is the Lease of this name by which replicas agree on who leads.
func newLease(connection *rest.Config, namespace, name string) (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("elect a leader: %w", err)
	}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, name,
		resourcelock.ResourceLockConfig{Identity: host + "_" + utilrand.String(8)}, connection, renewDeadline)
	if err != nil {
		return nil, fmt.Errorf("elect a leader: %w", err)
	}
	return lock, nil
}

// Start leads whenever it is this replica's turn, until the context is done.
func (l *leader) Start(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx).WithName("leader")
	for ctx.Err() == nil {
		var leading sync.WaitGroup
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock:            l.lock,
			LeaseDuration:   leaseDuration,
			RenewDeadline:   renewDeadline,
			RetryPeriod:     retryPeriod,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					leading.Go(func() { l.watch(ctx, l.nudge) })
					leading.Go(func() { l.lead(logr.NewContext(ctx, log)) })
				},
				OnStoppedLeading: func() { log.Info("not leading") },
			},
		})
		if err != nil {
			return fmt.Errorf("elect a leader: %w", err)
		}
		elector.Run(ctx)
		leading.Wait()
	}
	return nil
}

// NeedLeaderElection tells controller-runtime's manager that this one elects by
// itself.
func (l *leader) NeedLeaderElection() bool { return false }

// nudge has step called soon.
func (l *leader) nudge() {
	select {
	case l.nudged <- struct{}{}:
	default:
	}
}

// lead takes one step after the other.
func (l *leader) lead(ctx context.Context) {
	log := logr.FromContextOrDiscard(ctx)
	log.Info("leading")
	l.begin()
	retry, said := firstRetry, ""
	for {
		step, cancel := context.WithTimeout(ctx, stepTimeout)
		due, err := l.step(step)
		cancel()
		if ctx.Err() != nil {
			return
		}
		var wait time.Duration
		switch {
		case err == nil:
			wait = max(0, min(due.Sub(l.clock()), lookEvery))
			retry, said = firstRetry, ""
		case errors.Is(err, registration.ErrNoEndpoint):
			if said != err.Error() {
				log.Info("the API server is not to ask yet", "reason", err.Error())
			}
			wait, said = firstRetry, err.Error()
		default:
			if said != err.Error() {
				log.Error(err, "will try again")
			}
			wait, said = retry, err.Error()
			retry = min(2*retry, lastRetry)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-l.nudged:
			timer.Stop()
		case <-timer.C:
		}
	}
}
