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

// What cert-manager writes stays, and what is not yet there comes from us.
func TestInjectCAFrom(t *testing.T) {
	with := options
	with.InjectCAFrom = "guards/hook"
	for _, c := range []struct {
		options Options
		live    string
		want    string
	}{
		{with, "theirs", "theirs"},
		{with, "", "ours"},
		{options, "theirs", "ours"},
	} {
		k := &Keeper{Options: c.options}
		live := c.options.validating(Exemptions{}, []byte(c.live), metav1.OwnerReference{})
		live.Annotations = map[string]string{"another": "stays"}
		got := k.mergeValidating(live, c.options.validating(Exemptions{}, []byte("ours"), metav1.OwnerReference{}))
		mutating := k.mergeMutating(c.options.mutating(Exemptions{}, []byte(c.live), metav1.OwnerReference{}), c.options.mutating(Exemptions{}, []byte("ours"), metav1.OwnerReference{}))
		for _, bundle := range [][]byte{got.Webhooks[0].ClientConfig.CABundle, got.Webhooks[1].ClientConfig.CABundle, mutating.Webhooks[0].ClientConfig.CABundle} {
			if string(bundle) != c.want {
				t.Errorf("%+v: got %q", c, bundle)
			}
		}
		if got.Annotations[injectAnnotation] != c.options.InjectCAFrom || got.Annotations["another"] != "stays" {
			t.Errorf("annotations %v", got.Annotations)
		}
	}
}
