package controlplane

import (
	"context"
	"fmt"
	"os"
)

// Process is something that runs beside the control plane, a webhook, say, or
// a component of it.
type Process struct {
	process      *process
	controlPlane *ControlPlane
}

// Run starts a program in c.Dir, its output in NAME.log there. It is killed
// when the control plane stops, or when this process ends, however that
// happens. Not for use while Stop runs.
func (c *ControlPlane) Run(name, path string, args ...string) (*Process, error) {
	p, err := startProcess(c.Dir, name, path, args...)
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	return &Process{p, c}, nil
}

// WaitReady returns when check succeeds. The error says why it never did, with
// the end of the program's output.
func (p *Process) WaitReady(ctx context.Context, what string, check func(context.Context) error) error {
	return p.process.waitReady(ctx, what, check)
}

// Stop sends a signal and waits for the end.
func (p *Process) Stop(signal os.Signal) error {
	select {
	case <-p.process.done:
		return nil
	default:
	}
	p.process.told.Store(true)
	if err := p.process.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("stop %s: %w", p.process.name, err)
	}
	<-p.process.done
	return nil
}

// Log is the path of the file with the program's output.
func (p *Process) Log() string { return p.process.log }

// IssueServing makes a certificate for a server on the loopback address, and
// its key, in PEM. Whoever trusts Config.CAData trusts it.
func (c *ControlPlane) IssueServing() (certificate, key []byte, err error) {
	pair, err := c.authority.server(nil)
	return pair.certificate, pair.key, err
}

// FreePorts finds loopback ports nobody listens on.
func FreePorts(count int) ([]int, error) { return freePorts(count) }
