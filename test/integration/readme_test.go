package integration

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/docs"
)

// TestReadme runs kubectl as the README shows it, and holds what it prints
// against what the README shows.
func TestReadme(t *testing.T) {
	if _, err := shared.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shared.Client.CoreV1().Services("shop").Delete(context.Background(), "cache-headless", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	for _, b := range docs.Blocks(t, "README.md", "$ kubectl ") {
		b.Run(t, filepath.Join("..", "demo", "manifests"), append(os.Environ(), shared.Env()...))
	}
	if sets, err := shared.Client.AppsV1().StatefulSets("shop").List(t.Context(), metav1.ListOptions{}); err != nil || len(sets.Items) > 0 {
		t.Errorf("kubectl was not refused: %v %v", sets.Items, err)
	}
}
