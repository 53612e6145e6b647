package outages

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/stsguard/stsguard/test/controlplane"
)

// proxy stands between the webhook and the API server. It holds back what
// watches tell, and passes everything else on at once.
type proxy struct {
	server *http.Server

	mu      sync.Mutex
	conns   map[net.Conn]bool
	refuses bool
	delay   time.Duration
	changed chan struct{} // closed when the delay changes
}

// newProxy makes one that acts for a user, and a kubeconfig that leads to it.
func newProxy(cp *controlplane.ControlPlane, user *controlplane.User) (*proxy, string, error) {
	upstream, err := url.Parse(user.Config.Host)
	if err != nil {
		return nil, "", err
	}
	transport, err := rest.TransportFor(user.Config)
	if err != nil {
		return nil, "", err
	}
	certificate, key, err := cp.IssueServing()
	if err != nil {
		return nil, "", err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	p := &proxy{conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	quiet := log.New(io.Discard, "", 0)
	p.server = &http.Server{
		ErrorLog:  quiet,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		ConnState: p.connState,
		Handler: &httputil.ReverseProxy{
			Transport:     transport,
			FlushInterval: -1,
			ErrorLog:      quiet,
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
			ModifyResponse: func(r *http.Response) error {
				if r.Request.URL.Query().Has("watch") {
					r.Body = p.hold(r.Body)
				}
				return nil
			},
		},
	}
	go func() { _ = p.server.ServeTLS(listener, "", "") }()

	kubeconfig, err := clientcmd.LoadFromFile(user.Kubeconfig)
	if err != nil {
		return nil, "", errors.Join(err, p.server.Close())
	}
	for _, cluster := range kubeconfig.Clusters {
		cluster.Server = "https://" + listener.Addr().String()
	}
	path := filepath.Join(cp.Dir, "proxy.kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		return nil, "", errors.Join(fmt.Errorf("write %s: %w", path, err), p.server.Close())
	}
	return p, path, nil
}

func (p *proxy) connState(c net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		if p.refuses {
			_ = c.Close()
			return
		}
		p.conns[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(p.conns, c)
	}
}

// cut closes every connection to the webhook.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// refuse cuts, and takes no new connections until it is taken back.
func (p *proxy) refuse(refuses bool) {
	p.mu.Lock()
	p.refuses = refuses
	p.mu.Unlock()
	if refuses {
		p.cut()
	}
}

// setDelay holds back what watches tell by so much, from now on.
func (p *proxy) setDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
	close(p.changed)
	p.changed = make(chan struct{})
}

// chunk is something that a watch told.
type chunk struct {
	at   time.Time
	data []byte
}

// held is the body of a watch's answer while it is held back.
type held struct {
	*io.PipeReader
	body io.Closer
	once sync.Once
	done chan struct{}
}

func (p *proxy) hold(body io.ReadCloser) io.ReadCloser {
	reader, writer := io.Pipe()
	h := &held{PipeReader: reader, body: body, done: make(chan struct{})}
	// Room for all that is told during a test: the API server must not notice.
	chunks := make(chan chunk, 1<<16)
	go func() {
		defer close(chunks)
		buffer := make([]byte, 64<<10)
		for {
			n, err := body.Read(buffer)
			if n > 0 {
				chunks <- chunk{time.Now(), append([]byte(nil), buffer[:n]...)}
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		defer writer.Close()
		for c := range chunks {
			if !p.due(c.at, h.done) {
				continue
			}
			if _, err := writer.Write(c.data); err != nil {
				continue
			}
		}
	}()
	return h
}

// due returns true when the delay since then is over, or false when nobody
// waits any more.
func (p *proxy) due(at time.Time, done <-chan struct{}) bool {
	for {
		p.mu.Lock()
		left, changed := p.delay-time.Since(at), p.changed
		p.mu.Unlock()
		select {
		case <-done:
			return false
		default:
		}
		if left <= 0 {
			return true
		}
		timer := time.NewTimer(left)
		select {
		case <-done:
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (h *held) Close() error {
	h.once.Do(func() { close(h.done) })
	_ = h.PipeReader.Close()
	return h.body.Close()
}
