package life

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// unguarded is the label of a namespace for which the API server asks nobody.
const unguarded = "test.stsguard.dev/unguarded"

// A namespace full of both kinds is gone in the usual time: in about the time
// that one takes about which the webhook is never asked. Some of both sorts are
// deleted at once, while others are at work in them and elsewhere.
func TestNamespaceIsDeletedUnderLoad(t *testing.T) {
	const (
		// The order in which the namespace controller deletes the kinds is
		// another one each time. Some have the Services first.
		each  = 3
		pairs = 20
		// All that differs is noise, on a busy machine quite some of it.
		ratio = 3
	)
	leaveOut(t, unguarded)
	var plain, guarded []string
	for range each {
		plain = append(plain, newNamespace(t, map[string]string{unguarded: "true"}))
		// Strict is what denies people the deletion of a Service in use.
		guarded = append(guarded, newNamespace(t, map[string]string{"stsguard.dev/enforce": "strict"}))
	}
	elsewhere := newNamespace(t, nil)
	doomed := slices.Concat(plain, guarded)
	for _, ns := range doomed {
		for i := range pairs {
			if err := createPair(t.Context(), ns, pair(i), 1); err != nil {
				t.Fatal(err)
			}
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	var rounds atomic.Int64
	work := func(ns string, round func(ctx context.Context, ns, name string) error) {
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				err := round(t.Context(), ns, fmt.Sprintf("new-%d", i))
				if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
					return
				}
				if err != nil {
					t.Errorf("meanwhile, in %s: %v", ns, err)
					return
				}
				rounds.Add(1)
			}
		})
	}
	work(elsewhere, comeAndGo)
	times := make([]time.Duration, len(doomed))
	var deletions sync.WaitGroup
	for i, ns := range doomed {
		work(ns, func(ctx context.Context, ns, name string) error { return createPair(ctx, ns, name, 0) })
		work(ns, func(ctx context.Context, ns, name string) error { return touch(ctx, ns, pair(rand.IntN(pairs)), name) })
		deletions.Go(func() {
			var err error
			if times[i], err = deletion(t.Context(), ns); err != nil {
				t.Error(err)
			}
		})
	}
	deletions.Wait()
	stop()
	load.Wait()
	without, with := slices.Max(times[:each]), slices.Max(times[each:])
	t.Logf("without stsguard %.1fs, with it %.1fs, beside %d rounds of others", without.Seconds(), with.Seconds(), rounds.Load())
	if with > ratio*without {
		t.Errorf("with stsguard the deletion took %s, without it %s", with, without)
	}

	// The namespace controller tries again, so that a denial need not show in
	// the time.
	log, err := os.ReadFile(shared.Server.Process.Log())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		for _, ns := range guarded {
			if strings.Contains(line, "msg=denied") && strings.Contains(line, "/"+ns+"/") {
				t.Errorf("denied: %s", line)
			}
		}
	}
}

func pair(i int) string { return fmt.Sprintf("pair-%d", i) }

// deletion is how long it takes until a namespace is gone.
func deletion(ctx context.Context, ns string) (time.Duration, error) {
	began := time.Now()
	if err := shared.Client.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil {
		return 0, err
	}
	err := eventually(ctx, "namespace "+ns+" is gone", func() error {
		left, err := shared.Client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %v, %w", left.Status.Conditions, err)
	})
	return time.Since(began), err
}

// leaveOut has the API server not ask about namespaces with this label, and
// waits until it doesn't.
func leaveOut(t *testing.T, label string) {
	t.Helper()
	ctx, registrations := t.Context(), shared.Client.AdmissionregistrationV1()
	patch := fmt.Appendf(nil, `[{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchExpressions": [{"key": %q, "operator": "DoesNotExist"}]}}]`, label)
	if _, err := registrations.ValidatingWebhookConfigurations().Patch(ctx, "stsguard", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := registrations.MutatingWebhookConfigurations().Patch(ctx, "stsguard", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	ns := newNamespace(t, map[string]string{label: "true"})
	nameless := set("web", "", 0)
	nameless.Spec.Selector.MatchLabels = map[string]string{"app": "web"}
	nameless.Spec.Template.Labels = nameless.Spec.Selector.MatchLabels
	if err := eventually(ctx, "nobody is asked about "+ns, func() error {
		_, err := shared.Client.AppsV1().StatefulSets(ns).Create(ctx, nameless, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// createPair creates a headless Service, and a StatefulSet that names it.
func createPair(ctx context.Context, ns, name string, replicas int32) error {
	if _, err := shared.Client.CoreV1().Services(ns).Create(ctx, headless(name), metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := shared.Client.AppsV1().StatefulSets(ns).Create(ctx, set(name, name, replicas), metav1.CreateOptions{})
	return err
}

// comeAndGo creates a pair, changes and deletes it.
func comeAndGo(ctx context.Context, ns, name string) error {
	if err := createPair(ctx, ns, name, 0); err != nil {
		return err
	}
	if err := touch(ctx, ns, name, name); err != nil {
		return err
	}
	if err := shared.Client.AppsV1().StatefulSets(ns).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return shared.Client.CoreV1().Services(ns).Delete(ctx, name, metav1.DeleteOptions{})
}

// touch annotates both of a pair, as far as they are still there.
func touch(ctx context.Context, ns, name, value string) error {
	patch := fmt.Appendf(nil, `{"metadata": {"annotations": {"touched": %q}}}`, value)
	if _, err := shared.Client.CoreV1().Services(ns).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if _, err := shared.Client.AppsV1().StatefulSets(ns).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}
