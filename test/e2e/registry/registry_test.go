//go:build linux

// Package registry takes the container image where users do: into a registry, from
// there to a machine that runs it, and into the stores of engines and nodes.
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
		{"../../controlplane/build.sh", "docker"},
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
	env = append(env, docker(t)...)
	env = append(env, kind(t, env)...)

	for _, b := range docs.Blocks(t, "docs/image.md", "skopeo copy") {
		b.Run(t, clone, env)
	}
	for _, b := range docs.Blocks(t, "docs/image.md", "docker load") {
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
		name := "localhost/stsguard-webhook:" + version
		if want := name + "@sha256:" + digest; lines[len(lines)-1] != want {
			t.Errorf("%s: the registry has %s, and built again it is %s", b, want, lines[len(lines)-1])
		}
		for _, args := range [][]string{
			{"docker", "image", "inspect", "--format", "{{.RepoTags}} {{.Id}}", name},
			{"ctr", "-n", "k8s.io", "images", "list", "name==" + name},
			{"podman", "exec", kindNode, "ctr", "-n", "k8s.io", "images", "list", "name==" + name},
		} {
			if got := run(t, env, args...); !strings.Contains(got, name) || !strings.Contains(got, "sha256:"+digest) {
				t.Errorf("%s: %s is none of\n%s", strings.Join(args, " "), digest, got)
			}
		}
	}
}

// run runs a command, and returns what it prints.
func run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command("env", args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
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

// docker is Docker's engine, with the containerd of its own that it starts. Its
// command line, which finds it with the variables, and kind are beside it.
func docker(t *testing.T) (env []string) {
	engine, err := controlplane.Dockerd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	background(t, engine, "--host", "unix://"+socket, "--pidfile", filepath.Join(dir, "pid"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--storage-driver", "native",
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--userland-proxy=false")
	eventually(t, "Docker is reached", "unix", socket)
	return []string{"DOCKER_HOST=unix://" + socket, "PATH=" + filepath.Dir(engine) + ":" + os.Getenv("PATH")}
}

// kindNode is the name of the only node of kind's cluster.
const kindNode = "kind-control-plane"

// kind is a node of a cluster as kind knows it: by its labels, and by the
// containerd in it. It runs in podman and has the programs of this machine.
func kind(t *testing.T, env []string) []string {
	root := t.TempDir()
	args := []string{"podman", "run", "--detach", "--name", kindNode, "--privileged",
		"--label", "io.x-k8s.kind.cluster=kind", "--label", "io.x-k8s.kind.role=control-plane"}
	for _, dir := range []string{"etc/containerd", "proc", "sys", "dev", "run", "tmp", "var"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			args = append(args, "--volume", dir+":"+dir+":ro")
		}
	}
	config := "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n"
	if err := os.WriteFile(filepath.Join(root, "etc/containerd/config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, env, append(args, "--tmpfs", "/run", "--tmpfs", "/tmp", "--tmpfs", "/var", "--rootfs", root, "containerd")...)
	t.Cleanup(func() { run(t, env, "podman", "rm", "--force", kindNode) })
	controlplane.Eventually(t, time.Minute, "the node's containerd is reached", func() error {
		cmd := exec.Command("podman", "exec", kindNode, "ctr", "version")
		cmd.Env = env
		return cmd.Run()
	})
	return []string{"KIND_EXPERIMENTAL_PROVIDER=podman"}
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
		_ = cmd.Process.Signal(syscall.SIGTERM) // Docker's engine undoes its mounts
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
