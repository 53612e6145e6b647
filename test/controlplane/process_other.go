//go:build !linux

package controlplane

import "syscall"

// Only Linux ends a child together with its parent: elsewhere the processes
// stay when this one is killed outright.
func processAttributes() *syscall.SysProcAttr { return nil }

func detachedAttributes() *syscall.SysProcAttr { return nil }
