//go:build linux

// Package registry takes the container image where users do: into a registry, from
// there to a machine that runs it, and into the stores of nodes.
package registry

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/docs"
	"github.com/stsguard/stsguard/test/node"
)

// version is the one that is out, on the page.
const version = "v0.3.0"

// clone is a clean one of this repository, in which the version is a tag.
var clone string

// missing says what is not there.
func missing() error {
	if err := node.Missing(); err != nil {
		return err
	}
	for _, program := range []string{"docker-registry", "podman", "containerd", "ctr"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: apt-get install docker-registry podman containerd", err)
		}
	}
	return nil
}

func TestMain(m *testing.M) {
	if err := missing(); err != nil {
		fmt.Fprintf(os.Stderr, "nothing is tested: %v\n", err)
		os.Exit(m.Run()) // the test says so, too
	}
	os.Exit(node.Isolated(prepare, func(dir string) int {
		clone = filepath.Join(dir, "clone")
		return m.Run()
	}))
}

// prepare clones, and has Go fetch what the image is built from.
func prepare(dir string) error {
	clone := filepath.Join(dir, "clone")
	for _, args := range [][]string{
		{"git", "clone", "--quiet", "--no-local", "../../..", clone},
		{"git", "-C", clone, "tag", "--force", version},
		{"make", "--silent", "-C", clone, "image"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = standalone()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// standalone is the environment without the make that may run the tests.
func standalone() []string { return append(os.Environ(), "MAKELEVEL=", "MAKEFLAGS=") }

func TestImage(t *testing.T) {
	if err := missing(); err != nil {
		t.Skip(err)
	}
	env := append(standalone(), serve(t)...)
	env = append(env, podman(t)...)
	env = append(env, containerd(t)...)

	for _, b := range docs.Blocks(t, "docs/image.md", "skopeo copy") {
		b.Run(t, clone, env)
	}
	for _, b := range docs.Blocks(t, "docs/install.md", "skopeo copy") {
		b.Run(t, clone, env)
	}
	for _, b := range docs.Blocks(t, "docs/image.md", "podman create") {
		// The clone must stay clean.
		dir := t.TempDir()
		b.Run(t, dir, env)
		if list, err := os.ReadFile(filepath.Join(dir, "stsguard-webhook.json")); err != nil || !strings.Contains(string(list), "CycloneDX") {
			t.Errorf("%s: %v: %s", b, err, list)
		}
	}
	for _, b := range docs.Blocks(t, "docs/image.md", "$ skopeo inspect") {
		b.Text = strings.ReplaceAll(b.Text, "go1.26.8 linux/amd64", runtime.Version()+" linux/"+runtime.GOARCH)
		b.Text = strings.ReplaceAll(b.Text, "go1.26.8", runtime.Version())
		lines := strings.Split(strings.TrimSpace(b.Run(t, clone, env)), "\n")
		digest, _, _ := strings.Cut(lines[0], " ")
		if want := "localhost/stsguard-webhook:" + version + "@sha256:" + digest; lines[len(lines)-1] != want {
			t.Errorf("%s: the registry has %s, and built again it is %s", b, want, lines[len(lines)-1])
		}
	}
}

// serve serves a registry that is called registry.example, and whose certificate
// others believe with the variables that it returns.
func serve(t *testing.T) (env []string) {
	const host = "registry.example"
	dir := t.TempDir()
	certificate, key, err := cert.GenerateSelfSignedCertKey(host, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	authority := write("tls.crt", string(certificate))
	config := write("config.yaml", fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: ":443", tls: {certificate: %q, key: %q}}
`, filepath.Join(dir, "blobs"), authority, write("tls.key", string(key))))
	if err := syscall.Mount(write("hosts", "127.0.0.1 localhost "+host+"\n"), "/etc/hosts", "", syscall.MS_BIND, ""); err != nil {
		t.Fatalf("name the registry: %v", err)
	}
	background(t, "docker-registry", "serve", config)
	eventually(t, "the registry is reached", "tcp", host+":443")
	return []string{"SSL_CERT_FILE=" + authority}
}

// podman keeps its images below a directory of the test.
func podman(t *testing.T) (env []string) {
	dir := t.TempDir()
	storage, containers := filepath.Join(dir, "storage.conf"), filepath.Join(dir, "containers.conf")
	err := errors.Join(
		os.WriteFile(storage, fmt.Appendf(nil, "[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(dir, "images"), filepath.Join(dir, "run")), 0o600),
		os.WriteFile(containers, fmt.Appendf(nil, "[containers]\nnetns = \"host\"\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\ntmp_dir = %q\n", filepath.Join(dir, "tmp")), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"CONTAINERS_STORAGE_CONF=" + storage, "CONTAINERS_CONF=" + containers}
}

// containerd is that of a node, which ctr finds with the variables.
func containerd(t *testing.T) (env []string) {
	dir := t.TempDir()
	config, socket := filepath.Join(dir, "config.toml"), filepath.Join(dir, "socket")
	if err := os.WriteFile(config, fmt.Appendf(nil, "version = 2\nroot = %q\nstate = %q\n[grpc]\naddress = %q\n", filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, "containerd", "--config", config)
	eventually(t, "containerd is reached", "unix", socket)
	return []string{"CONTAINERD_ADDRESS=" + socket, "CONTAINERD_SNAPSHOTTER=native"}
}

// background runs a server until the test ends.
func background(t *testing.T, program string, args ...string) {
	t.Helper()
	var log strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", program, log.String()[max(0, log.Len()-4<<10):])
		}
	})
}

func eventually(t *testing.T, what, network, address string) {
	t.Helper()
	controlplane.Eventually(t, time.Minute, what, func() error {
		c, err := net.Dial(network, address)
		if err == nil {
			err = c.Close()
		}
		return err
	})
}
