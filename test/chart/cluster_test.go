package chart

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/docs"
	"github.com/stsguard/stsguard/test/guarded"
)

// TestInstalled has a real API server take what the documentation says is
// applied: each object, twice, without a warning; the pods, in a namespace of
// restricted Pod Security; and then the webhook, with the flags, the
// configuration and the account of those pods.
func TestInstalled(t *testing.T) {
	audit := startAudit(t)
	cp, err := controlplane.Start(t.Context(), controlplane.Options{APIServerArgs: audit.args()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		t.Fatal(err)
	}
	install := path("deploy", "install.yaml")
	first := kubectl(t, cp, nil, "apply", "-f", install)
	all := objects(t, values(t, "createNamespace=true"))
	if got := strings.Count(first, " created\n"); got != len(all) {
		t.Errorf("%d objects of %d were made:\n%s", got, len(all), first)
	}
	// What the API server changes by itself would have tools that compare apply
	// it again and again.
	again := kubectl(t, cp, nil, "apply", "-f", install)
	for line := range strings.Lines(again) {
		// kubectl sends the selector of a PodDisruptionBudget each time, since it
		// is to be replaced as a whole.
		if !strings.HasSuffix(line, " unchanged\n") && !strings.HasPrefix(line, "poddisruptionbudget.policy/") {
			t.Errorf("applied again: %s", line)
		}
	}
	// What others' operators read is held against their definitions.
	for _, definitions := range []func(context.Context) (string, error){controlplane.CertManagerDefinitions, serviceMonitorDefinition} {
		file, err := definitions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := cp.Define(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	}
	for name, v := range variants {
		in := namespace
		if strings.Contains(strings.Join(v.set, " "), "hostNetwork=true") {
			in = metav1.NamespaceDefault // where Pod Security forbids nothing
		}
		var text strings.Builder
		for _, o := range objectsIn(t, in, values(t, v.set...)) {
			if o.kind != "Namespace" {
				text.WriteString("---\n" + o.text)
			}
		}
		t.Run(name, func(t *testing.T) {
			kubectl(t, cp, strings.NewReader(text.String()), "apply", "--validate=strict", "--dry-run=server", "-f", "-")
		})
	}

	eventually(t, "pods of the Deployment", func() error {
		pods, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(pods.Items) != 2 {
			d, getErr := client.AppsV1().Deployments(namespace).Get(t.Context(), "stsguard-webhook", metav1.GetOptions{})
			err = fmt.Errorf("%d pods, %v, %v", len(pods.Items), d.Status.Conditions, getErr)
		}
		return err
	})
	t.Run("serve", func(t *testing.T) { serve(t, cp, client, all, audit) })
}

// serviceMonitorDefinition is the file of the Prometheus operator's
// CustomResourceDefinition of ServiceMonitors.
func serviceMonitorDefinition(ctx context.Context) (string, error) {
	source, err := controlplane.ModuleSource(ctx, "prometheusoperator", "github.com/prometheus-operator/prometheus-operator")
	return filepath.Join(source, "example", "prometheus-operator-crd", "monitoring.coreos.com_servicemonitors.yaml"), err
}

// serve runs the webhook as the pods would, until it has done everything that it
// may do, and nothing was refused. Then it is uninstalled.
func serve(t *testing.T, cp *controlplane.ControlPlane, client *kubernetes.Clientset, all []object, audit auditLog) {
	// Some API servers can't stream a list as a watch: then it has to list.
	t.Setenv("KUBE_FEATURE_WatchListClient", "false")
	user, err := cp.AddUser(account)
	if err != nil {
		t.Fatal(err)
	}
	s, err := guarded.StartServer(t.Context(), cp, guarded.ServerOptions{
		Kubeconfig: user.Kubeconfig,
		Config:     get[*corev1.ConfigMap](t, all, "stsguard").Data[config.FileName],
		Args:       append(guarded.Portable(container(t, all, "stsguard-webhook").Args), "--cert-dir=", "--namespace="+namespace, "--metrics-plain-http=false"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	// There is no kubelet that would say that a pod is ready.
	if _, err := client.DiscoveryV1().EndpointSlices(namespace).Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "ready", Labels: map[string]string{discoveryv1.LabelServiceName: "stsguard-webhook"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "webhook configurations", func() error {
		if _, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "stsguard", metav1.GetOptions{}); err != nil {
			return err
		}
		c, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "stsguard", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := *c.Webhooks[0].FailurePolicy; got != admissionv1.Fail {
			t.Errorf("failurePolicy %s", got)
		}
		return nil
	})

	// An upgrade goes through while no replica can answer: its own namespace is
	// left alone.
	kubectl(t, cp, nil, "apply", "-f", path("deploy", "install.yaml"))

	spoil(t, client)
	ask(t, s)
	scrape(t, s, strings.TrimSpace(kubectl(t, cp, nil, "create", "token", "default")))
	eventually(t, "use of all rights", func() error { return audit.unused(t) })

	// As docs/uninstall.md has it.
	kubectl(t, cp, nil, "delete", "clusterrole", "stsguard", "--cascade=foreground")
	for _, b := range docs.Blocks(t, "docs/uninstall.md", "kubectl delete -f deploy/install.yaml") {
		b.Run(t, path(), append(os.Environ(), cp.Env()...))
	}
}

// spoil changes what the webhook keeps, so that it has to put it right.
func spoil(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	ctx, api := t.Context(), client.AdmissionregistrationV1()
	patch := []byte(`[{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":1}]`)
	if _, err := api.ValidatingWebhookConfigurations().Patch(ctx, "stsguard", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.MutatingWebhookConfigurations().Patch(ctx, "stsguard", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets(namespace).Patch(ctx, "stsguard-webhook-certs", types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/data/tls.crt","value":"AAAA"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// ask has the webhook deny something, for which it reads the cluster itself.
func ask(t *testing.T, s *guarded.Server) {
	t.Helper()
	review := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE",
		"kind":{"group":"apps","version":"v1","kind":"StatefulSet"},"resource":{"group":"apps","version":"v1","resource":"statefulsets"},
		"namespace":"default","name":"web","userInfo":{"username":"somebody"},
		"object":{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"web","namespace":"default"},"spec":{
			"serviceName":"missing","selector":{"matchLabels":{"app":"web"}},
			"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"c"}]}}}}}}`
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Post(s.Base+"/validate", "application/json", strings.NewReader(review))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(body), `"allowed":false`) {
		t.Fatalf("%v: %s %s", err, answer.Status, body)
	}
}

// scrape asks for metrics with the token of somebody who may not have them.
func scrape(t *testing.T, s *guarded.Server, token string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(s.Metrics, "http://", "https://", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		body, err := io.ReadAll(answer.Body)
		t.Errorf("metrics: %s %s %v", answer.Status, body, err)
	}
}

// account is who the webhook is to the API server.
const account = "system:serviceaccount:" + namespace + ":stsguard-webhook"

// auditLog is what the API server writes down of what the webhook does. It is in
// a directory with the policy for that.
type auditLog string

func startAudit(t *testing.T) auditLog {
	t.Helper()
	dir := t.TempDir()
	policy := "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: Metadata, users: ['" + account + "']}\n"
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	return auditLog(dir)
}

func (a auditLog) args() []string {
	return []string{"--audit-policy-file=" + filepath.Join(string(a), "policy.yaml"), "--audit-log-path=" + filepath.Join(string(a), "audit.log")}
}

// unused says which rights the webhook has not made use of. What it was refused is
// an error at once.
func (a auditLog) unused(t *testing.T) error {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(string(a), "audit.log"))
	if err != nil {
		return err
	}
	type event struct {
		Verb           string
		ObjectRef      struct{ APIGroup, Resource, Name string }
		ResponseStatus struct{ Code int }
	}
	var events []event
	for line := range strings.Lines(string(text)) {
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			continue // the API server is writing it
		}
		if e.ResponseStatus.Code == http.StatusForbidden {
			t.Fatalf("the webhook was refused something: %s", line)
		}
		events = append(events, e)
	}
	var unused []string
	for _, r := range rights {
		for _, resource := range r.resources {
			if resource == finalizers {
				continue // nobody calls it: some API servers look for the right alone
			}
			for _, verb := range r.verbs {
				if !slices.ContainsFunc(events, func(e event) bool {
					o := e.ObjectRef
					return e.Verb == verb && o.APIGroup == r.group && o.Resource == resource && (r.name == "" || o.Name == r.name)
				}) {
					unused = append(unused, strings.TrimSpace(verb+" "+resource+" "+r.name))
				}
			}
		}
	}
	if len(unused) > 0 {
		return fmt.Errorf("it may and never did: %s", strings.Join(unused, ", "))
	}
	return nil
}

// kubectl runs it, and wants neither an error nor a warning.
func kubectl(t *testing.T, cp *controlplane.ControlPlane, stdin *strings.Reader, args ...string) string {
	t.Helper()
	c := cp.Kubectl(t.Context(), args...)
	if stdin != nil {
		c.Stdin = stdin
	}
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil || stderr.Len() > 0 {
		t.Errorf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, &stderr, &stdout)
	}
	return stdout.String()
}

// eventually tries again for a while.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	controlplane.Eventually(t, time.Minute, what, check)
}
