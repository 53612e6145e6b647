package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/explain"
)

// explainer runs stsguard explain --cluster with one user's kubeconfig.
type explainer struct{ program, kubeconfig, dir string }

func newExplainer(t *testing.T, kubeconfig string) *explainer {
	t.Helper()
	e := &explainer{program: filepath.Join(t.TempDir(), "stsguard"), kubeconfig: kubeconfig, dir: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", e.program, "github.com/stsguard/stsguard/cmd/stsguard")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build stsguard: %v\n%s", err, out)
	}
	return e
}

// run returns what is on standard output and error, and the exit code.
func (e *explainer) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), e.program, append([]string{"explain", "--cluster"}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.dir, &out, &errs
	cmd.Env = append(os.Environ(), "KUBECONFIG="+e.kubeconfig)
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestExplainCluster(t *testing.T) {
	e := newExplainer(t, shared.Kubeconfig)
	ns := namespace(t, map[string]string{"stsguard.dev/enforce": "none", "stsguard.dev/warn": "none"})
	for _, s := range []*corev1.Service{
		service("nginx"),
		service("client", func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.Selector = "", map[string]string{"app": "nginx"}
		}),
	} {
		if _, err := shared.Client.CoreV1().Services(ns).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, governing := range map[string]string{"web": "nginx", "db": "client"} {
		s := set(name, governing)
		s.Spec.Replicas = new(int32(2))
		s.Spec.Template.Labels["app"], s.Spec.Selector.MatchLabels["app"] = "nginx", "nginx"
		if _, err := shared.Client.AppsV1().StatefulSets(ns).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	out, stderr, code := e.run(t, "statefulset/web", "-n", ns)
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
	contains(t, out,
		`StatefulSet "web": the DNS names of its 2 pods are guaranteed`+"\n",
		"web-1.nginx."+ns+".svc.cluster.local ", "each pod's name, port 80\n",
		`Service "client" has a cluster IP and selects these pods`,
		`Service "nginx" selects pods of StatefulSet "db", too`)

	out, _, code = e.run(t, "statefulset/db", "-n", ns, "-o", "json")
	if code != 1 {
		t.Errorf("exit code %d of a StatefulSet that a cluster IP governs", code)
	}
	var got explain.Explanation
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.StatefulSets) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	client, err := shared.Client.CoreV1().Services(ns).Get(t.Context(), "client", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	db := got.StatefulSets[0]
	if a := db.Records[0].Addresses; len(a) != 1 || a[0] != client.Spec.ClusterIP {
		t.Errorf("the cluster IP is %s, and explained as %v", client.Spec.ClusterIP, a)
	}
	if db.Location != nil || db.Pods[1].Specification != "not-promised" || db.Pods[1].CoreDNS != "once-ready" {
		t.Errorf("got %+v", db)
	}

	// Without -n it is the context's namespace.
	_, stderr, code = e.run(t, "web")
	if code != 2 {
		t.Errorf("exit code %d of a StatefulSet that isn't there", code)
	}
	contains(t, stderr, `there is no StatefulSet "web" in namespace "default" of cluster stsguard`)
}

// TestExplainWithoutPermission: what may not be read can't be told.
func TestExplainWithoutPermission(t *testing.T) {
	user, err := shared.AddUser("explain-reader")
	if err != nil {
		t.Fatal(err)
	}
	e := newExplainer(t, user.Kubeconfig)
	ns := namespace(t, map[string]string{"stsguard.dev/enforce": "none", "stsguard.dev/warn": "none"})
	if _, err := shared.Client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web", "nginx"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	out, stderr, code := e.run(t, "web", "-n", ns)
	if code != 3 || out != "" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	contains(t, stderr, "may not list statefulsets in namespace "+ns)

	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, Verbs: []string{"list"}}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "explain-reader"}},
	}
	if _, err := shared.Client.RbacV1().Roles(ns).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.Client.RbacV1().RoleBindings(ns).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role counts", func() error {
		if out, stderr, code = e.run(t, "web", "-n", ns); out == "" {
			return errors.New(stderr)
		}
		return nil
	})
	if code != 3 {
		t.Errorf("exit code %d", code)
	}
	contains(t, out, "error: read cluster stsguard: may not list services in namespace "+ns, "can't be told", "unknown")
	if strings.Contains(out, "never") {
		t.Errorf("what could not be read counts as missing:\n%s", out)
	}
}
