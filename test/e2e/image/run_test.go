package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

// The container has what a cluster would give it under the strictest Pod
// Security Standard, and a read-only root file system on top.
func TestRunsInAContainer(t *testing.T) {
	for _, tool := range []string{"runc", "skopeo", "umoci"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v: apt-get install runc skopeo umoci", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may start the container")
	}
	cp, err := controlplane.Start(t.Context(), controlplane.Options{WithoutControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		t.Fatal(err)
	}
	user, err := cp.AddUser("stsguard-webhook")
	if err != nil {
		t.Fatal(err)
	}
	if err := guarded.Grant(t.Context(), client, "stsguard-webhook"); err != nil {
		t.Fatal(err)
	}
	ports, err := controlplane.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	base, health := fmt.Sprintf("https://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])

	c := start(t, cp.Dir, secrets(t, cp, user),
		"--cert-dir=/secrets", "--kubeconfig=/secrets/kubeconfig", "--namespace=stsguard", "--host=127.0.0.1", "--shutdown-delay=1s",
		fmt.Sprintf("--port=%d", ports[0]), fmt.Sprintf("--health-address=127.0.0.1:%d", ports[1]), fmt.Sprintf("--metrics-address=127.0.0.1:%d", ports[2]))
	c.eventually(t, "the webhook is ready", func() error { return get(t.Context(), health+"/readyz") })
	if err := guarded.Register(t.Context(), client, base, cp.Config.CAData); err != nil {
		t.Fatal(err)
	}

	t.Run("it is asked", func(t *testing.T) {
		c.eventually(t, "the API server asks", func() error {
			err := apply(t, cp, "no-name.yaml", "--dry-run=server")
			if err == nil {
				return errors.New("a StatefulSet without serviceName is let in")
			}
			if !strings.Contains(err.Error(), "[service-name-missing]") {
				return err
			}
			return nil
		})
		if err := apply(t, cp, "pair.yaml"); err != nil {
			t.Error(err)
		}
		if err := apply(t, cp, "missing.yaml"); err == nil || !strings.Contains(err.Error(), "[service-not-found]") {
			t.Errorf("got %v", err)
		}
		if _, err := client.AppsV1().StatefulSets("default").Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		if _, err := client.AppsV1().StatefulSets("default").Get(t.Context(), "db", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the denied one: %v", err)
		}
	})
	t.Run("it may do nothing else", func(t *testing.T) { c.testConfined(t) })
	t.Run("it has no shell", func(t *testing.T) {
		for _, shell := range []string{"sh", "/bin/sh", "/bin/bash", "/busybox/sh", "ls"} {
			out, err := c.runc(t.Context(), "exec", c.id, shell).CombinedOutput()
			if err == nil || !regexp.MustCompile("no such file or directory|executable file not found").Match(out) {
				t.Errorf("%s: %v: %s", shell, err, out)
			}
		}
	})
	t.Run("it says its version", func(t *testing.T) {
		out, err := c.runc(t.Context(), "exec", c.id, "stsguard-webhook", "--version").CombinedOutput()
		_, labels := open(t, built.archive).image(t, runtime.GOARCH)
		if err != nil || !strings.HasPrefix(string(out), "stsguard-webhook "+labels["org.opencontainers.image.version"]+" go") {
			t.Errorf("got %v: %s", err, out)
		}
	})
	t.Run("it ends when told to", func(t *testing.T) {
		if err := c.runc(t.Context(), "kill", c.id, "TERM").Run(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-c.done:
		case <-time.After(30 * time.Second):
			t.Fatalf("it runs on\n%s", c.log(t))
		}
		if c.err != nil {
			t.Errorf("%v\n%s", c.err, c.log(t))
		}
	})
}

// container is a running one.
type container struct {
	id, state, output string
	done              chan struct{}
	err               error // how it ended; valid when done is closed
}

// start unpacks the image as others do, and runs it in the network of the host,
// since that is where the API server is. However the test ends, the container
// does, too.
func start(t *testing.T, dir, secrets string, args ...string) *container {
	t.Helper()
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	bundle := filepath.Join(dir, "bundle")
	run("skopeo", "copy", "oci-archive:"+built.archive, "oci:"+filepath.Join(dir, "layout")+":image")
	run("umoci", "unpack", "--image", filepath.Join(dir, "layout")+":image", bundle)
	confine(t, filepath.Join(bundle, "config.json"), secrets, args)

	c := &container{
		id:     filepath.Base(dir),
		state:  filepath.Join(dir, "runc"),
		output: filepath.Join(dir, "container.log"),
		done:   make(chan struct{}),
	}
	// The read ends when our end of the pipe is closed, if only by our death.
	remover := exec.Command("sh", "-c", `read _; exec runc --root "$1" delete --force "$2"`, "sh", c.state, c.id)
	remover.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end, err := remover.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := remover.Start(); err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(c.output)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := c.runc(context.Background(), "run", "--bundle", bundle, c.id)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		end.Close()
		if err := remover.Wait(); err != nil {
			t.Errorf("remove the container: %v", err)
		}
		<-c.done
	})
	return c
}

func (c *container) runc(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "runc", append([]string{"--root", c.state}, args...)...)
}

func (c *container) log(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(c.output)
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

// eventually tries again for a while, or until the container has ended.
func (c *container) eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-c.done:
			t.Fatalf("the container has ended: %v\n%s", c.err, c.log(t))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v\n%s", what, err, c.log(t))
		}
	}
}

// testConfined asks the kernel what the program may do.
func (c *container) testConfined(t *testing.T) {
	out, err := c.runc(t.Context(), "state", c.id).Output()
	if err != nil {
		t.Fatal(err)
	}
	var state struct{ Pid int }
	if err := json.Unmarshal(out, &state); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", state.Pid))
	if err != nil {
		t.Fatal(err)
	}
	const none = "0000000000000000"
	for _, want := range []string{
		"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532",
		"CapInh:\t" + none, "CapPrm:\t" + none, "CapEff:\t" + none, "CapBnd:\t" + none, "CapAmb:\t" + none,
		"NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !slices.Contains(strings.Split(string(status), "\n"), want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", state.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S+ / ro[, ]`).Match(mounts) {
		t.Errorf("the root file system can be written to:\n%s", mounts)
	}
}

// secrets is a directory with what a cluster mounts: the serving certificate
// and how to reach the API server, for everybody in the container to read.
func secrets(t *testing.T, cp *controlplane.ControlPlane, user *controlplane.User) string {
	t.Helper()
	certificate, key, err := cp.IssueServing()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := os.ReadFile(user.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cp.Dir, "secrets")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key, "kubeconfig": kubeconfig} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// object is one of JSON's.
type object = map[string]any

// confine changes what umoci makes of the image: the user, the program and the
// environment stay.
func confine(t *testing.T, path, secrets string, args []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var config object
	if err := json.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	process, linux := config["process"].(object), config["linux"].(object)
	process["terminal"] = false
	process["capabilities"] = object{}
	process["noNewPrivileges"] = true
	for _, arg := range args {
		process["args"] = append(process["args"].([]any), arg)
	}
	config["root"].(object)["readonly"] = true
	config["mounts"] = append(config["mounts"].([]any), object{
		"destination": "/secrets", "type": "bind", "source": secrets, "options": []string{"bind", "ro"},
	})
	linux["namespaces"] = slices.DeleteFunc(linux["namespaces"].([]any), func(n any) bool { return n.(object)["type"] == "network" })
	linux["seccomp"] = seccomp(t)
	if content, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// seccomp is the profile that comes with skopeo, which container engines call
// RuntimeDefault, as far as it is for a container without capabilities.
func seccomp(t *testing.T) object {
	t.Helper()
	content, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	type condition struct{ Caps, Arches []string }
	type syscalls struct {
		Names    []string         `json:"names"`
		Action   string           `json:"action"`
		ErrnoRet *uint            `json:"errnoRet,omitempty"`
		Args     []map[string]any `json:"args,omitempty"`
	}
	var profile struct {
		DefaultAction   string
		DefaultErrnoRet *uint
		Syscalls        []struct {
			syscalls
			Includes, Excludes condition
		}
	}
	if err := json.Unmarshal(content, &profile); err != nil {
		t.Fatal(err)
	}
	var rules []syscalls
	for _, s := range profile.Syscalls {
		here := len(s.Includes.Arches) == 0 || slices.Contains(s.Includes.Arches, runtime.GOARCH)
		if here && len(s.Includes.Caps) == 0 && !slices.Contains(s.Excludes.Arches, runtime.GOARCH) {
			rules = append(rules, s.syscalls)
		}
	}
	return object{"defaultAction": profile.DefaultAction, "defaultErrnoRet": profile.DefaultErrnoRet, "syscalls": rules}
}

// apply applies one of the demonstration's manifests.
func apply(t *testing.T, cp *controlplane.ControlPlane, name string, args ...string) error {
	cmd := cp.Kubectl(t.Context(), append([]string{"apply", "-f", filepath.Join(root, "test", "demo", "manifests", name)}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
