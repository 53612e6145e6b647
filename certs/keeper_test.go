package certs

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// A step takes its time: what comes due meanwhile is done by it, or by the next
// one at once.
func TestDueMeanwhile(t *testing.T) {
	for name, slow := range map[string]string{
		"reading": "get",
		"writing": "create",
		"trust":   "trust",
	} {
		t.Run(name, func(t *testing.T) {
			now, late := epoch, ""
			takes := func(what string) {
				if what == late {
					now = now.Add(2 * time.Second)
				}
			}
			cluster := fake.NewClientset()
			cluster.PrependReactor("*", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
				takes(a.GetVerb())
				return false, nil, nil
			})
			secrets := cluster.CoreV1().Secrets("guards")
			k := &Keeper{
				Secret:    NewSecret(secrets, "certs"),
				Names:     names,
				Lifetimes: ordinary,
				Owner:     func(context.Context) (metav1.OwnerReference, error) { return metav1.OwnerReference{}, nil },
				Trust: func(context.Context, []byte) (bool, error) {
					takes("trust")
					return false, nil
				},
				Clock: func() time.Time { return now },
			}
			step := func() time.Time {
				t.Helper()
				due, err := k.Step(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return due
			}
			step()
			was := k.Secret.Expires()
			renewal := was.Add(-ordinary.renewal())

			// Whoever deletes it has it written.
			if err := secrets.Delete(t.Context(), "certs", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			now, late = renewal.Add(-time.Second), slow
			due := step()
			if !now.After(renewal) {
				t.Fatal("the step took no time")
			}
			if due.After(now) && k.Secret.Expires().Equal(was) {
				t.Errorf("it is %s, and the renewal of %s waits until %s", now, renewal, due)
			}
			late = ""
			step()
			if !k.Secret.Expires().After(was) {
				t.Error("not renewed")
			}
		})
	}
}
