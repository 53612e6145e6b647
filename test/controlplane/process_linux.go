package controlplane

import "syscall"

// processAttributes has the kernel kill the child when we die, however that
// happens, and keeps a Ctrl-C in the terminal from reaching it before us.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// detachedAttributes is for a child which outlives us.
func detachedAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
