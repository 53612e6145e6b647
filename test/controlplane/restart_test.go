package controlplane

import (
	"context"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestComponentsStartAgain(t *testing.T) {
	cp, err := Start(t.Context(), Options{WithoutControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	client := clientFor(t, cp)
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), kept, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{etcd, apiServer} {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			p, err := cp.Component(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Start(); err == nil {
				t.Errorf("%s started while it runs", name)
			}
			if err := p.Stop(signal); err != nil {
				t.Fatal(err)
			}
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
			if err := p.WaitReady(ctx, "the data after "+name+" got "+signal.String(), func(ctx context.Context) error {
				_, err := client.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{})
				return err
			}); err != nil {
				t.Error(err)
			}
			cancel()
		}
	}

	// Nobody was told of what was meant, and everybody is of what wasn't.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := cp.Wait(ctx); err != nil {
		t.Errorf("Wait returned %v, though the components were stopped on purpose", err)
	}
	p, err := cp.Component(apiServer)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cp.Wait(t.Context()); err == nil {
		t.Error("Wait did not tell that the API server ended")
	}
}
