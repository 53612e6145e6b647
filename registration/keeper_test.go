package registration

import (
	"errors"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// That an endpoint was ready long ago says nothing of the one that is ready now:
// while the API server was away, nobody looked.
func TestReadyAgain(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cluster := fake.NewClientset(
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "stsguard"}},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: "hook-1", Namespace: "guards", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}},
			Endpoints:  []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		},
	)
	k := &Keeper{
		Client:  cluster,
		Options: Options{Name: "stsguard", Namespace: "guards", Service: "hook", Policies: DefaultPolicies, TimeoutSeconds: 5},
		Clock:   func() time.Time { return now },
	}
	// apply looks again and again, as a leader does, until nothing has to wait.
	apply := func() (waited time.Duration) {
		t.Helper()
		for began := now; ; now = now.Add(time.Second) {
			_, err := k.Apply(t.Context(), []byte("bundle"))
			if err == nil {
				return now.Sub(began)
			}
			if !errors.Is(err, ErrNoEndpoint) || now.Sub(began) > time.Minute {
				t.Fatal(err)
			}
		}
	}
	if waited := apply(); waited != reachable {
		t.Errorf("at the start it waited %s, want %s", waited, reachable)
	}
	if waited := apply(); waited != 0 {
		t.Errorf("waited %s though nothing had to be done", waited)
	}

	// Months later somebody sees to it that nothing fails while no replica answers.
	now = now.AddDate(0, 3, 0)
	api := cluster.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	c, err := api.Get(t.Context(), "stsguard", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.ResourceVersion = "other"
	c.Webhooks[0].FailurePolicy = new(admissionv1.Ignore)
	if _, err := api.Update(t.Context(), c, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if waited := apply(); waited != reachable {
		t.Errorf("months later it waited %s, want %s", waited, reachable)
	}
	if c, err = api.Get(t.Context(), "stsguard", metav1.GetOptions{}); err != nil || *c.Webhooks[0].FailurePolicy != admissionv1.Fail {
		t.Errorf("got %v, %v", c, err)
	}
}
