//go:build linux

package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

const (
	// isolated is set where the tests run, to the directory of what was prepared.
	isolated = "STSGUARD_TEST_ISOLATED"
	bridge   = "pods"
	netns    = "/run/netns" // where ip has the names of network namespaces
)

// Address is where a pod reaches what listens beside the nodes.
var Address = net.IPv4(10, 244, 0, 1)

// Missing says what is not there to run pods: root's rights, a program, or what
// the kernel lets be made.
var Missing = sync.OnceValue(func() error {
	if os.Geteuid() != 0 {
		return errors.New("only root may run pods")
	}
	for _, tool := range []string{"ip", "runc", "skopeo", "umoci", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: apt-get install iproute2 runc skopeo umoci util-linux", err)
		}
	}
	const links = "ip link add pods type bridge && ip link add pod type veth peer name eth0"
	if out, err := exec.Command("unshare", "--net", "--pid", "--mount", "--fork", "sh", "-c", links).CombinedOutput(); err != nil {
		return fmt.Errorf("this machine makes no network for pods: %w: %s", err, out)
	}
	return nil
})

// Isolated runs tests in network, process and mount namespaces of their own, so
// that no address and no process of theirs meets those of the machine, and none of
// them is left when they end, however that is. It returns their exit code.
//
// The program starts itself again there. What needs the machine's network is
// prepared before, in a directory that the tests get.
func Isolated(prepare func(dir string) error, tests func(dir string) int) int {
	if dir := os.Getenv(isolated); dir != "" {
		if err := enter(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return tests(dir)
	}
	dir, err := os.MkdirTemp("", "stsguard-node-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "isolate tests: %v\n", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return again(dir)
}

func again(dir string) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"="+dir, "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	// To the kernel the parent is the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "isolate tests: %v\n", err)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() <= 0 {
		fmt.Fprintf(os.Stderr, "isolated tests: %v\n", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// enter makes a network of the new namespaces.
func enter() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("isolate mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := os.MkdirAll(netns, 0o755); err != nil {
		return fmt.Errorf("isolate network namespaces: %w", err)
	}
	if err := syscall.Mount("tmpfs", netns, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", netns, err)
	}
	for _, args := range []string{
		"link set lo up",
		"link add " + bridge + " type bridge",
		"addr add " + Address.String() + "/16 dev " + bridge,
		"link set " + bridge + " up",
	} {
		if err := ip(args); err != nil {
			return err
		}
	}
	return nil
}

// ip runs iproute2's ip.
func ip(args string) error {
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}

// connect makes a network namespace with the address, and returns its path.
func connect(name, address string) (path string, err error) {
	for _, args := range []string{
		"netns add " + name,
		"link add " + name + " type veth peer name eth0 netns " + name,
		"link set " + name + " master " + bridge + " up",
		"-n " + name + " addr add " + address + "/16 dev eth0",
		"-n " + name + " link set lo up",
		"-n " + name + " link set eth0 up",
	} {
		if err := ip(args); err != nil {
			return "", err
		}
	}
	return netns + "/" + name, nil
}

// disconnect removes what connect made.
func disconnect(name string) error {
	return errors.Join(ip("link del "+name), ip("netns del "+name))
}
