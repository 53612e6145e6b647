package life

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/script"
)

// TestScripts runs what testdata shows people do with kubectl, each script in a
// namespace of its name. With UPDATE=1 in the environment the expected output
// in the scripts is written anew.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") == "1",
		Setup:               func(env *testscript.Env) error { return setUp(t.Context(), env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": script.Exits,
			"seen":  seenInScript,
		},
	})
}

// setUp makes the script's namespace, and a kubeconfig that points into it.
func setUp(ctx context.Context, env *testscript.Env) error {
	namespace := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
	if _, err := shared.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, v := range shared.Env() {
		name, value, _ := strings.Cut(v, "=")
		env.Setenv(name, value)
	}
	data, err := os.ReadFile(shared.Kubeconfig)
	if err != nil {
		return err
	}
	own := filepath.Join(env.WorkDir, ".kubeconfig")
	if err := os.WriteFile(own, data, 0o600); err != nil {
		return err
	}
	env.Setenv("KUBECONFIG", own)
	env.Setenv("NAMESPACE", namespace)
	cmd := shared.ControlPlane.Kubectl(ctx, "config", "set-context", "--current", "--namespace="+namespace)
	cmd.Env = append(cmd.Env, "KUBECONFIG="+own)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl config set-context: %w: %s", err, out)
	}
	return nil
}

// seenInScript waits until the webhook's cache knows a StatefulSet:
//
//	seen web
func seenInScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: seen STATEFULSET")
	}
	ts.Check(seen(context.Background(), ts.Getenv("NAMESPACE"), args[0]))
}
