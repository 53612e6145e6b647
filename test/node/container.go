//go:build linux

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// object is one of JSON's.
type object = map[string]any

// Image is an unpacked image.
type Image struct{ bundle string }

// Unpack unpacks an OCI archive as container engines do, below the directory.
func Unpack(ctx context.Context, archive, dir string) (*Image, error) {
	layout, bundle := filepath.Join(dir, "layout"), filepath.Join(dir, "bundle")
	for _, args := range [][]string{
		{"skopeo", "copy", "oci-archive:" + archive, "oci:" + layout + ":image"},
		{"umoci", "unpack", "--image", layout + ":image", bundle},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("unpack %s: %s: %w: %s", archive, args[0], err, out)
		}
	}
	return Unpacked(dir), nil
}

// Unpacked is the image that Unpack left below the directory.
func Unpacked(dir string) *Image { return &Image{filepath.Join(dir, "bundle")} }

// config is what runc is told to run a container of a pod: what the image says,
// and what the pod does.
func (i *Image) config(hostname string, c *corev1.Container, env []string, netns string, mounts []mount) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(i.bundle, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("read the image: %w", err)
	}
	var config object
	if err := json.Unmarshal(content, &config); err != nil {
		return nil, fmt.Errorf("read the image: %w", err)
	}
	process, linux, root := config["process"].(object), config["linux"].(object), config["root"].(object)
	config["hostname"] = hostname
	process["terminal"] = false
	if len(c.Command) > 0 {
		process["args"] = []any{}
	}
	for _, arg := range slices.Concat(c.Command, c.Args) {
		process["args"] = append(process["args"].([]any), arg)
	}
	for _, e := range env {
		process["env"] = append(process["env"].([]any), e)
	}
	root["path"] = filepath.Join(i.bundle, root["path"].(string))
	if s := c.SecurityContext; s != nil {
		root["readonly"] = s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem
		process["noNewPrivileges"] = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
		if s.Capabilities != nil && slices.Contains(s.Capabilities.Drop, "ALL") {
			process["capabilities"] = object{}
		}
	}
	for _, m := range mounts {
		config["mounts"] = append(config["mounts"].([]any), object{
			"destination": m.path, "type": "bind", "source": m.source, "options": []string{"rbind", "ro"},
		})
	}
	for _, n := range linux["namespaces"].([]any) {
		if n.(object)["type"] == "network" {
			n.(object)["path"] = netns
		}
	}
	if linux["seccomp"], err = seccomp(); err != nil {
		return nil, err
	}
	if limit := c.Resources.Limits.Memory(); !limit.IsZero() {
		resources, _ := linux["resources"].(object)
		if resources == nil {
			resources = object{}
			linux["resources"] = resources
		}
		resources["memory"] = object{"limit": limit.Value()}
	}
	return json.Marshal(config)
}

// user is the number of the user as whom the image runs.
func (i *Image) user() (int, error) {
	content, err := os.ReadFile(filepath.Join(i.bundle, "config.json"))
	if err != nil {
		return 0, fmt.Errorf("read the image: %w", err)
	}
	var config struct {
		Process struct{ User struct{ UID int } }
	}
	if err := json.Unmarshal(content, &config); err != nil {
		return 0, fmt.Errorf("read the image: %w", err)
	}
	return config.Process.User.UID, nil
}

// seccomp is the profile that comes with skopeo, which container engines call
// RuntimeDefault, as far as it is for a container without capabilities.
func seccomp() (object, error) {
	content, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		return nil, fmt.Errorf("read the seccomp profile: %w", err)
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
		return nil, fmt.Errorf("read the seccomp profile: %w", err)
	}
	var rules []syscalls
	for _, s := range profile.Syscalls {
		here := len(s.Includes.Arches) == 0 || slices.Contains(s.Includes.Arches, runtime.GOARCH)
		if here && len(s.Includes.Caps) == 0 && !slices.Contains(s.Excludes.Arches, runtime.GOARCH) {
			rules = append(rules, s.syscalls)
		}
	}
	return object{"defaultAction": profile.DefaultAction, "defaultErrnoRet": profile.DefaultErrnoRet, "syscalls": rules}, nil
}

// container is a running one.
type container struct {
	id, state string
	done      chan struct{}
	err       error // how it ended; valid when done is closed
}

// run starts a container in a bundle that has config.json, its output after what
// is in the log. state is where runc keeps its notes.
func run(id, bundle, state, log string) (*container, error) {
	output, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", id, err)
	}
	defer output.Close()
	c := &container{id: id, state: state, done: make(chan struct{})}
	cmd := c.runc("run", "--bundle", bundle, id)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", id, err)
	}
	go func() {
		c.err = cmd.Wait()
		_ = c.runc("delete", "--force", id).Run() // which a killed runc hasn't done
		close(c.done)
	}()
	return c, nil
}

func (c *container) runc(args ...string) *exec.Cmd {
	return exec.Command("runc", append([]string{"--root", c.state}, args...)...)
}

// kill sends a signal to the container's first process.
func (c *container) kill(signal int) error {
	if out, err := c.runc("kill", c.id, strconv.Itoa(signal)).CombinedOutput(); err != nil {
		select {
		case <-c.done: // before it could be told
			return nil
		default:
			return fmt.Errorf("kill %s: %w: %s", c.id, err, out)
		}
	}
	return nil
}

// pid is that of the container's first process.
func (c *container) pid() (int, error) {
	out, err := c.runc("state", c.id).Output()
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", c.id, err)
	}
	var state struct{ Pid int }
	if err := json.Unmarshal(out, &state); err != nil {
		return 0, fmt.Errorf("look at %s: %w", c.id, err)
	}
	return state.Pid, nil
}

func (c *container) exitCode() int32 {
	var exit *exec.ExitError
	if errors.As(c.err, &exit) {
		return int32(exit.ExitCode())
	}
	return 0
}
