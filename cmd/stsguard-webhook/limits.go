package main

import (
	"net/http"
	"time"
)

// What controller-runtime's server leaves open: it ends connections whose TLS
// handshake or header takes over 32 seconds, and those that are idle for 90.
const (
	bodyTimeout = 10 * time.Second
	// answerTimeout is longer than any API server waits.
	answerTimeout = 35 * time.Second
)

// timed ends connections whose body doesn't come in time, or whose answer nobody
// takes.
func timed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, connection := time.Now(), http.NewResponseController(w)
		if connection.SetReadDeadline(now.Add(bodyTimeout)) != nil || connection.SetWriteDeadline(now.Add(answerTimeout)) != nil {
			// The other end has gone.
			return
		}
		next.ServeHTTP(w, r)
	})
}
