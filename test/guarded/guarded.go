// Package guarded runs a real control plane whose API server asks a real
// stsguard-webhook: a process of its own, over TLS on the loopback address,
// with no more rights than it needs. It is for tests and demonstrations.
package guarded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/stsguard/stsguard/test/controlplane"
)

// registerTimeout is how long the API server may take to ask the webhook once
// it is registered. It takes a second.
const registerTimeout = time.Minute

// Options say how a guarded control plane differs from the usual. The zero
// value is good.
type Options struct {
	ControlPlane controlplane.Options
	// Config is the content of stsguard.yaml; empty for none.
	Config string
	// Namespaces are created first, without labels.
	Namespaces []string
	// Args are more flags of stsguard-webhook.
	Args []string
	// Through puts something between the webhook and the API server: it gets
	// the webhook's user, and returns the path of the kubeconfig to use in
	// place of the user's own. Nil: there is nothing in between.
	Through func(user *controlplane.User) (kubeconfig string, err error)
	// Output gets a line per step. Nil: nobody is told.
	Output io.Writer
}

// Guarded is a control plane whose API server asks stsguard. Stop, of the
// control plane, ends both.
type Guarded struct {
	*controlplane.ControlPlane
	// Client is an admin's, without a rate limit.
	Client *kubernetes.Clientset
	Server *Server
}

// Start starts both and returns when the API server asks the webhook. The
// context is only for the start. When it fails, nothing is left.
func Start(ctx context.Context, opts Options) (*Guarded, error) {
	if opts.Output == nil {
		opts.Output = io.Discard
	}
	if opts.ControlPlane.Output == nil {
		opts.ControlPlane.Output = opts.Output
	}
	cp, err := controlplane.Start(ctx, opts.ControlPlane)
	if err != nil {
		return nil, err
	}
	g, err := Guard(ctx, cp, opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start stsguard: %w", err), cp.Stop())
	}
	return g, nil
}

// Guard starts stsguard beside a control plane that runs already.
func Guard(ctx context.Context, cp *controlplane.ControlPlane, opts Options) (*Guarded, error) {
	client, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		return nil, err
	}
	g := &Guarded{ControlPlane: cp, Client: client}
	for _, name := range opts.Namespaces {
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	user, err := cp.AddUser(userName)
	if err != nil {
		return nil, err
	}
	if err := Grant(ctx, client, userName); err != nil {
		return nil, err
	}
	kubeconfig := user.Kubeconfig
	if opts.Through != nil {
		if kubeconfig, err = opts.Through(user); err != nil {
			return nil, err
		}
	}
	if g.Server, err = StartServer(ctx, cp, ServerOptions{Kubeconfig: kubeconfig, Config: opts.Config, Args: opts.Args}); err != nil {
		return nil, err
	}
	if err := g.Server.WaitReady(ctx); err != nil {
		return nil, err
	}
	if err := Register(ctx, client, g.Server.Base, cp.Config.CAData); err != nil {
		return nil, err
	}
	if err := g.waitAsked(ctx); err != nil {
		return nil, err
	}
	if opts.Output != nil {
		fmt.Fprintln(opts.Output, "stsguard-webhook is ready and registered")
	}
	return g, nil
}

// userName is who the webhook is to the API server.
const userName = "system:serviceaccount:stsguard:stsguard-webhook"

// Grant lets a user do what the webhook has to, and nothing else.
func Grant(ctx context.Context, client kubernetes.Interface, user string) error {
	meta := metav1.ObjectMeta{Name: "stsguard-webhook"}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
	}}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: meta.Name + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	return err
}

// Register has the API server ask the webhook at this address, and refuse what
// it gets no answer about.
func Register(ctx context.Context, client kubernetes.Interface, base string, ca []byte) error {
	rule := func(group, resource string, operations ...admissionv1.OperationType) admissionv1.RuleWithOperations {
		return admissionv1.RuleWithOperations{Operations: operations, Rule: admissionv1.Rule{
			APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource},
		}}
	}
	at := func(path string) admissionv1.WebhookClientConfig {
		return admissionv1.WebhookClientConfig{URL: new(base + path), CABundle: ca}
	}
	meta := metav1.ObjectMeta{Name: "stsguard"}
	validating := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionv1.ValidatingWebhook{{
		Name:         "validate.stsguard.dev",
		ClientConfig: at("/validate"),
		Rules: []admissionv1.RuleWithOperations{
			rule("apps", "statefulsets", admissionv1.Create, admissionv1.Update),
			rule("", "services", admissionv1.Create, admissionv1.Update, admissionv1.Delete),
		},
		FailurePolicy:           new(admissionv1.Fail),
		MatchPolicy:             new(admissionv1.Equivalent),
		SideEffects:             new(admissionv1.SideEffectClassNone),
		TimeoutSeconds:          new(int32(5)),
		AdmissionReviewVersions: []string{"v1"},
	}}}
	if _, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, validating, metav1.CreateOptions{}); err != nil {
		return err
	}
	mutating := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionv1.MutatingWebhook{{
		Name:                    "mutate.stsguard.dev",
		ClientConfig:            at("/mutate"),
		Rules:                   []admissionv1.RuleWithOperations{rule("", "services", admissionv1.Create)},
		FailurePolicy:           new(admissionv1.Fail),
		MatchPolicy:             new(admissionv1.Equivalent),
		SideEffects:             new(admissionv1.SideEffectClassNone),
		TimeoutSeconds:          new(int32(5)),
		AdmissionReviewVersions: []string{"v1"},
	}}}
	_, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, mutating, metav1.CreateOptions{})
	return err
}

// waitAsked creates a Service, in a dry-run, until both webhooks have heard of
// one: the API server learns of a registration a little later.
func (g *Guarded) waitAsked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	probe := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "stsguard-probe"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	return g.Server.Process.WaitReady(ctx, "the API server to ask", func(ctx context.Context) error {
		if _, err := g.Client.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			return err
		}
		text, err := g.Server.Scrape(ctx)
		if err != nil {
			return err
		}
		for _, webhook := range []string{"validate", "mutate"} {
			if !strings.Contains(text, `operation="CREATE",webhook="`+webhook+`"`) {
				return fmt.Errorf("no request to /%s yet", webhook)
			}
		}
		return nil
	})
}
