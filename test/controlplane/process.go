package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// process is a running component.
type process struct {
	name string
	log  string // path of the file with its output
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // why it ended; valid when done is closed
	told atomic.Bool   // somebody has it end

	component bool // Wait tells of its end
}

// startProcess runs a component in a directory, its output in NAME.log there,
// after that of the one before.
func startProcess(dir, name, path string, args ...string) (*process, error) {
	p := &process{
		name: name,
		log:  filepath.Join(dir, name+".log"),
		cmd:  exec.Command(path, args...),
		done: make(chan struct{}),
	}
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd.Dir = dir
	p.cmd.Stdout = log
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = processAttributes()

	started := make(chan error)
	go func() {
		// To the kernel the parent is the thread, not the process: without
		// this, the child would be killed whenever Go retires the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// waitReady returns when check succeeds. The error says why it never did,
// with the end of the component's log.
func (p *process) waitReady(ctx context.Context, what string, check func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := check(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.ended()
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("wait for %s: %w", what, ctx.Err())
			}
			return fmt.Errorf("wait for %s: %w: %w%s", what, ctx.Err(), err, p.logTail())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// ended is the error of a component that ended without being told to.
func (p *process) ended() error {
	if p.err == nil {
		return fmt.Errorf("%s ended%s", p.name, p.logTail())
	}
	return fmt.Errorf("%s ended: %w%s", p.name, p.err, p.logTail())
}

// kill ends the component without ceremony: nothing it holds is worth saving.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// logTail is the end of the component's log, on lines of its own.
func (p *process) logTail() string {
	const lines, size = 15, 16 << 10
	file, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > size {
		_, _ = file.Seek(-size, io.SeekEnd)
	}
	content, _ := io.ReadAll(file)
	tail := strings.Split(strings.TrimSpace(string(content)), "\n")
	tail = tail[max(0, len(tail)-lines):]
	return fmt.Sprintf("\nthe end of what %s wrote:\n  %s", p.name, strings.Join(tail, "\n  "))
}

// sweep removes a directory when this process ends without having done so
// itself: after a panic, a test timeout or a kill. It returns how to call
// that off.
func sweep(dir string) (cancel func(), err error) {
	// The read ends when our end of the pipe is closed, if only by our death;
	// the second is for the components to be gone.
	cmd := exec.Command("sh", "-c", `read _; sleep 1; rm -rf "$1"`, "sh", dir)
	cmd.SysProcAttr = detachedAttributes()
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("watch over %s: %w", dir, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("watch over %s: %w", dir, err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}, nil
}

// freePorts finds loopback ports nobody listens on. They are below those from
// which systems choose ports of outgoing connections, so that none of these
// takes one before its component does.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range 1000 {
		if len(ports) == count {
			return ports, nil
		}
		port := 20000 + rand.IntN(10000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		// Held until all are found, so that none is found twice.
		defer listener.Close()
		ports = append(ports, port)
	}
	return nil, errors.New("find a free port: none of a thousand tried between 20000 and 29999 is free")
}
