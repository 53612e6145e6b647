package controlplane

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// assetsVariable names envtest's own variable for a directory with binaries.
const assetsVariable = "KUBEBUILDER_ASSETS"

// Kubectl finds kubectl, which needs no control plane for much of what it does.
func Kubectl() (string, error) { return binary(kubectl) }

// binary finds a component: where KUBEBUILDER_ASSETS says, else where
// build.sh puts it.
func binary(name string) (string, error) {
	var looked []string
	if assets := os.Getenv(assetsVariable); assets != "" {
		looked = append(looked, assets)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	// envtest's bundle has no kube-controller-manager; any other that is
	// missing there is a mistake better not papered over with another version.
	if len(looked) == 0 || name == controllerManager {
		looked = append(looked, filepath.Join(root, "bin", "controlplane"))
	}
	for _, dir := range looked {
		path, err := exec.LookPath(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
		return path, nil
	}
	return "", fmt.Errorf("find %s: not in %q; run make controlplane", name, looked)
}

// moduleRoot is the nearest directory upwards with a go.mod.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod in %s or above", start)
		}
	}
}
