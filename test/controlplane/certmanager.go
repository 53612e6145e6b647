package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
)

// StartCertManager makes cert-manager's definitions and starts it: its controller,
// for Issuers that sign themselves or have an authority in a Secret, and its
// cainjector.
func (c *ControlPlane) StartCertManager(ctx context.Context) error {
	definitions, err := CertManagerDefinitions(ctx)
	if err != nil {
		return fmt.Errorf("start cert-manager: %w", err)
	}
	if err := c.Define(ctx, definitions); err != nil {
		return fmt.Errorf("start cert-manager: %w", err)
	}
	kubeconfig, err := c.user(certManager, "system:serviceaccount:cert-manager:cert-manager", "system:masters")
	if err != nil {
		return fmt.Errorf("start cert-manager: %w", err)
	}
	ports, err := freePorts(1)
	if err != nil {
		return fmt.Errorf("start cert-manager: %w", err)
	}
	health := fmt.Sprintf("127.0.0.1:%d", ports[0])
	p, err := c.runBinary(certManager, "--kubeconfig="+kubeconfig, "--health-address="+health)
	if err != nil {
		return fmt.Errorf("start cert-manager: %w", err)
	}
	return p.waitReady(ctx, certManager, httpOK(http.DefaultClient, "http://"+health+"/readyz"))
}

// Define makes the CustomResourceDefinitions in a file or directory, and returns
// when the API server serves them.
func (c *ControlPlane) Define(ctx context.Context, path string) error {
	// Some are too long for the annotation of an apply on kubectl's side.
	for _, args := range [][]string{{"apply", "--server-side", "-f", path}, {"wait", "--for=condition=Established", "--timeout=1m", "-f", path}} {
		if out, err := c.Kubectl(ctx, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("define what is in %s: %w\n%s", path, err, out)
		}
	}
	return nil
}

// CertManagerDefinitions is the directory of cert-manager's
// CustomResourceDefinitions, in the version that is built.
func CertManagerDefinitions(ctx context.Context) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	source, err := ModuleSource(ctx, filepath.Join(root, "test", "controlplane", "certmanager"), "github.com/cert-manager/cert-manager")
	return filepath.Join(source, "deploy", "crds"), err
}

// ModuleSource is the directory with the source of a Go module, in the version that
// is required by the module in the directory from. It is fetched if need be.
func ModuleSource(ctx context.Context, from, module string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "-C", from, "mod", "download", "-json", module).Output()
	var found struct{ Dir, Error string }
	if json.Unmarshal(out, &found) == nil && found.Error != "" {
		return "", fmt.Errorf("fetch %s: %s", module, found.Error)
	}
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", module, err)
	}
	return found.Dir, nil
}
