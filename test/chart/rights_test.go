package chart

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// right is something that the webhook may do.
type right struct {
	in        string
	group     string
	resources []string
	name      string // empty: of any name
	verbs     []string
	why       string
}

const (
	everywhere = "the cluster"
	own        = "its namespace"

	finalizers = "clusterroles/finalizers"
)

// rights is what the webhook calls, each with the reason: nothing else may be in
// the chart's roles.
var rights = []right{
	{everywhere, "", []string{"services"}, "", []string{"list", "watch"}, "the cache, and a second look before a denial"},
	{everywhere, "apps", []string{"statefulsets"}, "", []string{"list", "watch"}, "the same"},
	{everywhere, "", []string{"namespaces"}, "", []string{"get", "list", "watch"}, "their labels, which set the levels"},
	{everywhere, "", []string{"pods"}, "", []string{"list"}, "whether a StatefulSet's pods run already when it is created"},
	{everywhere, "admissionregistration.k8s.io", []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"}, "", []string{"create"}, "making its own webhook configurations; a name can't be asked for here"},
	{everywhere, "admissionregistration.k8s.io", []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"}, "stsguard", []string{"get", "list", "watch", "update"}, "keeping them"},
	{everywhere, "rbac.authorization.k8s.io", []string{"clusterroles"}, "stsguard", []string{"get"}, "whether it is installed still: the configurations belong to this ClusterRole"},
	{everywhere, "rbac.authorization.k8s.io", []string{finalizers}, "stsguard", []string{"update"}, "having it stay until they are gone; API servers with OwnerReferencesPermissionEnforcement want this right"},
	{everywhere, "authentication.k8s.io", []string{"tokenreviews"}, "", []string{"create"}, "who wants to read metrics"},
	{everywhere, "authorization.k8s.io", []string{"subjectaccessreviews"}, "", []string{"create"}, "whether they may"},
	{own, "", []string{"secrets"}, "", []string{"create"}, "making the Secret of its certificates"},
	{own, "", []string{"secrets"}, "stsguard-webhook-certs", []string{"get", "list", "watch", "update"}, "rotating them; neither this nor create with certificates from elsewhere"},
	{own, "coordination.k8s.io", []string{"leases"}, "", []string{"create"}, "agreeing on the replica that does all this"},
	{own, "coordination.k8s.io", []string{"leases"}, "stsguard", []string{"get", "update"}, "the same"},
	{own, "discovery.k8s.io", []string{"endpointslices"}, "", []string{"list"}, "whether a replica can answer, before the API server is told to ask"},
}

// rules are the rights in one place, as a role has them.
func rules(in string, keep func(right) bool) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, r := range rights {
		if r.in != in || !keep(r) {
			continue
		}
		rule := rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: r.resources, Verbs: r.verbs}
		if r.name != "" {
			rule.ResourceNames = []string{r.name}
		}
		out = append(out, rule)
	}
	return out
}

// owns says whether a right is in the ClusterRole that the webhook configurations
// belong to, which goes first.
func owns(r right) bool {
	return r.group == "admissionregistration.k8s.io" || r.group == rbacv1.GroupName
}

func TestRights(t *testing.T) {
	for name, c := range map[string]struct {
		set  []string
		keep func(right) bool
	}{
		"defaults":     {nil, func(right) bool { return true }},
		"cert-manager": {[]string{"certificates.source=cert-manager"}, func(r right) bool { return !slices.Contains(r.resources, "secrets") }},
		"no metrics":   {[]string{"metrics.enabled=false"}, func(r right) bool { return !strings.HasPrefix(r.group, "auth") }},
		"plain":        {[]string{"metrics.plainHTTP=true"}, func(r right) bool { return !strings.HasPrefix(r.group, "auth") }},
		"secret":       {[]string{"certificates.source=secret"}, func(r right) bool { return !slices.Contains(r.resources, "secrets") }},
	} {
		t.Run(name, func(t *testing.T) {
			all := objects(t, values(t, c.set...))
			for role, owner := range map[string]bool{"stsguard": true, "stsguard-webhook": false} {
				want := rules(everywhere, func(r right) bool { return c.keep(r) && owns(r) == owner })
				if got := get[*rbacv1.ClusterRole](t, all, role).Rules; !equality.Semantic.DeepEqual(got, want) {
					t.Errorf("ClusterRole %s: got %v\nwant %v", role, got, want)
				}
			}
			if got, want := get[*rbacv1.Role](t, all, "stsguard-webhook").Rules, rules(own, c.keep); !equality.Semantic.DeepEqual(got, want) {
				t.Errorf("Role: got %v\nwant %v", got, want)
			}
			// All is bound to the one account.
			for _, o := range all {
				var subjects []rbacv1.Subject
				switch b := o.typed.(type) {
				case *rbacv1.ClusterRoleBinding:
					subjects = b.Subjects
				case *rbacv1.RoleBinding:
					subjects = b.Subjects
				default:
					if strings.HasSuffix(o.kind, "RoleBinding") {
						t.Errorf("unknown %s", o.kind)
					}
					continue
				}
				want := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "stsguard-webhook", Namespace: namespace}}
				if !equality.Semantic.DeepEqual(subjects, want) {
					t.Errorf("%s: subjects %v", o.name, subjects)
				}
			}
		})
	}
}
