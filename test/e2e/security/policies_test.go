package security

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/docs"
)

// kubectl runs one with this standard input.
func kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := shared.Kubectl(t.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	return string(out), err
}

// grant binds a user to what the rules allow in the whole cluster.
func grant(t *testing.T, user, name string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	if _, err := shared.client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// manifest is a StatefulSet that stsguard denies, with these lines of metadata.
func manifest(ns, name, metadata string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: %s
  namespace: %s
%sspec:
  serviceName: missing
  replicas: 0
  selector: {matchLabels: {app: %[1]s}}
  template: {metadata: {labels: {app: %[1]s}}, spec: {containers: [{name: web, image: nginx}]}}
`, name, ns, metadata)
}

// TestPolicies applies the policies of docs/security.md. Each is got around
// before, and no longer after.
func TestPolicies(t *testing.T) {
	policies := map[string][]docs.Block{}
	for _, b := range docs.Blocks(t, "docs/security.md", "apiVersion: admissionregistration") {
		policies[b.Heading] = append(policies[b.Heading], b)
	}
	ns := newNamespace(t, nil)
	read := []string{"get", "list", "watch"}
	for user, extra := range map[string][]rbacv1.PolicyRule{
		"deployer": nil,
		"trusted": {
			{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"stsguard-label"}},
			{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, Verbs: []string{"stsguard-ignore", "stsguard-own"}},
		},
	} {
		grant(t, user, user, append(extra,
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces", "namespaces/status"}, Verbs: append(read, "patch", "update")},
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"services", "services/status"}, Verbs: append(read, "create", "patch", "update", "delete")},
			rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"statefulsets", "statefulsets/status"}, Verbs: append(read, "create", "patch", "update", "delete")},
		)...)
	}
	if out, err := kubectl(t, "", "create", "configmap", "owner", "-n", ns); err != nil {
		t.Fatal(out)
	}
	uid, err := kubectl(t, "", "get", "configmap", "owner", "-n", ns, "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		t.Fatal(uid)
	}
	owned := fmt.Sprintf("  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: %s, controller: true}]\n", uid)
	excused := "  annotations: {stsguard.dev/ignore: service-not-found, stsguard.dev/ignore-reason: because}\n"
	if out, err := kubectl(t, "", "create", "service", "clusterip", "there", "-n", ns, "--clusterip=None"); err != nil {
		t.Fatal(out)
	}
	status := func(user, metadata string) func() (string, error) {
		return func() (string, error) {
			return kubectl(t, "", "patch", "service", "there", "-n", ns, "--as="+user, "--subresource=status", "--type=merge", "--dry-run=server", "-p", `{"metadata":{`+metadata+`}}`)
		}
	}
	create := func(user, metadata string) func() (string, error) {
		return func() (string, error) {
			return kubectl(t, manifest(ns, "around", metadata), "create", "--as="+user, "-f", "-", "--dry-run=server")
		}
	}
	label := func(user, level string, more ...string) func() (string, error) {
		return func() (string, error) {
			patch := fmt.Sprintf(`{"metadata":{"labels":{"stsguard.dev/enforce":%q}}}`, level)
			return kubectl(t, "", append([]string{"patch", "namespace", ns, "--as=" + user, "--type=merge", "-p", patch, "--dry-run=server"}, more...)...)
		}
	}
	itself := func(name, resource string) func() (string, error) {
		return func() (string, error) {
			return kubectl(t, fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %s}
webhooks:
- name: a.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {url: "https://127.0.0.1:1"}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [%s]}]
`, name, resource), "create", "--as="+user, "-f", "-", "--dry-run=server")
		}
	}
	type attempt struct {
		what string
		do   func() (string, error)
	}
	for heading, x := range map[string]struct {
		around, allowed []attempt
		says            string
	}{
		"Labels": {
			around: []attempt{{"a label", label("deployer", "none")}, {"a label by way of the status", label("deployer", "none", "--subresource=status")}},
			allowed: []attempt{{"with the verb", label("trusted", "none")}, {"another label", func() (string, error) {
				return kubectl(t, "", "label", "namespace", ns, "team=a", "--as=deployer", "--dry-run=server")
			}}},
			says: "take the verb stsguard-label",
		},
		"Annotations": {
			around: []attempt{
				{"an annotation", create("deployer", excused)},
				{"an annotation by way of the status", status("deployer", `"annotations":{"stsguard.dev/ignore":"service-in-use"}`)},
			},
			allowed: []attempt{{"with the verb", create("trusted", excused)}},
			says:    "takes the verb stsguard-ignore",
		},
		"Owners": {
			around: []attempt{
				{"an owner", create("deployer", owned)},
				{"an owner by way of the status", status("deployer", fmt.Sprintf(`"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":%q,"controller":true}]`, uid))},
			},
			allowed: []attempt{{"with the verb", create("trusted", owned)}},
			says:    "takes the verb stsguard-own",
		},
		"stsguard itself": {
			around: []attempt{{"Secrets", itself("others", "secrets")}, {"another name", itself("others", "services")}},
			says:   "stsguard keeps the webhook configurations stsguard",
		},
	} {
		t.Run(heading, func(t *testing.T) {
			for _, a := range append(slices.Clone(x.around), x.allowed...) {
				if out, err := a.do(); err != nil {
					t.Fatalf("%s, without the policy: %s", a.what, out)
				}
			}
			found := policies[heading]
			delete(policies, heading)
			if len(found) != 1 {
				t.Fatalf("%d policies", len(found))
			}
			if out, err := kubectl(t, found[0].Text, "create", "-f", "-"); err != nil || strings.Contains(out, "Warning") {
				t.Fatal(out)
			}
			for _, a := range x.around {
				eventually(t, a.what, func() error {
					out, err := a.do()
					if err == nil {
						return fmt.Errorf("not refused: %s", out)
					}
					if !strings.Contains(out, x.says) {
						return fmt.Errorf("refused otherwise: %s", out)
					}
					return nil
				})
			}
			for _, a := range x.allowed {
				if out, err := a.do(); err != nil {
					t.Errorf("%s: %s", a.what, out)
				}
			}
			if out, err := kubectl(t, found[0].Text, "delete", "-f", "-"); err != nil {
				t.Error(out)
			}
		})
	}
	if len(policies) > 0 {
		t.Errorf("nobody tried to get around %v", policies)
	}
	// stsguard puts its own configurations right, whatever policies there were.
	if out, err := kubectl(t, manifest(ns, "still", ""), "create", "-f", "-"); err == nil || !strings.Contains(out, "[service-not-found]") {
		t.Errorf("no longer guarded: %s", out)
	}
}

// TestRights holds the tables of docs/security.md against the roles of
// the install file, with which stsguard runs in these tests.
func TestRights(t *testing.T) {
	var granted []string
	add := func(rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			group := r.APIGroups[0]
			if group == "" {
				group = "core"
			}
			for _, list := range [][]string{r.Resources, r.Verbs} {
				slices.Sort(list)
			}
			granted = append(granted, strings.Join([]string{group, strings.Join(r.Resources, ", "), strings.Join(r.ResourceNames, ", "), strings.Join(r.Verbs, ", ")}, " | "))
		}
	}
	for _, role := range []string{name, hook} {
		everywhere, err := shared.client.RbacV1().ClusterRoles().Get(t.Context(), role, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		add(everywhere.Rules)
	}
	own, err := shared.client.RbacV1().Roles(namespace).Get(t.Context(), hook, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	add(own.Rules)
	var said []string
	for _, cells := range rows(section(t, page(t, "security.md"), "## What stsguard may do")) {
		said = append(said, strings.Join(cells[:4], " | "))
	}
	slices.Sort(granted)
	slices.Sort(said)
	if !slices.Equal(granted, said) {
		t.Errorf("granted\n%s\nthe docs say\n%s", strings.Join(granted, "\n"), strings.Join(said, "\n"))
	}
}
