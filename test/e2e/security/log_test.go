package security

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestNothingSecretIsLogged at the level debug: neither what stsguard holds, nor
// what passes it.
func TestNothingSecretIsLogged(t *testing.T) {
	ns := newNamespace(t, nil)
	marks := []string{"mark-secret", "mark-annotation", "mark-ignored", "mark-environment", "mark-label", "mark-bearer", "mark-body"}
	if _, err := shared.client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "credentials"}, StringData: map[string]string{"password": "mark-secret"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	denied := set("told", "missing", map[string]string{
		"example.com/note": "mark-annotation", "kubectl.kubernetes.io/last-applied-configuration": "mark-annotation",
		"stsguard.dev/ignore": "selector-mismatch", "stsguard.dev/ignore-reason": "mark-ignored",
	})
	denied.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "mark-environment"}}
	denied.Labels = map[string]string{"owner": "mark-label"}
	_, err := shared.client.AppsV1().StatefulSets(ns).Create(t.Context(), denied, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("not denied: %v", err)
	}
	for _, m := range marks {
		if strings.Contains(err.Error(), m) {
			t.Errorf("the denial says %q: %v", m, err)
		}
	}

	c := client(t)
	account := token(t, "silent")
	scrape(t, c, http.MethodGet, account)
	scrape(t, c, http.MethodGet, "mark-bearer")
	// The kind of what isn't a review is what its sender has to hear, so the log has it.
	for _, body := range []string{`{"mark-body":`, `{"apiVersion":"v1","kind":"Other","spec":{"password":"mark-body"}}`, ""} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+shared.server.Address()+"/validate", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer mark-bearer")
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}

	keys, err := shared.client.CoreV1().Secrets(namespace).Get(t.Context(), secret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"a token": account, "a token's signature": account[strings.LastIndexByte(account, '.')+1:], "a private key": "PRIVATE KEY"}
	for _, m := range marks {
		secrets[m] = m
	}
	for file, content := range keys.Data {
		if !strings.HasSuffix(file, ".key") {
			continue
		}
		for i, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
			if !strings.HasPrefix(line, "-----") {
				secrets[fmt.Sprintf("%s, line %d", file, i)] = line
			}
		}
	}
	if len(secrets) < 10 {
		t.Fatalf("no keys in the Secret: %d", len(secrets))
	}
	log, err := os.ReadFile(shared.server.Process.Log())
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range secrets {
		if strings.Contains(string(log), text) {
			t.Errorf("%s is logged", what)
		}
	}
	for _, said := range []string{`"level":"DEBUG"`, `"msg":"denied"`, "StatefulSet/" + ns + "/told", `"msg":"could not judge"`} {
		if !strings.Contains(string(log), said) {
			t.Errorf("the log doesn't say %s", said)
		}
	}
}
