package controlplane

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	// assetsVariable names envtest's own variable for a directory with binaries.
	assetsVariable = "KUBEBUILDER_ASSETS"
	// versionVariable names the variable with which build.sh is told a version
	// of Kubernetes.
	versionVariable = "K8S"
)

// Kubectl finds kubectl, which needs no control plane for much of what it does.
func Kubectl() (string, error) { return binary(kubectl) }

// CoreDNS finds CoreDNS, for a second one with another configuration.
func CoreDNS() (string, error) { return binary(coreDNS) }

// Dockerd finds Docker's engine, which is no part of it. Beside that are docker
// and kind.
func Dockerd() (string, error) { return binary(dockerd) }

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
	// What envtest's own bundle has is taken from there or not at all: a
	// missing one is a mistake better not papered over with another version.
	if len(looked) == 0 || name != etcd && name != apiServer && name != kubectl {
		directory := "controlplane"
		if version := os.Getenv(versionVariable); version != "" {
			directory += "-" + version
		}
		looked = append(looked, filepath.Join(root, "bin", directory))
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
	command := "make controlplane"
	switch name {
	case scheduler, kwok, coreDNS, helm, certManager:
		command = "make whole-cluster"
	case dockerd:
		command = "test/controlplane/build.sh docker"
	}
	return "", fmt.Errorf("find %s: not in %q; run %s", name, looked, command)
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
