package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 10 * time.Second
	// answerTimeout is longer than any API server waits.
	answerTimeout = 35 * time.Second
	// idleTimeout is longer than the 90 seconds after which the API server closes
	// a connection. If the server did so first, a request might be on its way.
	idleTimeout = 2 * time.Minute
	// drainTimeout is for requests under way when the server ends.
	drainTimeout = 30 * time.Second
)

// server serves the webhooks. It isn't controller-runtime's since the API server
// sends a request once: one that meets a connection at its end fails, and with it
// what somebody wanted to create. So connections are ended in answers, where the
// API server expects it, and an idle one is left for it to close, until at the end
// nobody should ask any longer.
type server struct {
	address string
	tls     *tls.Config
	handler http.Handler
	log     logr.Logger
	// stopping is closed when no more requests should come.
	stopping <-chan struct{}

	serving atomic.Bool
}

// Start serves until the context is done, and then finishes what is under way.
func (s *server) Start(ctx context.Context) error {
	listener, err := tls.Listen("tcp", s.address, s.tls)
	if err != nil {
		return fmt.Errorf("serve webhooks: %w", err)
	}
	s.log.Info("serving", "address", listener.Addr().String())
	serving := &http.Server{
		Handler:           s.polite(s.handler),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // which has the logger
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
	}
	ended := make(chan error, 1)
	go func() { ended <- serving.Serve(listener) }()
	s.serving.Store(true)
	select {
	case err := <-ended:
		return fmt.Errorf("serve webhooks: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := serving.Shutdown(drain); err != nil {
		return fmt.Errorf("finish requests: %w", err)
	}
	return nil
}

// NeedLeaderElection: every replica serves.
func (*server) NeedLeaderElection() bool { return false }

// ready is for a readiness probe.
func (s *server) ready(*http.Request) error {
	select {
	case <-s.stopping:
		return errors.New("stopping")
	default:
	}
	if !s.serving.Load() {
		return errors.New("not serving yet")
	}
	return nil
}

// polite ends connections with an answer once the server is to stop, and those
// whose body doesn't come in time or whose answer nobody takes.
func (s *server) polite(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, connection := time.Now(), http.NewResponseController(w)
		if connection.SetReadDeadline(now.Add(bodyTimeout)) != nil || connection.SetWriteDeadline(now.Add(answerTimeout)) != nil {
			// The other end has gone.
			return
		}
		select {
		case <-s.stopping:
			w.Header().Set("Connection", "close")
		default:
		}
		next.ServeHTTP(w, r)
	})
}
