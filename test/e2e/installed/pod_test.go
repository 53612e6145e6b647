//go:build linux

package installed

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/stsguard/stsguard/test/node"
)

// The pods are confined as docs/image.md says, and as the strictest Pod Security
// Standard wants it.
func TestPod(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.kubectlInstall()
	c.guarded()
	c.mustCreate(metav1.NamespaceDefault, "web")
	pods, err := c.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 2 {
		t.Fatalf("%d pods: %v", len(pods.Items), err)
	}
	pod := pods.Items[0].Name
	on := c.nodes[slices.IndexFunc(c.nodes, func(n *node.Node) bool { return n.Name == pods.Items[0].Spec.NodeName })]

	t.Run("it may do nothing else", func(t *testing.T) { confined(t, on, pod) })
	t.Run("it has no shell", func(t *testing.T) {
		for _, shell := range []string{"sh", "/bin/sh", "/bin/bash", "/busybox/sh", "ls"} {
			out, err := on.Exec(namespace, pod, shell)
			if err == nil || !regexp.MustCompile("no such file or directory|executable file not found").Match(out) {
				t.Errorf("%s: %v: %s", shell, err, out)
			}
		}
	})
	t.Run("it says its version", func(t *testing.T) {
		label := c.run(`skopeo inspect --format '{{index .Labels "org.opencontainers.image.version"}}' oci:` + prepared + "/layout:image")
		out, err := on.Exec(namespace, pod, "stsguard-webhook", "--version")
		if err != nil || !strings.HasPrefix(string(out), "stsguard-webhook "+strings.TrimSpace(label)+" go") {
			t.Errorf("got %v: %s, and the image is %s", err, out, label)
		}
	})
	t.Run("it ends when told to", func(t *testing.T) { c.ends(t, pod) })
}

// confined asks the kernel what the program may do.
func confined(t *testing.T, on *node.Node, pod string) {
	pid, err := on.PID(namespace, pod)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	const none = "0000000000000000"
	for _, want := range []string{
		"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532",
		"CapInh:\t" + none, "CapPrm:\t" + none, "CapEff:\t" + none, "CapBnd:\t" + none, "CapAmb:\t" + none,
		"NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !slices.Contains(strings.Split(string(status), "\n"), want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S+ / ro[, ]`).Match(mounts) {
		t.Errorf("the root file system can be written to:\n%s", mounts)
	}
}

// ends deletes a pod: its program ends by itself and in order, before the time is
// over.
func (c *cluster) ends(t *testing.T, pod string) {
	pods := c.client.CoreV1().Pods(namespace)
	events, err := pods.Watch(t.Context(), metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", pod).String()})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	began := time.Now()
	const patience = 2 * time.Minute
	time.AfterFunc(patience, events.Stop)
	if err := pods.Delete(t.Context(), pod, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var last *corev1.Pod
	gone := false
	for !gone {
		e, ok := <-events.ResultChan()
		if !ok {
			t.Fatalf("it is still there after %s", patience)
		}
		if p, ok := e.Object.(*corev1.Pod); ok {
			last = p
		}
		gone = e.Type == watch.Deleted
	}
	state := last.Status.ContainerStatuses[0].State.Terminated
	if state == nil || state.ExitCode != 0 {
		t.Errorf("it ended with %+v", last.Status.ContainerStatuses)
	}
	if took, most := time.Since(began), time.Duration(*last.Spec.TerminationGracePeriodSeconds)*time.Second; took > most {
		t.Errorf("it took %s, and had %s", took, most)
	}
}
