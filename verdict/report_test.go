package verdict_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/verdict"
)

// wrongWorld holds StatefulSets whose Services have a cluster IP, or aren't
// there.
func wrongWorld(sets int) *inventory.Store {
	store := &inventory.Store{}
	for i := range sets {
		name := fmt.Sprintf("web-%d", i)
		labels := map[string]string{"app": name}
		store.PutStatefulSet(&inventory.StatefulSet{
			Meta: inventory.Meta{Namespace: "shop", Name: name}, ServiceName: name, Selector: labels, PodLabels: labels, Replicas: 1,
		})
		if i%2 == 0 {
			store.PutService(&inventory.Service{Meta: inventory.Meta{Namespace: "shop", Name: name}, Type: "ClusterIP", Selector: labels})
		}
	}
	return store
}

func newReportJudge(t *testing.T) *verdict.Judge {
	t.Helper()
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	j := verdict.New(rules, config.Default(), "", time.Now)
	return j
}

func TestReportIsTheSameEveryTime(t *testing.T) {
	j := newReportJudge(t)
	store := wrongWorld(40)
	first := j.Report(t.Context(), store, verdict.Levels{Enforce: policies.Baseline, Warn: policies.Strict})
	if len(first.Decisions) < 40 || len(first.Errors) > 0 {
		t.Fatalf("%d decisions, errors %v", len(first.Decisions), first.Errors)
	}
	for range 5 {
		if again := j.Report(t.Context(), store, verdict.Levels{Enforce: policies.Baseline, Warn: policies.Strict}); !reflect.DeepEqual(first, again) {
			t.Fatalf("got %+v, then %+v", first, again)
		}
	}
}

func TestReportSaysThatItWasInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := newReportJudge(t).Report(ctx, wrongWorld(4), verdict.Levels{Enforce: policies.Baseline, Warn: policies.Strict})
	if len(r.Decisions) > 0 || len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error(), "judging was interrupted") {
		t.Errorf("%d decisions, errors %v", len(r.Decisions), r.Errors)
	}
}
