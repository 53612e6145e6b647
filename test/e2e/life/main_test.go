// Package life shows that people, GitOps tools and operators go on to work as
// they are used to when the API server asks stsguard.
package life

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

// shared is what all tests work with, each in namespaces of its own.
var shared *guarded.Guarded

// config is the webhook's at first.
const config = "apiVersion: stsguard.dev/v1alpha1\nkind: Configuration\n"

func TestMain(m *testing.M) {
	var cp *controlplane.ControlPlane
	os.Exit(controlplane.Run(guardedTests{m, &cp}, &cp, controlplane.Options{Nodes: 2}))
}

// guardedTests are the tests, with stsguard started before them.
type guardedTests struct {
	tests *testing.M
	cp    **controlplane.ControlPlane
}

func (g guardedTests) Run() int {
	var err error
	if shared, err = guarded.Guard(context.Background(), *g.cp, guarded.Options{Config: config}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return g.tests.Run()
}

// patience is how long something may take that takes some seconds.
const patience = 2 * time.Minute

// eventually tries again until check succeeds.
func eventually(ctx context.Context, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w: %w", what, ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// seen waits until the webhook's cache knows a StatefulSet. What it doesn't
// know yet it can't warn of. It would warn of an alias in the place of the
// governing Service, whether or not there is one already.
func seen(ctx context.Context, namespace, name string) error {
	client, warnings, err := guarded.Listening(shared.Config)
	if err != nil {
		return err
	}
	set, err := client.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	alias := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: set.Spec.ServiceName},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"},
	}
	return eventually(ctx, "the webhook knows StatefulSet "+name, func() error {
		_, err := client.CoreV1().Services(namespace).Create(ctx, alias, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if text := warnings.Take(); !strings.Contains(text, fmt.Sprintf("StatefulSet %q", name)) {
			return fmt.Errorf("warned %q, %w", text, err)
		}
		return nil
	})
}
