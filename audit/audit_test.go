package audit

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

type fixed inventory.Snapshot

func (c *fixed) Snapshot(context.Context, ...string) (*inventory.Snapshot, error) {
	return (*inventory.Snapshot)(c), nil
}

// run audits a StatefulSet whose Service is missing.
func run(t *testing.T, namespaces []string, unread ...inventory.Permission) *report.Report {
	t.Helper()
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	judge := verdict.New(rules, config.Default(), "", time.Now)
	store := &inventory.Store{}
	store.PutNamespace(&inventory.Namespace{Name: "shop"})
	store.PutStatefulSet(&inventory.StatefulSet{Meta: inventory.Meta{Namespace: "shop", Name: "db"}, ServiceName: "db", Replicas: 1})
	return Run(t.Context(), Options{Cluster: &fixed{Store: store, Unread: unread}, Namespaces: namespaces, Judge: judge})
}

// A namespace that isn't there has not passed, but was misspelt.
func TestNoSuchNamespace(t *testing.T) {
	if r := run(t, []string{"shop"}); len(r.Errors) != 0 {
		t.Errorf("errors: %+v", r.Errors)
	}
	r := run(t, []string{"shp"})
	if len(r.Errors) != 1 || r.Errors[0].Message != `namespace "shp" is not in the cluster` {
		t.Errorf("errors: %+v", r.Errors)
	}
}

// What could not be judged has passed nothing, and is not what enforcement
// would allow.
func TestWhatIsNotJudged(t *testing.T) {
	missing := inventory.Permission{Verb: "list", Resource: "services", Namespace: "shop"}
	for name, tc := range map[string]struct {
		unread   []inventory.Permission
		judged   int
		contains string
	}{
		"all":    {nil, 1, "# What enforcement would deny today."},
		"unread": {[]inventory.Permission{missing}, 0, "# Not everything could be read and judged."},
	} {
		r := run(t, []string{"shop"}, tc.unread...)
		if len(r.Judged) != tc.judged {
			t.Errorf("%s: %d judged, want %d", name, len(r.Judged), tc.judged)
		}
		text, err := Exceptions(r)
		if err != nil || !strings.HasPrefix(string(text), tc.contains) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

// What is wrong with a Service is found once, with each of its StatefulSets.
func TestExceptionsForAll(t *testing.T) {
	r := &report.Report{Findings: []report.Finding{{
		Rule: "port-remapped", StatefulSet: "a", Status: report.Open, Severity: report.SeverityError,
		Object: report.Object{Kind: "Service", Namespace: "shop", Name: "web"},
		Judged: []string{string((&inventory.StatefulSet{Meta: inventory.Meta{Namespace: "shop", Name: "a"}}).Ref()), string((&inventory.StatefulSet{Meta: inventory.Meta{Namespace: "shop", Name: "b"}}).Ref())},
	}}}
	text, err := Exceptions(r)
	if err != nil || !strings.Contains(string(text), "- name: a\n") || !strings.Contains(string(text), "- name: b\n") {
		t.Errorf("%v\n%s", err, text)
	}
}
