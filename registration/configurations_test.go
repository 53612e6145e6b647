package registration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var options = Options{Name: "stsguard", Namespace: "guards", Service: "hook", Policies: DefaultPolicies, TimeoutSeconds: 5}

func TestNamespaces(t *testing.T) {
	got := namespaces([]string{"b", "a", "b", "No_Namespace", strings.Repeat("x", 64)})
	if e := got.MatchExpressions; len(e) != 1 || !slices.Equal(e[0].Values, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
	if got := namespaces(nil); len(got.MatchExpressions) != 0 {
		t.Errorf("got %v", got)
	}
}

// As many users as fit into a ConfigMap are no more than the API server takes.
func TestManyUsers(t *testing.T) {
	var many []string
	for i := range 1 << 20 / 20 {
		many = append(many, fmt.Sprintf("user-%015d", i))
	}
	hooks := options.validating(Exemptions{Usernames: many}, nil, metav1.OwnerReference{}).Webhooks
	for _, h := range hooks {
		if n := len(h.MatchConditions); n > 64 {
			t.Errorf("%s: %d conditions", h.Name, n)
		}
		var all strings.Builder
		names := map[string]bool{}
		for _, c := range h.MatchConditions {
			if len(c.Expression) > 100_000 || names[c.Name] {
				t.Errorf("%s: condition %s of %d characters", h.Name, c.Name, len(c.Expression))
			}
			names[c.Name] = true
			all.WriteString(c.Expression)
		}
		if n := strings.Count(all.String(), `"user-`); n != len(many) {
			t.Errorf("%s: %d users of %d", h.Name, n, len(many))
		}
	}
}
