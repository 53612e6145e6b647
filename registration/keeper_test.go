package registration

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// scene is a keeper in a cluster without stsguard's endpoints, as yet.
type scene struct {
	*testing.T
	*Keeper
	now time.Time
	// changes are those of others, of which each makes another version.
	changes int
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{T: t, now: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)}
	s.Keeper = &Keeper{
		Client:  fake.NewClientset(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: options.Name, UID: "1"}}),
		Options: options,
		Clock:   func() time.Time { return s.now },
	}
	return s
}

// endpoint makes one of the Service, or changes it.
func (s *scene) endpoint(namespace, service string, ready bool) {
	s.Helper()
	slices := s.Client.DiscoveryV1().EndpointSlices(namespace)
	e := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Endpoints:  []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: new(ready)}}},
	}
	_, err := slices.Create(s.Context(), e, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = slices.Update(s.Context(), e, metav1.UpdateOptions{})
	}
	if err != nil {
		s.Fatal(err)
	}
}

// apply checks whether it has to wait.
func (s *scene) apply(what string, waits bool) {
	s.Helper()
	if _, err := s.Apply(s.Context(), []byte("bundle")); errors.Is(err, ErrNoEndpoint) != waits || err != nil && !waits {
		s.Errorf("%s: got %v", what, err)
	}
}

func (s *scene) validating() *admissionv1.ValidatingWebhookConfiguration {
	s.Helper()
	v, err := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(s.Context(), options.Name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return v
}

// ignore sees to it that nothing fails, as somebody does while no replica answers.
func (s *scene) ignore() {
	s.Helper()
	v := s.validating()
	v.Webhooks[0].FailurePolicy = new(admissionv1.Ignore)
	v.Webhooks[0].TimeoutSeconds = new(int32(1))
	s.changes++
	v.ResourceVersion = strconv.Itoa(s.changes)
	if _, err := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Update(s.Context(), v, metav1.UpdateOptions{}); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) policy(what string, want admissionv1.FailurePolicyType) {
	s.Helper()
	if got := *s.validating().Webhooks[0].FailurePolicy; got != want {
		s.Errorf("%s: it says %s", what, got)
	}
}

// Nobody is held up before a replica has been ready for a while, at the start and
// after every outage.
func TestWaitsForAnEndpoint(t *testing.T) {
	s := newScene(t)
	s.apply("no endpoint", true)
	s.endpoint(options.Namespace, "another", true)
	s.endpoint("another", options.Service, true)
	s.endpoint(options.Namespace, options.Service, false)
	s.now = s.now.Add(reachable)
	s.apply("those of others, and one that isn't ready", true)
	s.now = s.now.Add(reachable)
	s.apply("and again", true)
	s.endpoint(options.Namespace, options.Service, true)
	s.apply("not long ready", true)
	if bundles, err := s.Trusted(t.Context()); len(bundles) != 0 || err != nil {
		t.Errorf("got %q, %v", bundles, err)
	}
	s.now = s.now.Add(reachable)
	s.apply("long ready", false)
	s.policy("made", admissionv1.Fail)

	// What fails already does so while nobody answers, too.
	s.endpoint(options.Namespace, options.Service, false)
	s.now = s.now.Add(time.Minute)
	s.apply("gone", false)
	s.policy("gone", admissionv1.Fail)

	s.endpoint(options.Namespace, options.Service, true)
	s.ignore()
	s.apply("just back", true)
	s.policy("just back", admissionv1.Ignore)
	if *s.validating().Webhooks[0].TimeoutSeconds != options.TimeoutSeconds {
		t.Error("all else isn't put right")
	}
	s.now = s.now.Add(reachable)
	s.apply("back for long", false)
	s.policy("back for long", admissionv1.Fail)
}

// What somebody changes while a replica has long been ready is put right at once.
func TestPutsRightAtOnce(t *testing.T) {
	s := newScene(t)
	s.endpoint(options.Namespace, options.Service, true)
	s.apply("just ready", true)
	s.now = s.now.Add(reachable)
	s.apply("made", false)
	s.now = s.now.Add(time.Minute)
	s.apply("nothing to do", false)
	s.ignore()
	s.apply("put right", false)
	s.policy("put right", admissionv1.Fail)
}

// Both leave the same alone, belong to the ClusterRole and trust the same.
func TestBothConfigurations(t *testing.T) {
	s := newScene(t)
	s.SetExemptions(Exemptions{Namespaces: []string{"exempt"}, Usernames: []string{"ops"}})
	s.endpoint(options.Namespace, options.Service, true)
	s.apply("just ready", true)
	s.now = s.now.Add(reachable)
	s.apply("made", false)
	v := s.validating()
	m, err := s.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), options.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, c admissionv1.WebhookClientConfig, namespaces *metav1.LabelSelector, conditions []admissionv1.MatchCondition) {
		if len(namespaces.MatchExpressions) != 1 || !slices.Equal(namespaces.MatchExpressions[0].Values, []string{"exempt"}) {
			t.Errorf("%s: asks about %v", name, namespaces)
		}
		if len(conditions) != 2 || conditions[0].Name != "not-deleting" || !strings.Contains(conditions[1].Expression, `"ops"`) {
			t.Errorf("%s: asks on %v", name, conditions)
		}
		if !bytes.Equal(c.CABundle, []byte("bundle")) {
			t.Errorf("%s: trusts %q", name, c.CABundle)
		}
	}
	for _, w := range v.Webhooks {
		check(w.Name, w.ClientConfig, w.NamespaceSelector, w.MatchConditions)
	}
	check(m.Webhooks[0].Name, m.Webhooks[0].ClientConfig, m.Webhooks[0].NamespaceSelector, m.Webhooks[0].MatchConditions)
	for _, o := range []metav1.Object{v, m} {
		if refs := o.GetOwnerReferences(); len(refs) != 1 || refs[0].UID != "1" {
			t.Errorf("%T belongs to %v", o, refs)
		}
	}

	// A replica may serve what only one of them trusts as yet.
	m.Webhooks[0].ClientConfig.CABundle = []byte("older")
	if _, err := s.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	bundles, err := s.Trusted(t.Context())
	if err != nil || len(bundles) != 3 || string(bundles[0]) != "bundle" || string(bundles[2]) != "older" {
		t.Errorf("got %q, %v", bundles, err)
	}
}

// Whoever is being uninstalled makes nothing anew.
func TestOwnerOnItsWayOut(t *testing.T) {
	s := newScene(t)
	roles := s.Client.RbacV1().ClusterRoles()
	role, err := roles.Get(t.Context(), options.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.DeletionTimestamp, role.Finalizers = new(metav1.NewTime(s.now)), []string{metav1.FinalizerDeleteDependents}
	if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.endpoint(options.Namespace, options.Service, true)
	for range 2 {
		if _, err := s.Apply(t.Context(), nil); err == nil || errors.Is(err, ErrNoEndpoint) {
			t.Errorf("got %v", err)
		}
		s.now = s.now.Add(reachable)
	}
	if bundles, err := s.Trusted(context.Background()); len(bundles) != 0 || err != nil {
		t.Errorf("got %q, %v", bundles, err)
	}
}

// That an endpoint was ready long ago says nothing of the one that is ready now:
// while the API server was away, nobody looked.
func TestNobodyLooked(t *testing.T) {
	s := newScene(t)
	s.endpoint(options.Namespace, options.Service, true)
	s.apply("just ready", true)
	s.now = s.now.Add(reachable)
	s.apply("made", false)
	s.now = s.now.Add(time.Hour)
	s.ignore()
	s.apply("an hour later", true)
	s.policy("an hour later", admissionv1.Ignore)
	s.now = s.now.Add(reachable)
	s.apply("ready for long", false)
	s.policy("ready for long", admissionv1.Fail)
}
