package verdict

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
)

// world is a cluster in memory; live reads see it as it is.
type world struct {
	*inventory.Store
	fail error
	pods bool
}

func (w world) Read(_ context.Context, _ string) (inventory.Reader, error) {
	return w.Store, w.fail
}

func (w world) PodsRun(context.Context, *inventory.StatefulSet) (bool, error) { return w.pods, w.fail }

type option func(*config.Configuration)

func judge(t *testing.T, options ...option) *Judge {
	t.Helper()
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	for _, o := range options {
		o(c)
	}
	j := New(rules, c, "stsguard", func() time.Time { return time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC) })
	return j
}

var nginx = map[string]string{"app": "nginx"}

func service(change ...func(*inventory.Service)) *inventory.Service {
	s := &inventory.Service{
		Meta: inventory.Meta{Namespace: "default", Name: "nginx"}, Type: "ClusterIP", ClusterIP: "None",
		SessionAffinity: "None", Selector: nginx,
		Ports: []inventory.ServicePort{{Name: "web", Protocol: "TCP", Port: 80, TargetPort: "80"}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func set(change ...func(*inventory.StatefulSet)) *inventory.StatefulSet {
	s := &inventory.StatefulSet{
		Meta: inventory.Meta{Namespace: "default", Name: "web"}, ServiceName: "nginx", Replicas: 2,
		Selector: nginx, PodLabels: nginx,
		Ports: []inventory.ContainerPort{{Name: "web", Protocol: "TCP", Port: 80}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func ip(s *inventory.Service)        { s.ClusterIP, s.ClusterIPs = "10.0.0.5", []string{"10.0.0.5"} }
func undecided(s *inventory.Service) { s.ClusterIP = "" }

func remapped(s *inventory.Service) { s.Ports[0].Port = 8080 }

func named(name string) func(*inventory.Service) {
	return func(s *inventory.Service) { s.Name = name }
}

func selecting(app string) func(*inventory.Service) {
	return func(s *inventory.Service) { s.Selector = map[string]string{"app": app} }
}

func annotated(key, value string) func(*inventory.Service) {
	return func(s *inventory.Service) { s.Annotations = map[string]string{"stsguard.dev/" + key: value} }
}

func governedBy(name string) func(*inventory.StatefulSet) {
	return func(s *inventory.StatefulSet) { s.ServiceName = name }
}

func ignoring(rule string) func(*inventory.StatefulSet) {
	return func(s *inventory.StatefulSet) { s.Annotations = map[string]string{"stsguard.dev/ignore": rule} }
}

func create(o any) *Request { return request(Create, nil, o) }

func request(op Operation, before, after any) *Request {
	r := &Request{Operation: op, Namespace: "default", Username: "kubernetes-admin"}
	switch o := before.(type) {
	case *inventory.Service:
		r.ServiceBefore = o
	case *inventory.StatefulSet:
		r.StatefulSetBefore = o
	}
	switch o := after.(type) {
	case *inventory.Service:
		r.ServiceAfter = o
	case *inventory.StatefulSet:
		r.StatefulSetAfter = o
	}
	return r
}

func cluster(objects ...any) world {
	w := world{Store: &inventory.Store{}}
	w.PutNamespace(&inventory.Namespace{Name: "default"})
	for _, o := range objects {
		switch o := o.(type) {
		case *inventory.Service:
			w.PutService(o)
		case *inventory.StatefulSet:
			w.PutStatefulSet(o)
		case *inventory.Namespace:
			w.PutNamespace(o)
		}
	}
	return w
}

func labelled(pairs ...string) *inventory.Namespace {
	ns := &inventory.Namespace{Name: "default", Labels: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		ns.Labels["stsguard.dev/"+pairs[i]] = pairs[i+1]
	}
	return ns
}

// said writes decisions as "mode rule", the strongest first.
func said(a *Admission) string {
	var out []string
	for _, d := range a.Decisions {
		out = append(out, string(d.Mode)+" "+d.Rule.ID)
	}
	return strings.Join(out, ", ")
}

func TestAdmit(t *testing.T) {
	controlled := func(s *inventory.Service) { s.Controller = "Redis/main" }
	long := func(s *inventory.StatefulSet) { s.Name = strings.Repeat("x", 53) }
	managed := func(name string) *inventory.StatefulSet {
		return set(func(s *inventory.StatefulSet) { s.Name, s.Controller = name, "Redis/main" })
	}
	for name, tc := range map[string]struct {
		have    world
		request *Request
		options []option
		want    string
	}{
		"a right pair": {have: cluster(service()), request: create(set())},
		"service missing": {
			have: cluster(), request: create(set()), want: "enforce service-not-found",
		},
		"no name": {have: cluster(), request: create(set(governedBy(""))), want: "enforce service-name-missing"},
		"cluster IP": {
			have: cluster(service(ip)), request: create(set()), want: "enforce service-not-headless",
		},
		"a Service nobody names": {have: cluster(set(governedBy("other"))), request: create(service(ip, selecting("x")))},
		"creating the missing Service with a cluster IP is denied": {
			have: cluster(set()), request: create(service(ip)), want: "enforce service-not-headless",
		},
		"creating it headless": {have: cluster(set()), request: create(service())},
		"creating it headless with a wrong selector": {
			have: cluster(set()), request: create(service(selecting("apache"))), want: "enforce selector-mismatch",
		},
		"a selector update that breaks the match": {
			have: cluster(service(), set()), request: request(Update, service(), service(selecting("apache"))),
			want: "enforce selector-mismatch",
		},
		"pod labels that break the match": {
			have: cluster(service(), set()),
			request: request(Update, set(), set(func(s *inventory.StatefulSet) {
				s.PodLabels = map[string]string{"app": "apache"}
			})),
			want: "enforce selector-mismatch",
		},
		"an unrelated update of a wrong pair only warns": {
			have: cluster(service(ip), set()), request: request(Update, set(), set(func(s *inventory.StatefulSet) { s.Replicas = 3 })),
			want: "warn service-not-headless",
		},
		"repair in steps, first to an ExternalName": {
			have: cluster(service(ip), set()),
			request: request(Update, service(ip), service(func(s *inventory.Service) {
				s.Type, s.ClusterIP, s.ExternalName, s.Selector = "ExternalName", "", "example.com", nil
			})),
			want: "warn service-external-name",
		},
		"another wrong of the same concern only warns": {
			have: cluster(service(ip), set()),
			request: request(Update, set(), set(func(s *inventory.StatefulSet) {
				s.PodLabels = map[string]string{"app": "apache"}
			})),
			want: "warn selector-mismatch, warn service-not-headless",
		},
		"a second cluster IP over unnamed pods": {
			have: cluster(service(ip), set()), request: create(service(ip, named("web-public"))),
			want: "enforce clusterip-exposure, warn service-not-headless",
		},
		"a cluster IP beside a headless Service": {
			have: cluster(service(), set()), request: create(service(ip, named("web-public"))),
		},
		"exposure where the governing Service is missing only warns": {
			have: cluster(set()), request: create(service(ip, named("web-public"))),
			want: "warn clusterip-exposure, warn service-not-found",
		},
		"exposure is silent where the governing finding is off": {
			have: cluster(service(ip), set()), request: create(service(ip, named("web-public"))),
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-headless": {Mode: config.Off}}
			}},
		},
		"exposure is silent where a parameter takes the governing finding away": {
			have:    cluster(service(ip), set(func(s *inventory.StatefulSet) { s.Replicas = 1 })),
			request: create(service(ip, named("web-public"))),
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-headless": {Parameters: map[string]any{"allowSingleReplica": true}}}
			}},
		},
		"deleting the governing Service": {
			have: cluster(service(), set()), request: request(Delete, service(), nil), want: "warn service-in-use",
		},
		"deleting it where strict is enforced": {
			have: cluster(service(), set(), labelled("enforce", "strict")), request: request(Delete, service(), nil),
			want: "enforce service-in-use",
		},
		"deleting it with a StatefulSet on its way out": {
			have:    cluster(service(), set(func(s *inventory.StatefulSet) { s.Deleting = true })),
			request: request(Delete, service(), nil),
		},
		"deleting another Service": {have: cluster(service(), set()), request: request(Delete, service(named("x")), nil)},
		"an object on its way out": {
			have: cluster(), request: request(Update, set(), set(func(s *inventory.StatefulSet) { s.Deleting = true })),
		},
		"dry run": {
			have: cluster(), request: func() *Request { r := create(set()); r.DryRun = true; return r }(),
			want: "warn service-not-found",
		},
		"dry run of what rests on the object alone": {
			have: cluster(), request: func() *Request { r := create(set(governedBy(""))); r.DryRun = true; return r }(),
			want: "enforce service-name-missing",
		},
		"a controller's StatefulSet": {
			have: cluster(), request: create(set(func(s *inventory.StatefulSet) { s.Controller = "Redis/main" })),
			want: "warn service-not-found",
		},
		"a controller's Service for somebody's StatefulSet": {
			have: cluster(set()), request: create(service(ip, controlled)), want: "warn service-not-headless",
		},
		"a controller's user": {
			have: cluster(), request: create(set()), want: "warn service-not-found",
			options: []option{func(c *config.Configuration) { c.Controllers.Usernames = []string{"kubernetes-admin"} }},
		},
		"pods that run already": {
			have: func() world { w := cluster(); w.pods = true; return w }(), request: create(set()),
			want: "warn service-not-found",
		},
		"the namespace only warns": {
			have: cluster(labelled("enforce", "none")), request: create(set()), want: "warn service-not-found",
		},
		"the namespace's none beats a rule's mode": {
			have: cluster(labelled("enforce", "none", "warn", "none")), request: create(set()), want: "audit service-not-found",
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-found": {Mode: config.Enforce}}
			}},
		},
		"a rule's mode beats the levels": {
			have: cluster(), request: create(set()), want: "warn service-not-found",
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-found": {Mode: config.Warn}}
			}},
		},
		"nothing at all": {
			have: cluster(labelled("enforce", "none", "warn", "none", "audit", "none")), request: create(set()),
		},
		"excepted": {
			have: cluster(), request: create(set()),
			options: []option{func(c *config.Configuration) {
				c.Exceptions = []config.Exception{{Rule: "service-not-found", Namespace: "default", Name: "web", Reason: "x"}}
			}},
		},
		"an expired exception": {
			have: cluster(), request: create(set()), want: "enforce service-not-found",
			options: []option{func(c *config.Configuration) {
				c.Exceptions = []config.Exception{{Rule: "service-not-found", Name: "web", Reason: "x",
					Expires: config.Date{Time: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}}}
			}},
		},
		"an exception for another rule": {
			have: cluster(), request: create(set()), want: "enforce service-not-found",
			options: []option{func(c *config.Configuration) {
				c.Exceptions = []config.Exception{{Rule: "selector-mismatch", Name: "web", Reason: "x"}}
			}},
		},
		"ignored on the Service": {
			have:    cluster(service(), set()),
			request: request(Update, service(), service(selecting("apache"), annotated("ignore", "selector-mismatch"))),
		},
		"annotations that don't count": {
			have:    cluster(service(), set()),
			request: request(Update, service(), service(selecting("apache"), annotated("ignore", "selector-mismatch"))),
			options: []option{func(c *config.Configuration) { c.AllowIgnoreAnnotations = false }},
			want:    "enforce selector-mismatch",
		},
		"exempt namespace": {
			have: cluster(), request: create(set()),
			options: []option{func(c *config.Configuration) { c.Exemptions.Namespaces = []string{"default"} }},
		},
		"exempt user": {
			have: cluster(), request: create(set()),
			options: []option{func(c *config.Configuration) { c.Exemptions.Usernames = []string{"kubernetes-admin"} }},
		},
		"a terminating namespace": {
			have: cluster(&inventory.Namespace{Name: "default", Terminating: true}), request: create(set()),
		},
		"a Service that is meant to be headless": {
			have: cluster(), request: create(service(ip, named("web-headless"))), want: "warn clusterip-none-missing",
		},
		"clusterip-none-missing yields": {
			have: cluster(set()), request: create(service(ip)), want: "enforce service-not-headless",
		},
		"a pod of another set's name": {
			have: cluster(service(func(s *inventory.Service) {
				s.Selector = map[string]string{"app": "nginx", "statefulset.kubernetes.io/pod-name": "web-db-0"}
			})), request: create(set()), want: "enforce selector-mismatch",
		},
		"a waived parameter waives the Service's own rule with it": {
			have:    cluster(set(func(s *inventory.StatefulSet) { s.Replicas = 1 }), labelled("enforce", "strict")),
			request: create(service(ip)),
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-headless": {Parameters: map[string]any{"allowSingleReplica": true}}}
			}},
		},
		"a StatefulSet that ignores a rule, and the Service's own rule": {
			have: cluster(set(ignoring("service-not-headless")), labelled("enforce", "strict")), request: create(service(ip)),
		},
		"deleting a Service whose StatefulSet a controller manages": {
			have: cluster(service(), set(func(s *inventory.StatefulSet) { s.Controller = "Redis/main" }), labelled("enforce", "strict")), request: request(Delete, service(), nil),
			want: "warn service-in-use",
		},
		"deleting a Service whose StatefulSet ignores that": {
			have: cluster(service(), set(ignoring("service-in-use")), labelled("enforce", "strict")), request: request(Delete, service(), nil),
		},
		"deleting a Service whose StatefulSet is excepted": {
			have: cluster(service(), set(), labelled("enforce", "strict")), request: request(Delete, service(), nil),
			options: []option{func(c *config.Configuration) {
				c.Exceptions = []config.Exception{{Rule: "service-in-use", Name: "web", Reason: "x"}}
			}},
		},
		"deleting a Service, one of whose StatefulSets is not excused": {
			have:    cluster(service(), set(ignoring("service-in-use")), set(func(s *inventory.StatefulSet) { s.Name = "other" }), labelled("enforce", "strict")),
			request: request(Delete, service(), nil), want: "enforce service-in-use",
		},
		"deleting a Service that is on its way out": {
			have:    cluster(service(), set(), labelled("enforce", "strict")),
			request: request(Delete, service(func(s *inventory.Service) { s.Deleting = true }), nil),
		},
		"a rule that is off excuses no other": {
			have: cluster(service(ip), set()), request: request(Update, service(ip), service(ip, selecting("apache"))),
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-headless": {Mode: config.Off}}
			}},
			want: "enforce selector-mismatch",
		},
		"a rule that is ignored excuses no other": {
			have:    cluster(service(ip), set(ignoring("service-not-headless"))),
			request: request(Update, service(ip), service(ip, selecting("apache"))),
			want:    "enforce selector-mismatch",
		},
		"taking the annotation away again": {
			have:    cluster(service(ip), set(ignoring("service-not-headless"))),
			request: request(Update, set(ignoring("service-not-headless")), set()),
			want:    "warn service-not-headless",
		},
		"exposure where what was wrong before is not even warned of": {
			have:    cluster(service(ip), set(), labelled("warn", "none", "audit", "none")),
			request: create(service(ip, named("web-public"))), want: "enforce clusterip-exposure",
		},
		"a StatefulSet that ignores a rule doesn't speak for another": {
			have:    cluster(set(ignoring("port-remapped")), set(func(s *inventory.StatefulSet) { s.Name = "web-b" }), labelled("enforce", "strict")),
			request: create(service(remapped)), want: "enforce port-remapped",
		},
		"nor does one that a controller manages": {
			have:    cluster(set(func(s *inventory.StatefulSet) { s.Controller = "Redis/main" }), set(func(s *inventory.StatefulSet) { s.Name = "web-b" }), labelled("enforce", "strict")),
			request: create(service(remapped)), want: "enforce port-remapped",
		},
		"advice is not heard of": {
			have: cluster(service()), request: create(set(func(s *inventory.StatefulSet) { s.MentionsOwnPods = true })),
		},
		"advice that the configuration asks for never denies": {
			have: cluster(service()), request: create(set(func(s *inventory.StatefulSet) { s.MentionsOwnPods = true })),
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"not-ready-addresses": {Mode: config.Enforce}}
			}},
			want: "warn not-ready-addresses",
		},
		"a rule's own mode is not lost to the one that it yields to": {
			have: cluster(set()), request: create(service(ip)),
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-headless": {Mode: config.Warn}, "clusterip-none-missing": {Mode: config.Enforce}}
			}},
			want: "enforce clusterip-none-missing, warn service-not-headless",
		},
		"a namespace that wants no warnings of what was wrong before": {
			have: cluster(service(ip), set(), labelled("warn", "none")), request: request(Update, set(), set()),
			want: "audit service-not-headless",
		},
		"a Service on its way out": {
			have:    cluster(service(), set()),
			request: request(Update, service(), service(selecting("apache"), func(s *inventory.Service) { s.Deleting = true })),
		},
		"pods that run already excuse no update": {
			have:    func() world { w := cluster(service(), set()); w.pods = true; return w }(),
			request: request(Update, service(), service(selecting("apache"))), want: "enforce selector-mismatch",
		},
		"nor one of the StatefulSet": {
			have:    func() world { w := cluster(service(), set()); w.pods = true; return w }(),
			request: request(Update, set(), set(governedBy("other"))), want: "enforce service-not-found",
		},
		"a controller that is judged as anybody else": {
			have: cluster(set()), request: create(service(ip, controlled)), want: "enforce service-not-headless",
			options: []option{func(c *config.Configuration) { c.Controllers.Mode = config.Enforce }},
		},
		"a dry-run that is judged as any request": {
			have: cluster(), request: func() *Request { r := create(set()); r.DryRun = true; return r }(),
			want:    "enforce service-not-found",
			options: []option{func(c *config.Configuration) { c.DryRun.Mode = config.Enforce }},
		},
		"a dry-run of a deletion": {
			have:    cluster(service(), set(), labelled("enforce", "strict")),
			request: func() *Request { r := request(Delete, service(), nil); r.DryRun = true; return r }(),
			want:    "warn service-in-use",
		},
		"creating what the cache has not heard the deletion of": {
			have: cluster(service(ip), set()), request: create(service(ip)), want: "enforce service-not-headless",
		},
		"a second exposure is none that was there before": {
			have:    cluster(service(ip), service(ip, named("web-public")), set()),
			request: create(service(ip, named("web-admin"))),
			want:    "enforce clusterip-exposure, warn clusterip-exposure, warn service-not-headless",
		},
		"nor is it excused by what the first ignores": {
			have:    cluster(service(ip), service(ip, named("web-public"), annotated("ignore", "clusterip-exposure")), set()),
			request: create(service(ip, named("web-admin"))),
			want:    "enforce clusterip-exposure, warn service-not-headless",
		},
		"exposure is silent where the governing finding is excepted": {
			have: cluster(service(ip), set()), request: create(service(ip, named("web-public"))),
			options: []option{func(c *config.Configuration) {
				c.Exceptions = []config.Exception{{Rule: "service-not-headless", Name: "web", Reason: "x"}}
			}},
		},
		"creating the missing Service of a StatefulSet whose name is too long": {
			have: cluster(set(long)), request: create(service()), want: "warn name-too-long",
		},
		"an exception for another namespace": {
			have: cluster(), request: create(set()), want: "enforce service-not-found",
			options: []option{func(c *config.Configuration) {
				c.Exceptions = []config.Exception{{Rule: "service-not-found", Namespace: "other", Name: "web", Reason: "x"}}
			}},
		},
		"an exception for the governing Service is none for the StatefulSet": {
			have: cluster(service(), set()), request: request(Update, service(), service(selecting("apache"))), want: "enforce selector-mismatch",
			options: []option{func(c *config.Configuration) {
				c.Exceptions = []config.Exception{{Rule: "selector-mismatch", Name: "nginx", Reason: "x"}}
			}},
		},
		"a rule's mode beats the levels upwards, too": {
			have: cluster(), request: create(set()), want: "enforce service-not-found",
			options: []option{func(c *config.Configuration) {
				c.Defaults = config.Defaults{Enforce: config.None, Warn: config.None, Audit: config.None}
				c.Rules = map[string]config.Rule{"service-not-found": {Mode: config.Enforce}}
			}},
		},
		"up to a warning": {
			have: cluster(), request: create(set()), want: "warn service-not-found",
			options: []option{func(c *config.Configuration) {
				c.Defaults = config.Defaults{Enforce: config.None, Warn: config.None, Audit: config.None}
				c.Rules = map[string]config.Rule{"service-not-found": {Mode: config.Warn}}
			}},
		},
		"deleting a Service, one of whose StatefulSets nobody manages": {
			have:    cluster(service(), managed("a"), set(), managed("z"), labelled("enforce", "strict")),
			request: request(Delete, service(), nil), want: "enforce service-in-use",
		},
		"a Service's own rule where the one that it yields to is off": {
			have: cluster(set(), labelled("enforce", "strict")), request: create(service(ip)),
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-headless": {Mode: config.Off}}
			}},
		},
		"a namespace that the cache doesn't know": {
			have: func() world { w := cluster(); w.DeleteNamespace("default"); return w }(), request: create(set()),
			want: "enforce service-not-found",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := judge(t, tc.options...).Admit(t.Context(), tc.request, tc.have, tc.have)
			if err != nil {
				t.Fatal(err)
			}
			if got := said(a); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestAdmitReadsLiveBeforeItDenies(t *testing.T) {
	stale := cluster()
	fresh := cluster(service())
	a, err := judge(t).Admit(t.Context(), create(set()), stale, fresh)
	if err != nil || a.Denied() {
		t.Errorf("denied on the cache's word: %v %v", said(a), err)
	}
	emptied := cluster(&inventory.Namespace{Name: "default", Terminating: true})
	if a, err = judge(t).Admit(t.Context(), create(set()), stale, emptied); err != nil || said(a) != "" {
		t.Errorf("held up a namespace on its way out: %v %v", said(a), err)
	}
	relabelled := cluster(labelled("enforce", "none"))
	if a, err = judge(t).Admit(t.Context(), create(set()), stale, relabelled); err != nil || a.Denied() {
		t.Errorf("denied on a stale namespace: %v %v", said(a), err)
	}
	if a, err = judge(t).Admit(t.Context(), create(set()), cluster(labelled("enforce", "none")), fresh); err != nil || said(a) != "" {
		t.Errorf("warned on the cache's word: %v %v", said(a), err)
	}
	fresh.fail = errors.New("connection refused")
	if a, err = judge(t).Admit(t.Context(), create(set()), relabelled, fresh); err != nil || said(a) != "warn service-not-found" {
		t.Errorf("a warning became %q, %v", said(a), err)
	}
	if a, err = judge(t).Admit(t.Context(), create(set()), stale, fresh); err == nil {
		t.Errorf("a failed live read gave %q, not an error", said(a))
	}
}

func TestUnknownNamespaceIsReadLive(t *testing.T) {
	opted := func(c *config.Configuration) {
		c.Defaults = config.Defaults{Enforce: config.None, Warn: config.None, Audit: config.None}
	}
	lagging := cluster()
	lagging.DeleteNamespace("default")
	fresh := cluster(labelled("enforce", "baseline"))
	a, err := judge(t, opted).Admit(t.Context(), create(set()), lagging, fresh)
	if err != nil || said(a) != "enforce service-not-found" {
		t.Errorf("the namespace's label was missed: %q, %v", said(a), err)
	}
	wrong := cluster(service(ip), set())
	wrong.fail = errors.New("connection refused")
	if a, err = judge(t).Admit(t.Context(), request(Update, set(), set()), wrong, wrong); err == nil {
		t.Errorf("what the cache says was wrong before gave %q, not an error", said(a))
	}
	fresh.fail = errors.New("connection refused")
	if a, err = judge(t, opted).Admit(t.Context(), create(set()), lagging, fresh); err == nil {
		t.Errorf("an unknown namespace gave %q, not an error", said(a))
	}
}

// changing is a cluster that is another one with each live read, and the last
// one for good.
type changing struct{ worlds []world }

func (c *changing) Read(ctx context.Context, namespace string) (inventory.Reader, error) {
	now := c.worlds[0]
	if len(c.worlds) > 1 {
		c.worlds = c.worlds[1:]
	}
	return now.Read(ctx, namespace)
}

func (c *changing) PodsRun(context.Context, *inventory.StatefulSet) (bool, error) { return false, nil }

// A live read takes several requests. Here the namespace was read while it was
// enforced, and the Services when it no longer was.
func TestOnlyWhatTwoReadsFindDenies(t *testing.T) {
	torn := cluster(labelled("enforce", "baseline"))
	unenforced := cluster(labelled("enforce", "none"))
	right := cluster(service())
	other := cluster(service(ip))
	gone := cluster(service())
	gone.fail = errors.New("connection refused")
	for name, c := range map[string]struct {
		worlds []world
		want   string
	}{
		"not enforced":            {[]world{torn, unenforced}, "warn service-not-found"},
		"there after all":         {[]world{torn, right}, ""},
		"wrong in different ways": {[]world{torn, other, right}, ""},
		"wrong twice":             {[]world{torn, other, other, right}, "enforce service-not-headless"},
		"could not be read":       {[]world{torn, gone}, "error"},
	} {
		a, err := judge(t).Admit(t.Context(), create(set()), torn, &changing{c.worlds})
		got := "error"
		if err == nil {
			got = said(a)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// unseen is a cluster whose pods nobody may read.
type unseen struct{ world }

func (unseen) PodsRun(context.Context, *inventory.StatefulSet) (bool, error) {
	return false, errors.New("forbidden")
}

func TestPodsThatCantBeReadAreNoDenial(t *testing.T) {
	if a, err := judge(t).Admit(t.Context(), create(set()), cluster(), unseen{cluster()}); err == nil {
		t.Errorf("got %q, not an error", said(a))
	}
}

// In admission nobody hears of the namespaces of others, unless the configuration
// allows it.
func TestOtherNamespaces(t *testing.T) {
	elsewhere := cluster(service(func(s *inventory.Service) { s.Namespace = "tenant" }))
	for _, reveal := range []bool{false, true} {
		j := judge(t, func(c *config.Configuration) { c.RevealOtherNamespaces = reveal })
		// A live read is of one namespace.
		a, err := j.Admit(t.Context(), create(set()), elsewhere, cluster())
		if err != nil || said(a) != "enforce service-not-found" {
			t.Fatalf("got %v, %v", a, err)
		}
		if f := a.Decisions[0].Finding; strings.Contains(Explain(&f), "tenant") != reveal {
			t.Errorf("reveal %v: got %s", reveal, Explain(&f))
		}
	}
}

func TestFailedReadIsNoErrorWhereNothingCouldDeny(t *testing.T) {
	have := cluster()
	have.fail = errors.New("connection refused")
	dry := create(set())
	dry.DryRun = true
	for name, req := range map[string]*Request{
		"a controller's": create(set(func(s *inventory.StatefulSet) { s.Controller = "Redis/main" })),
		"a dry-run":      dry,
	} {
		a, err := judge(t).Admit(t.Context(), req, have, have)
		if err != nil || said(a) != "warn service-not-found" {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

func TestInvalidLabelCountsAsStrictAndWarns(t *testing.T) {
	have := cluster(service(), set(), labelled("enforce", "stric"))
	a, err := judge(t).Admit(t.Context(), request(Delete, service(), nil), have, have)
	if err != nil {
		t.Fatal(err)
	}
	if said(a) != "enforce service-in-use" || len(a.Notes) != 1 || !strings.Contains(a.Notes[0], `"stric"`) {
		t.Errorf("got %q, notes %q", said(a), a.Notes)
	}
}

func TestInject(t *testing.T) {
	for name, tc := range map[string]struct {
		have    world
		service *inventory.Service
		options []option
		want    bool
	}{
		"a StatefulSet names it":    {have: cluster(set()), service: service(undecided), want: true},
		"nobody names it":           {have: cluster(), service: service(undecided)},
		"its name says so":          {have: cluster(), service: service(undecided, named("web-headless")), want: true},
		"its annotation says so":    {have: cluster(), service: service(undecided, annotated("governing", "true")), want: true},
		"it is headless already":    {have: cluster(set()), service: service()},
		"it opted out":              {have: cluster(set()), service: service(undecided, annotated("inject", "false"))},
		"it selects other pods":     {have: cluster(set()), service: service(undecided, selecting("apache"))},
		"it has no selector":        {have: cluster(), service: service(undecided, named("a-headless"), func(s *inventory.Service) { s.Selector = nil })},
		"it has a node port":        {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.Ports[0].NodePort = 30000 })},
		"it has external IPs":       {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.ExternalIPs = []string{"192.0.2.1"} })},
		"it has affinity":           {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.SessionAffinity = "ClientIP" })},
		"it is a NodePort":          {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.Type = "NodePort" })},
		"it remaps its port":        {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.Ports[0].TargetPort = "8080" })},
		"a named port resolves":     {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.Ports[0].TargetPort = "web" }), want: true},
		"a named port is not there": {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.Ports[0].TargetPort = "http" })},
		"a controller manages it":   {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.Controller = "Redis/main" })},
		"clusterIPs are given":      {have: cluster(set()), service: service(undecided, func(s *inventory.Service) { s.ClusterIPs = []string{"10.0.0.1"} })},
		"the main rule is off": {have: cluster(set()), service: service(undecided), options: []option{func(c *config.Configuration) {
			c.Rules = map[string]config.Rule{"service-not-headless": {Mode: config.Off}}
		}}},
		"the StatefulSet is excepted": {have: cluster(set()), service: service(undecided), options: []option{func(c *config.Configuration) {
			c.Exceptions = []config.Exception{{Rule: "service-not-headless", Name: "web", Reason: "x"}}
		}}},
		"a parameter waives the main rule": {
			have: cluster(set(func(s *inventory.StatefulSet) { s.Replicas = 1 })), service: service(undecided),
			options: []option{func(c *config.Configuration) {
				c.Rules = map[string]config.Rule{"service-not-headless": {Parameters: map[string]any{"allowSingleReplica": true}}}
			}},
		},
		"its StatefulSet ignores the main rule": {have: cluster(set(ignoring("service-not-headless"))), service: service(undecided)},
		"it ignores the main rule":              {have: cluster(set()), service: service(undecided, annotated("ignore", "service-not-headless"))},
		"the namespace only warns":              {have: cluster(set(), labelled("enforce", "none")), service: service(undecided), want: true},
		"it ignores the rule itself":            {have: cluster(set()), service: service(undecided, annotated("ignore", "clusterip-none-missing"))},
		"the rule itself is off": {have: cluster(set()), service: service(undecided), options: []option{func(c *config.Configuration) {
			c.Rules = map[string]config.Rule{"clusterip-none-missing": {Mode: config.Off}}
		}}},
		"its name says so, and the main rule is off": {have: cluster(), service: service(undecided, named("web-headless")), options: []option{func(c *config.Configuration) {
			c.Rules = map[string]config.Rule{"service-not-headless": {Mode: config.Off}}
		}}},
		"a controller's user makes it": {have: cluster(set()), service: service(undecided), want: true, options: []option{func(c *config.Configuration) {
			c.Controllers.Usernames = []string{"kubernetes-admin"}
		}}},
		"a controller's user makes it, of whom nothing is said": {have: cluster(set()), service: service(undecided), options: []option{func(c *config.Configuration) {
			c.Controllers = config.Controllers{Mode: config.Audit, Usernames: []string{"kubernetes-admin"}}
		}}},
		"the namespace is exempt": {have: cluster(set()), service: service(undecided), options: []option{func(c *config.Configuration) {
			c.Exemptions.Namespaces = []string{"default"}
		}}},
		"the namespace neither enforces nor warns": {
			have: cluster(set(), labelled("enforce", "none", "warn", "none")), service: service(undecided),
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := judge(t, tc.options...).Inject(t.Context(), create(tc.service), tc.have, tc.have)
			if err != nil {
				t.Fatal(err)
			}
			if (in != nil) != tc.want {
				t.Fatalf("injected = %v, want %v", in != nil, tc.want)
			}
			if in != nil && (len(in.Patch) != 1 || in.Patch[0] != policies.PatchOp{Op: "add", Path: "/spec/clusterIP", Value: "None"}) {
				t.Errorf("patch = %+v", in.Patch)
			}
		})
	}
}

// A cluster IP can't be taken back, and so the cache's word is not enough.
func TestInjectReadsLive(t *testing.T) {
	named := cluster(set())
	unknown := cluster()
	unknown.DeleteNamespace("default")
	gone := cluster(set())
	gone.fail = errors.New("connection refused")
	for name, c := range map[string]struct {
		cache, live world
		want        string
	}{
		"nobody names it any longer":      {named, cluster(), "nothing"},
		"the namespace is on its way out": {named, cluster(set(), &inventory.Namespace{Name: "default", Terminating: true}), "nothing"},
		"the cache doesn't know it":       {unknown, named, "injected"},
		"it could not be read":            {named, gone, "error"},
	} {
		in, err := judge(t).Inject(t.Context(), create(service(undecided)), c.cache, c.live)
		got := "nothing"
		switch {
		case err != nil:
			got = "error"
		case in != nil:
			got = "injected"
		}
		if got != c.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, c.want)
		}
	}
}

// What LeftAlone names is left alone: a webhook configuration keeps it from being
// asked about at all.
func TestLeftAlone(t *testing.T) {
	j := judge(t, func(c *config.Configuration) { c.Exemptions.Usernames = []string{"ops"} })
	namespaces, usernames := j.LeftAlone()
	w := world{Store: &inventory.Store{}, fail: errors.New("asked")}
	denied := func(namespace, username string) bool {
		s := set()
		s.Namespace = namespace
		a, err := j.Admit(t.Context(), &Request{Operation: Create, Namespace: namespace, Username: username, StatefulSetAfter: s}, w, w)
		return err != nil || a.Denied()
	}
	if !denied("default", "somebody") {
		t.Fatal("a StatefulSet without its Service is left alone for everybody")
	}
	for _, n := range namespaces {
		if denied(n, "somebody") {
			t.Errorf("namespace %s is judged", n)
		}
	}
	for _, u := range usernames {
		if denied("default", u) {
			t.Errorf("user %s is judged", u)
		}
	}
	for _, want := range []string{"kube-system", "stsguard"} {
		if !slices.Contains(namespaces, want) {
			t.Errorf("namespace %s is not among %q", want, namespaces)
		}
	}
	for _, want := range []string{"ops", "system:apiserver", "system:serviceaccount:kube-system:namespace-controller"} {
		if !slices.Contains(usernames, want) {
			t.Errorf("user %s is not among %q", want, usernames)
		}
	}
}
