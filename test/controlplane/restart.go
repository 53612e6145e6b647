package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
)

// EtcdURL is the address under which the client of [ControlPlane.Etcd] reaches
// etcd.
const EtcdURL = "http://etcd"

// Component is a running component by its name, such as kube-apiserver: to be
// stopped, and started again with the port and the data that it had. Whoever
// does so waits for it to be ready. Not for use while Stop runs.
func (c *ControlPlane) Component(name string) (*Process, error) {
	for _, p := range c.processes {
		if p.name == name {
			return &Process{p, c}, nil
		}
	}
	return nil, fmt.Errorf("no component %s runs", name)
}

// Start starts the program again, with the same arguments, after it was
// stopped. Its output goes where it went before.
func (p *Process) Start() error {
	ended, c := p.process, p.controlPlane
	select {
	case <-ended.done:
	default:
		return fmt.Errorf("start %s: it still runs", ended.name)
	}
	started, err := startProcess(c.Dir, ended.name, ended.cmd.Path, ended.cmd.Args[1:]...)
	if err != nil {
		return err
	}
	c.processes[slices.Index(c.processes, ended)] = started
	p.process = started
	if ended.component {
		c.watch(started)
	}
	return nil
}

// watch has Wait return when a component ends without being told to.
func (c *ControlPlane) watch(p *process) {
	p.component = true
	go func() {
		<-p.done
		if !p.told.Load() {
			c.exited <- p
		}
	}()
}

// Etcd is a client of etcd itself, behind the API server's back. It goes over
// a socket that nobody else can answer on.
func (c *ControlPlane) Etcd() *http.Client {
	var dialer net.Dialer
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", filepath.Join(c.Dir, etcdClientSocket))
		},
	}}
}
