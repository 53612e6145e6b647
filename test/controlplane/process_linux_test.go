package controlplane

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// However a test binary ends, neither processes nor files stay.
func TestNothingIsLeft(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), childVariable+"=yes")
			child.Stderr = &stderr
			stdout, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			defer child.Process.Kill()
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatalf("the child does not start a control plane: %v: %s", err, &stderr)
			}
			dir := strings.TrimSpace(line)
			// Its three components, and the one who sweeps up after it.
			if running := processesIn(t, dir); len(running) != 4 {
				t.Errorf("running: %q, want four processes", running)
			}

			if err := child.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = child.Wait()
			if code := child.ProcessState.ExitCode(); signal != syscall.SIGKILL && code != 130 {
				t.Errorf("exit code %d, want 130: %s", code, &stderr)
			}
			eventually(t, "nothing to be left", func() error {
				if running := processesIn(t, dir); len(running) > 0 {
					return fmt.Errorf("running: %q", running)
				}
				if _, err := os.Stat(dir); !os.IsNotExist(err) {
					return fmt.Errorf("stat of the directory gives %v", err)
				}
				return nil
			})
		})
	}
}

// processesIn are the command lines of those that work in the directory or
// are about it.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, process := range processes {
		// Both fail for a process that has just ended.
		workingDir, _ := os.Readlink(filepath.Join(process, "cwd"))
		commandLine, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		if workingDir == dir || bytes.Contains(commandLine, []byte(dir)) {
			found = append(found, string(bytes.ReplaceAll(commandLine, []byte{0}, []byte(" "))))
		}
	}
	return found
}
