package integration

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestReadme runs kubectl as the README shows it, and holds what it prints
// against what the README shows.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(readme), "```console\n$ kubectl ")
	if !ok {
		t.Fatal("the README shows no kubectl")
	}
	block, _, _ = strings.Cut(block, "```")
	line, want, _ := strings.Cut(block, "\n")
	if _, err := shared.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shared.Client.CoreV1().Services("shop").Delete(context.Background(), "cache-headless", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	kubectl := shared.Kubectl(t.Context(), strings.Fields(line)...)
	kubectl.Dir = filepath.Join("..", "demo", "manifests")
	out, err := kubectl.CombinedOutput()
	if err == nil {
		t.Error("kubectl was not refused")
	}
	if string(out) != want {
		t.Errorf("got\n%s\nthe README shows\n%s", out, want)
	}
}
