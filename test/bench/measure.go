package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"
)

// What is measured. Every request goes to each webhook on each server once.
const (
	warmup          = 1000
	requestsPerSize = 2000
	parallel        = 8
	startTimeout    = time.Minute
)

var cacheSizes = []int{1_000, 100_000}

// target is one webhook on one server.
type target struct {
	url     string
	objects int
	path    string
	took    []time.Duration
}

func measure(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "stsguard-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	client, err := certificate(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %s/%s, %s, %d CPUs; go run ./test/bench\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, cpu(), runtime.NumCPU())
	fmt.Fprintf(out, "TLS 1.3 and HTTP/2 from another process; %d distinct requests for each body size, sent in turn to both webhooks at both cache sizes\n\n", requestsPerSize)

	var targets []*target
	for _, objects := range cacheSizes {
		base, stop, err := startServer(ctx, client, dir, objects)
		if err != nil {
			return err
		}
		defer stop()
		for _, path := range []string{pathAllow, pathStsguard} {
			targets = append(targets, &target{url: base + path + "?timeout=10s", objects: objects, path: path})
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "body\tobjects\tallow p50\tstsguard p50\tratio\tallow p99\tstsguard p99\tratio\tallow/s\tstsguard/s\t")
	for _, s := range sizes {
		if err := measureSize(ctx, client, table, targets, s); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\np50 and p99: one request at a time. Requests per second: %d at a time, server and client on the same CPUs.\n", parallel)
	return nil
}

func measureSize(ctx context.Context, client *http.Client, table io.Writer, targets []*target, s size) error {
	bodies, err := reviews(requestsPerSize+warmup, s)
	if err != nil {
		return err
	}
	for _, t := range targets {
		t.took = make([]time.Duration, 0, requestsPerSize)
	}
	for i, body := range bodies {
		for j := range targets {
			// Each goes first as often as the others.
			t := targets[(i+j)%len(targets)]
			took, err := ask(ctx, client, t.url, body)
			if err != nil {
				return err
			}
			if i >= warmup {
				t.took = append(t.took, took)
			}
		}
	}
	median := map[int]time.Duration{}
	for i := 0; i < len(targets); i += 2 {
		allow, guard := targets[i], targets[i+1]
		rates := [2]float64{}
		for k, t := range []*target{allow, guard} {
			if rates[k], err = throughput(ctx, client, t.url, bodies[warmup:]); err != nil {
				return err
			}
		}
		median[guard.objects] = quantile(guard.took, .5)
		fmt.Fprintf(table, "%.1f KB\t%d\t%s\t%s\t%.2f\t%s\t%s\t%.2f\t%.0f\t%.0f\t\n",
			float64(len(bodies[len(bodies)-1]))/1000, allow.objects,
			micros(quantile(allow.took, .5)), micros(quantile(guard.took, .5)), ratio(allow.took, guard.took, .5),
			micros(quantile(allow.took, .99)), micros(quantile(guard.took, .99)), ratio(allow.took, guard.took, .99),
			rates[0], rates[1])
	}
	small, large := cacheSizes[0], cacheSizes[len(cacheSizes)-1]
	fmt.Fprintf(table, "\t%d:%d\t\t\t%.2f\t\t\t\t\t\t\n", large, small, float64(median[large])/float64(median[small]))
	return nil
}

// ask sends one request and returns the time until its answer was read.
func ask(ctx context.Context, client *http.Client, url string, body []byte) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	answer, err := io.ReadAll(response.Body)
	took := time.Since(began)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0, err
	}
	var review struct {
		Response struct {
			Allowed  bool     `json:"allowed"`
			Warnings []string `json:"warnings"`
		} `json:"response"`
	}
	if err := json.Unmarshal(answer, &review); err != nil || !review.Response.Allowed || len(review.Response.Warnings) > 0 {
		return 0, fmt.Errorf("%s answered %s: %s", url, response.Status, answer)
	}
	return took, nil
}

// throughput is how many requests a webhook answers per second.
func throughput(ctx context.Context, client *http.Client, url string, bodies [][]byte) (float64, error) {
	var next atomic.Int64
	var running sync.WaitGroup
	failures := make([]error, parallel)
	began := time.Now()
	for worker := range parallel {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(bodies)) && failures[worker] == nil; i = next.Add(1) - 1 {
				_, failures[worker] = ask(ctx, client, url, bodies[i])
			}
		})
	}
	running.Wait()
	return float64(len(bodies)) / time.Since(began).Seconds(), errors.Join(failures...)
}

func quantile(took []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(q*float64(len(sorted)-1))]
}

func ratio(a, b []time.Duration, q float64) float64 {
	return float64(quantile(b, q)) / float64(quantile(a, q))
}

func micros(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

// startServer runs this program as a server and waits for it.
func startServer(ctx context.Context, client *http.Client, dir string, objects int) (base string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return "", nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, serveCommand, dir, port, fmt.Sprint(objects))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start the server: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/ready", nil)
		if err != nil {
			stop()
			return "", nil, err
		}
		response, err := client.Do(request)
		if err == nil {
			return "https://" + address, stop, response.Body.Close()
		}
		if ctx.Err() != nil {
			stop()
			return "", nil, fmt.Errorf("wait for the server with %d objects: %w", objects, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// certificate writes a serving certificate into dir and returns a client that
// trusts it.
func certificate(dir string) (*http.Client, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 1),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "tls.crt"), public, 0o600),
		os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600),
	); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	return &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
	}}, nil
}

// cpu is the processor's name, where the system tells.
func cpu() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}
