package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// startDNS starts CoreDNS with its kubernetes plugin as it comes: no option of
// the plugin is set. There is no plugin that caches, so that an answer is as
// fresh as CoreDNS's own watch.
func (c *ControlPlane) startDNS(ctx context.Context, client kubernetes.Interface, ready func(string)) error {
	const user = "system:serviceaccount:kube-system:coredns"
	kubeconfig, err := c.user(coreDNS, user)
	if err != nil {
		return err
	}
	read := []string{"list", "watch"}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "system:coredns"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services", "namespaces", "pods"}, Verbs: read},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: read},
	}}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("let CoreDNS read: %w", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: role.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("let CoreDNS read: %w", err)
	}

	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	corefile := fmt.Sprintf(`.:%d {
	bind 127.0.0.1
	errors
	ready 127.0.0.1:%d
	kubernetes cluster.local in-addr.arpa {
		kubeconfig %s
	}
}
`, ports[0], ports[1], kubeconfig)
	if err := os.WriteFile(filepath.Join(c.Dir, "Corefile"), []byte(corefile), 0o600); err != nil {
		return fmt.Errorf("write Corefile: %w", err)
	}
	server, err := c.runBinary(coreDNS, "-conf", "Corefile")
	if err != nil {
		return err
	}
	if err := server.waitReady(ctx, coreDNS, httpOK(http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d/ready", ports[1]))); err != nil {
		return err
	}
	c.DNS = fmt.Sprintf("127.0.0.1:%d", ports[0])
	ready(coreDNS)
	return nil
}
