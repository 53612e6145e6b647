package security

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// metricsURL is where metrics are, over TLS.
func metricsURL() string { return strings.Replace(shared.server.Metrics, "http://", "https://", 1) }

// scrape asks for metrics with a token, or with none.
func scrape(t *testing.T, c *http.Client, method, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, metricsURL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// token is one of a new service account.
func token(t *testing.T, account string) string {
	t.Helper()
	accounts := shared.client.CoreV1().ServiceAccounts("default")
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	request, err := accounts.CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// mayScrape binds a service account to a role that is there already.
func mayScrape(t *testing.T, account, role string) {
	t.Helper()
	if _, err := shared.client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: account + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: account}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestWhoMayReadMetrics(t *testing.T) {
	c := client(t)
	if _, err := shared.client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "scrapes"},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stranger, prometheus := token(t, "stranger"), token(t, "prometheus")
	mayScrape(t, "prometheus", "scrapes")
	for what, x := range map[string]struct {
		method, token string
		want          int
		says          string
	}{
		"no token":               {http.MethodGet, "", 401, "bearer token"},
		"no token of ours":       {http.MethodGet, "nonsense", 401, "does not know this token"},
		"a changed token":        {http.MethodGet, prometheus[:len(prometheus)-4] + "AAAA", 401, "does not know this token"},
		"a token without rights": {http.MethodGet, stranger, 403, `"system:serviceaccount:default:stranger" may not get`},
		"another verb":           {http.MethodPost, prometheus, 403, "may not post"},
	} {
		if code, text := scrape(t, c, x.method, x.token); code != x.want || !strings.Contains(text, x.says) || strings.Contains(text, "stsguard_") {
			t.Errorf("%s: got %d %s", what, code, text)
		}
	}
	// The rights reach the API server's cache a little later.
	var text string
	eventually(t, "the role counts", func() error {
		var code int
		if code, text = scrape(t, c, http.MethodGet, prometheus); code != 200 {
			return fmt.Errorf("%d: %s", code, text)
		}
		return nil
	})
	if !strings.Contains(text, "stsguard_admission_requests_total") {
		t.Errorf("got %s", text)
	}
}

// TestProtocols: nothing old and nothing that can be misused is spoken anywhere.
func TestProtocols(t *testing.T) {
	for what, address := range map[string]string{
		"webhooks": shared.server.Address(),
		"metrics":  strings.TrimSuffix(strings.TrimPrefix(metricsURL(), "https://"), "/metrics"),
	} {
		if c, err := tls.Dial("tcp", address, trusted(t)); err != nil {
			t.Errorf("%s: %v", what, err)
		} else {
			if v := c.ConnectionState().Version; v != tls.VersionTLS13 {
				t.Errorf("%s: %s", what, tls.VersionName(v))
			}
			c.Close()
		}
		old, two := trusted(t), trusted(t)
		old.MaxVersion = tls.VersionTLS12
		two.NextProtos = []string{"h2"}
		for refused, config := range map[string]*tls.Config{"TLS 1.2": old, "HTTP/2": two} {
			if c, err := tls.Dial("tcp", address, config); err == nil {
				c.Close()
				t.Errorf("%s: speaks %s", what, refused)
			}
		}
	}
	// Plain HTTP gets no answer either.
	if response, err := http.Get(shared.server.Metrics); err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP: %s", response.Status)
		}
	}
}
