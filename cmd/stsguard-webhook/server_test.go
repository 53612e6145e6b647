package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// TestServerStops: at first each answer ends its connection; then nobody else gets
// in, and what is under way is finished.
func TestServerStops(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()

	// For a certificate and a client that trusts it.
	other := httptest.NewTLSServer(nil)
	defer other.Close()
	client := other.Client()

	arrived, answer, stopping := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s := &server{
		address: address, log: logr.Discard(), stopping: stopping,
		tls: &tls.Config{Certificates: other.TLS.Certificates},
		handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(arrived)
				<-answer
			}
			_, _ = io.WriteString(w, "judged")
		}),
	}
	if s.ready(nil) == nil {
		t.Error("ready before it serves")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	for s.ready(nil) != nil {
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}

	get := func(path string) (closed bool, body string, err error) {
		response, err := client.Get("https://" + address + path)
		if err != nil {
			return false, "", err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return response.Close, string(text), err
	}
	if closed, body, err := get("/"); closed || body != "judged" || err != nil {
		t.Errorf("before: closed %v, %q, %v", closed, body, err)
	}
	close(stopping)
	if s.ready(nil) == nil {
		t.Error("ready while it stops")
	}
	if closed, body, err := get("/"); !closed || body != "judged" || err != nil {
		t.Errorf("stopping: closed %v, %q, %v", closed, body, err)
	}
	slow := make(chan error, 1)
	go func() {
		_, body, err := get("/slow")
		if err == nil && body != "judged" {
			t.Errorf("under way: %q", body)
		}
		slow <- err
	}()
	<-arrived
	cancel()
	for {
		c, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		c.Close()
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-ended:
		t.Fatalf("ended before the request: %v", err)
	default:
	}
	close(answer)
	if err := <-slow; err != nil {
		t.Errorf("under way: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
