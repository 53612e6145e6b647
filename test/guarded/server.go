package guarded

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stsguard/stsguard/test/controlplane"
)

// ServerOptions say how a webhook server differs from the usual.
type ServerOptions struct {
	// Kubeconfig is the file with which it reaches the API server.
	Kubeconfig string
	// Host is the address on which it is asked; empty for that of loopback, for
	// which it has a certificate.
	Host string
	// Config is the content of stsguard.yaml; empty for none.
	Config string
	// Args are more flags. They come last, so that they win.
	Args []string
}

// Portable leaves out the flags of a container that say what its pod has: ports,
// files, and the time for others to hear of its end. A server that runs beside the
// control plane has its own.
func Portable(flags []string) []string {
	return slices.DeleteFunc(slices.Clone(flags), func(flag string) bool {
		name, _, _ := strings.Cut(flag, "=")
		return slices.Contains([]string{"--port", "--health-address", "--metrics-address", "--config", "--cert-dir", "--shutdown-delay"}, name)
	})
}

// Server is a running stsguard-webhook.
type Server struct {
	// Base is the address of /validate and /mutate, Health that of /readyz and
	// /healthz, Metrics that of /metrics.
	Base, Health, Metrics string
	// Dir has the certificate and the configuration.
	Dir     string
	Process *controlplane.Process

	controlPlane *controlplane.ControlPlane
}

// Build builds the webhook's binary and returns its path. When it is up to
// date that takes a moment.
func Build(ctx context.Context) (string, error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	path := filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "bin", "stsguard-webhook")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/stsguard/stsguard/cmd/stsguard-webhook")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build stsguard-webhook: %w\n%s", err, out)
	}
	return path, nil
}

// StartServer starts a webhook server with a certificate for the loopback
// address, and doesn't wait for it to be ready. Stopping the control plane
// ends it.
func StartServer(ctx context.Context, cp *controlplane.ControlPlane, opts ServerOptions) (*Server, error) {
	path, err := Build(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cp.Dir, "webhook-")
	if err != nil {
		return nil, fmt.Errorf("start stsguard-webhook: %w", err)
	}
	ports, err := controlplane.FreePorts(3)
	if err != nil {
		return nil, fmt.Errorf("start stsguard-webhook: %w", err)
	}
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	host := cmp.Or(opts.Host, "127.0.0.1")
	s := &Server{
		Base:         fmt.Sprintf("https://%s:%d", host, ports[0]),
		Health:       "http://" + address(1),
		Metrics:      "http://" + address(2) + "/metrics",
		Dir:          dir,
		controlPlane: cp,
	}
	if err := s.RotateCertificate(); err != nil {
		return nil, err
	}
	args := []string{
		"--host=" + host, fmt.Sprintf("--port=%d", ports[0]), "--cert-dir=" + dir,
		"--health-address=" + address(1), "--metrics-address=" + address(2), "--metrics-plain-http",
		"--kubeconfig=" + opts.Kubeconfig, "--namespace=stsguard", "--shutdown-delay=0s", "--log-format=text",
	}
	if opts.Config != "" {
		if err := s.SetConfig(opts.Config); err != nil {
			return nil, err
		}
		args = append(args, "--config="+s.configPath())
	}
	if s.Process, err = cp.Run(filepath.Base(dir), path, append(args, opts.Args...)...); err != nil {
		return nil, err
	}
	return s, nil
}

// readyTimeout is how long a server may take to get ready. It takes a second, more
// when its certificate is yet to be trusted.
const readyTimeout = 2 * time.Minute

// WaitReady returns when the server says that it is ready. The error says why it
// never got so.
func (s *Server) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return s.Process.WaitReady(ctx, "stsguard-webhook", s.Ready)
}

// Ready returns an error that says why the server isn't ready.
func (s *Server) Ready(ctx context.Context) error {
	_, err := get(ctx, s.Health+"/readyz?verbose")
	return err
}

// Scrape returns the metrics in Prometheus' text format.
func (s *Server) Scrape(ctx context.Context) (string, error) { return get(ctx, s.Metrics) }

// RotateCertificate puts a new certificate of the same authority in place.
func (s *Server) RotateCertificate() error {
	certificate, key, err := s.controlPlane.IssueServing()
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(s.Dir, "tls.crt"), certificate); err != nil {
		return err
	}
	return replace(filepath.Join(s.Dir, "tls.key"), key)
}

// SetConfig replaces the configuration of a server that was started with one.
// It is read within two seconds.
func (s *Server) SetConfig(content string) error {
	return replace(s.configPath(), []byte(content))
}

// Stop ends the server as Kubernetes would.
func (s *Server) Stop() error { return s.Process.Stop(syscall.SIGTERM) }

func (s *Server) configPath() string { return filepath.Join(s.Dir, "stsguard.yaml") }

// replace exchanges a file in one step.
func replace(path string, content []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("get %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %s: %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
