package certs

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/features"
	clientfeatures "k8s.io/client-go/features/testing"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
)

// keeper is one whose API server trusts whomever it is told to.
func keeper(secrets corev1client.SecretInterface, clock func() time.Time) *Keeper {
	return &Keeper{
		Secret:    NewSecret(secrets, "certs", clock),
		Names:     names,
		Lifetimes: ordinary,
		Owner:     func(context.Context) (metav1.OwnerReference, error) { return metav1.OwnerReference{}, nil },
		Trust:     func(context.Context, []byte) (bool, error) { return false, nil },
		Clock:     clock,
	}
}

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
			k := keeper(secrets, func() time.Time { return now })
			k.Trust = func(context.Context, []byte) (bool, error) {
				takes("trust")
				return false, nil
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

// A keeper that outlives authorities goes on as ever: what is served never expires,
// and nothing is written when there is nothing to do.
func TestKeeperOfTenYears(t *testing.T) {
	now, writes := epoch, 0
	cluster := fake.NewClientset()
	cluster.PrependReactor("update", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		writes++
		return false, nil, nil
	})
	k := keeper(cluster.CoreV1().Secrets("guards"), func() time.Time { return now })
	step := func() time.Time {
		t.Helper()
		due, err := k.Step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return due
	}
	for now.Before(epoch.AddDate(10, 0, 0)) {
		step()
		// What has been written is heard of.
		due, was := step(), writes
		step()
		if writes != was {
			t.Errorf("%s: written though nothing was due", now)
		}
		if !due.After(now) {
			t.Fatalf("%s: due at %s", now, due)
		}
		now = due
		if err := k.Secret.Ready(now); err != nil {
			t.Error(err)
		}
	}
	if writes < 60 {
		t.Errorf("only %d writes in ten years", writes)
	}
}

// A clock that was ahead is no reason to refuse what comes after it was put right, or
// from a replica whose clock is not.
func TestClockPutRight(t *testing.T) {
	for _, ahead := range []time.Duration{10 * time.Minute, 5 * time.Hour, 1000 * 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			now := epoch.Add(ahead)
			secrets := fake.NewClientset().CoreV1().Secrets("guards")
			k := keeper(secrets, func() time.Time { return now })
			if _, err := k.Step(t.Context()); err != nil {
				t.Fatal(err)
			}

			now = epoch
			k.Names = Names("another", "guards", "cluster.local")
			if _, err := k.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := k.Secret.Ready(now); err != nil {
				t.Error(err)
			}
			served, err := k.Secret.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if !covers(served.Leaf, k.Names) {
				t.Errorf("serves a certificate for %q", served.Leaf.DNSNames)
			}
			written, err := secrets.Get(t.Context(), "certs", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			again, err := secrets.Get(t.Context(), "certs", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(written.Data[corev1.TLSCertKey], again.Data[corev1.TLSCertKey]) {
				t.Error("written again and again")
			}
		})
	}
}

// Who leads again doesn't know what became of trust meanwhile, and so waits anew
// before it relies on another authority. An older Secret that others put back stays
// no longer than until it looks.
func TestOthersMeanwhile(t *testing.T) {
	now := epoch
	secrets := fake.NewClientset().CoreV1().Secrets("guards")
	k := keeper(secrets, func() time.Time { return now })
	step := func() *corev1.Secret {
		t.Helper()
		if _, err := k.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := secrets.Get(t.Context(), "certs", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	leaf := func(s *corev1.Secret) string { return string(s.Data[corev1.TLSCertKey]) }

	first := step()
	if err := secrets.Delete(t.Context(), "certs", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	step()
	now = now.Add(mostSettling)
	k.Forget()
	if leaf(step()) != leaf(first) {
		t.Error("relies on an authority of which it doesn't know whether it is trusted")
	}
	now = now.Add(mostSettling)
	renewed := step()
	if leaf(renewed) == leaf(first) {
		t.Fatal("relies on no other authority")
	}

	older := renewed.DeepCopy()
	older.Data = first.Data
	if _, err := secrets.Update(t.Context(), older, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if leaf(step()) != leaf(renewed) {
		t.Error("went back, or on to yet another certificate")
	}
}

// A replica whose clock is ahead by more than anybody allows for may lead, and renew
// what doesn't end for long. What counts for nobody else yet, nobody else serves, and
// who leads after it puts the Secret right.
func TestLeaderAhead(t *testing.T) {
	now := epoch
	secrets := fake.NewClientset().CoreV1().Secrets("guards")
	k := keeper(secrets, func() time.Time { return now })
	ahead := keeper(secrets, func() time.Time { return now.Add(ordinary.Serving + time.Hour) })
	if _, err := k.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := k.Secret.Expires()
	if _, err := ahead.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	written, err := secrets.Get(t.Context(), "certs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ahead.Secret.Expires().Equal(good) {
		t.Fatal("nothing was renewed")
	}

	k.Secret.hear(logr.Discard(), written)
	if err := k.Secret.Ready(now); err != nil {
		t.Error(err)
	}
	if _, err := k.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := k.Secret.Ready(now); err != nil || !k.Secret.Expires().Equal(good) {
		t.Errorf("serves what expires on %s, want %s; %v", k.Secret.Expires(), good, err)
	}
	// A new replica knows nothing but the Secret.
	another := keeper(secrets, func() time.Time { return now })
	if _, err := another.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !another.Secret.Expires().Equal(good) {
		t.Error("the Secret was not put right")
	}
}

// Whoever's clock is behind takes a certificate once it counts, though nobody writes
// the Secret again.
func TestTakenOnceItCounts(t *testing.T) {
	clientfeatures.SetFeatureDuringTest(t, features.WatchListClient, false) // of which the fake knows nothing
	synctest.Test(t, func(t *testing.T) {
		secrets := fake.NewClientset().CoreV1().Secrets("guards")
		replica := NewSecret(secrets, "certs", time.Now)
		var running sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		defer running.Wait()
		defer cancel()
		running.Go(func() { _ = replica.Start(ctx) })
		lifetimes := Lifetimes{Serving: 4 * time.Hour}
		write := func(clock func() time.Time) {
			t.Helper()
			k := keeper(secrets, clock)
			k.Lifetimes = lifetimes
			if _, err := k.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		write(time.Now)
		time.Sleep(time.Minute)
		first := replica.Expires()
		began := time.Now()
		write(func() time.Time { return began.Add(lifetimes.Serving) })
		time.Sleep(time.Minute)
		if !replica.Expires().Equal(first) {
			t.Error("taken though it doesn't count")
		}
		time.Sleep(lifetimes.Serving)
		if replica.Expires().Equal(first) {
			t.Error("not taken though it counts")
		}
	})
}
