package security

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/docs"
	"github.com/stsguard/stsguard/test/guarded"
)

// TestReadme installs the webhook as the README says and starts it with its flags,
// and those that take the place of a pod.
func TestReadme(t *testing.T) {
	host, err := guarded.EndpointHost()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := controlplane.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	health := fmt.Sprintf("127.0.0.1:%d", ports[1])
	// It is named without a directory, so it is in that of the process.
	if err := os.WriteFile(filepath.Join(shared.Dir, "stsguard.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, b := range docs.Blocks(t, "README.md", "go install ./cmd/stsguard-webhook") {
		for _, c := range b.Commands() {
			fields := strings.Fields(c.Line)
			if fields[0] == "go" {
				b.RunCommand(t, c, docs.Root(t), append(os.Environ(), "GOBIN="+bin))
				continue
			}
			p, err := shared.Run("readme", filepath.Join(bin, fields[0]), append(fields[1:], "--kubeconfig="+shared.kubeconfig,
				"--host="+host, fmt.Sprintf("--port=%d", ports[0]), "--health-address="+health, fmt.Sprintf("--metrics-address=127.0.0.1:%d", ports[2]))...)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := p.WaitReady(ctx, fields[0], func(ctx context.Context) error {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+health+"/readyz", nil)
				if err != nil {
					return err
				}
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					return err
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					return fmt.Errorf("not ready: %s", response.Status)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			if err := p.Stop(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
	}
}
