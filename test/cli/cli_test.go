// Package cli runs the command line against a real cluster.
package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/script"
)

var cp *controlplane.ControlPlane

func TestMain(m *testing.M) { os.Exit(controlplane.Run(m, &cp, controlplane.Options{})) }

// TestScripts runs what testdata documents, each script in a namespace of its
// name. With UPDATE=1 in the environment the expected output in the scripts is
// written anew.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/stsguard/stsguard/cmd/stsguard").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kubectl := filepath.Dir(cp.KubectlPath)
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("UPDATE") == "1",
		Setup: func(env *testscript.Env) error {
			namespace := "cli-" + strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
			for _, v := range cp.Env() {
				name, value, _ := strings.Cut(v, "=")
				env.Setenv(name, value)
			}
			env.Setenv("PATH", strings.Join([]string{bin, kubectl, env.Getenv("PATH")}, string(os.PathListSeparator)))
			// Each script has a kubeconfig of its own, whose context it may change.
			data, err := os.ReadFile(env.Getenv("KUBECONFIG"))
			if err != nil {
				return err
			}
			own := filepath.Join(env.WorkDir, ".kubeconfig")
			env.Setenv("KUBECONFIG", own)
			if err := os.WriteFile(own, data, 0o600); err != nil {
				return err
			}
			for _, args := range []string{"create namespace " + namespace, "config set-context --current --namespace=" + namespace} {
				c := exec.CommandContext(t.Context(), filepath.Join(kubectl, "kubectl"), strings.Fields(args)...)
				c.Env = append(os.Environ(), "KUBECONFIG="+own)
				if out, err := c.CombinedOutput(); err != nil {
					return fmt.Errorf("kubectl %s: %w: %s", args, err, out)
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": script.Exits, "adduser": addUser},
	})
}

// addUser makes NAME.kubeconfig for a user who may do nothing yet:
//
//	adduser NAME
func addUser(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: adduser NAME")
	}
	u, err := cp.AddUser(args[0])
	ts.Check(err)
	data, err := os.ReadFile(u.Kubeconfig)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".kubeconfig"), data, 0o600))
}
