package inventory

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

var app = map[string]string{"app": "nginx"}

var local = Zone{ClusterDomain: "cluster.local"}

// headless is the right Service for [webSet], with the changes made to it.
func headless(change ...func(*Service)) *Service {
	s := &Service{
		Meta: Meta{Namespace: "default", Name: "nginx"}, Type: "ClusterIP", ClusterIP: None, Selector: app,
		Ports: []ServicePort{{Name: "http", Protocol: "TCP", Port: 80, TargetPort: "8080"}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func webSet(change ...func(*StatefulSet)) *StatefulSet {
	s := &StatefulSet{
		Meta: Meta{Namespace: "default", Name: "web"}, ServiceName: "nginx", PodLabels: app, Replicas: 3,
		Ports: []ContainerPort{{Name: "web", Protocol: "TCP", Port: 8080}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func clusterIP(s *Service) { s.ClusterIP, s.ClusterIPs = "10.96.0.7", []string{"10.96.0.7"} }

func published(s *Service) { s.PublishNotReadyAddresses = true }

func alias(host string) func(*Service) {
	return func(s *Service) { s.Type, s.ClusterIP, s.ExternalName = "ExternalName", "", host }
}

func selecting(pairs ...string) func(*Service) {
	return func(s *Service) {
		s.Selector = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			s.Selector[pairs[i]] = pairs[i+1]
		}
	}
}

func named(name string) func(*StatefulSet) { return func(s *StatefulSet) { s.Name = name } }

func world(objects ...any) *Store {
	var store Store
	for _, o := range objects {
		switch o := o.(type) {
		case *Service:
			store.PutService(o)
		case *StatefulSet:
			store.PutStatefulSet(o)
		case *Workload:
			store.PutWorkload(o)
		}
	}
	return &store
}

func codes(reasons []Reason) string {
	var out []string
	for _, r := range reasons {
		out = append(out, r.Code)
	}
	return strings.Join(out, " ")
}

// said is a prospect in one line: the specification's, CoreDNS's, why.
func said(p Prospect) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", p.Specification, p.CoreDNS, codes(p.Reasons)))
}

// TestPodNames has all that decides whether the name of a pod resolves.
func TestPodNames(t *testing.T) {
	const right, missing = "once-ready once-ready", "never never service-not-found"
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, x := range map[string]struct {
		set     *StatefulSet
		service *Service
		zone    Zone
		want    string // of every pod
	}{
		"headless":                      {service: headless(), want: right},
		"headless, no ports":            {service: headless(func(s *Service) { s.Ports = nil }), want: right},
		"headless, also when not ready": {service: headless(published), want: "once-running once-running"},
		"cluster IP":                    {service: headless(clusterIP), want: "not-promised once-ready service-not-headless"},
		"cluster IP, when not ready":    {service: headless(clusterIP, published), want: "not-promised once-running service-not-headless"},
		"cluster IP to be given":        {service: headless(func(s *Service) { s.ClusterIP = "" }), want: "not-promised once-ready service-not-headless"},
		"node port":                     {service: headless(clusterIP, func(s *Service) { s.Type = "NodePort" }), want: "not-promised once-ready service-not-headless"},
		"load balancer":                 {service: headless(clusterIP, func(s *Service) { s.Type = "LoadBalancer" }), want: "not-promised once-ready service-not-headless"},
		"external name":                 {service: headless(alias("db.example.com")), want: "never never service-external-name"},
		"missing":                       {want: missing},
		"in another namespace":          {service: headless(func(s *Service) { s.Namespace = "other" }), want: missing},
		"no serviceName":                {set: webSet(func(s *StatefulSet) { s.ServiceName = "" }), service: headless(), want: "never never service-name-missing"},
		"no selector":                   {service: headless(func(s *Service) { s.Selector = nil }), want: "unknown unknown service-without-selector"},
		"empty selector":                {service: headless(selecting()), want: "unknown unknown service-without-selector"},
		"cluster IP, no selector":       {service: headless(clusterIP, selecting()), want: "not-promised unknown service-without-selector service-not-headless"},
		"another value":                 {service: headless(selecting("app", "web")), want: "never never selector-mismatch"},
		"another label":                 {service: headless(selecting("app", "nginx", "tier", "db")), want: "never never selector-mismatch"},
		"cluster IP, another label":     {service: headless(clusterIP, selecting("tier", "db")), want: "never never selector-mismatch service-not-headless"},
		"a label that is added":         {service: headless(selecting("role", "master")), zone: Zone{RuntimeLabels: []string{"role"}}, want: "unknown unknown runtime-labels"},
		"a label that is added, and another value": {service: headless(selecting("role", "master", "app", "web")), zone: Zone{RuntimeLabels: []string{"role"}},
			want: "never never selector-mismatch"},
		"revision":                         {service: headless(selecting("controller-revision-hash", "web-6b9f8d")), want: "unknown unknown runtime-labels"},
		"revision, cluster IP":             {service: headless(clusterIP, selecting("controller-revision-hash", "web-6b9f8d")), want: "not-promised unknown runtime-labels service-not-headless"},
		"revision of another StatefulSet":  {service: headless(selecting("controller-revision-hash", "db-6b9f8d")), want: "never never selector-mismatch"},
		"pod of another StatefulSet":       {service: headless(selecting("statefulset.kubernetes.io/pod-name", "webs-0")), want: "never never selector-mismatch"},
		"a pod name that the template has": {set: webSet(func(s *StatefulSet) { s.PodLabels = map[string]string{labelPodName: "x-0"} }), service: headless(selecting(labelPodName, "x-0")), want: "never never selector-mismatch"},
		"a pod that there isn't":           {service: headless(selecting("statefulset.kubernetes.io/pod-name", "web-3")), want: "never never selects-only-other-pods"},
		"an index that there isn't":        {service: headless(selecting("apps.kubernetes.io/pod-index", "3")), want: "never never selects-only-other-pods"},
		"no index":                         {service: headless(selecting("apps.kubernetes.io/pod-index", "01")), want: "never never selector-mismatch"},
		"52 characters":                    {set: webSet(named(long(52))), service: headless(), want: right},
		"53 characters":                    {set: webSet(named(long(53))), service: headless(), want: "once-ready once-ready name-too-long"},
		"61 characters":                    {set: webSet(named(long(61))), service: headless(), want: "once-ready once-ready name-too-long"},
		"62 characters":                    {set: webSet(named(long(62))), service: headless(), want: "never never name-too-long"},
		"53 characters, nothing right":     {set: webSet(named(long(53))), want: "never never name-too-long service-not-found"},
		"a dot":                            {set: webSet(named("web.a")), service: headless(), want: "never never pod-name-invalid"},
		"a name that DNS has no room for":  {service: headless(), zone: Zone{ClusterDomain: strings.Repeat("long.", 50) + "x"}, want: "never never dns-name-too-long"},
		"Services that may not be read":    {zone: Zone{NoServices: true}, want: "unknown unknown services-unread"},
		"no serviceName, Services unread":  {set: webSet(func(s *StatefulSet) { s.ServiceName = "" }), zone: Zone{NoServices: true}, want: "never never service-name-missing"},
	} {
		set := x.set
		if set == nil {
			set = webSet()
		}
		store := world(set)
		if x.service != nil {
			store.PutService(x.service)
		}
		if x.zone.ClusterDomain == "" {
			x.zone.ClusterDomain = "cluster.local"
		}
		n := x.zone.Names(store, set)
		if len(n.Pods) != 1 || n.Pods[0].Run != (Run{0, 2}) || said(n.Pods[0].Prospect) != x.want {
			t.Errorf("%s: got %+v, want %s", name, n.Pods, x.want)
		}
		guaranteed := x.want == right || x.want == "once-running once-running"
		if n.Guaranteed() != guaranteed {
			t.Errorf("%s: guaranteed is %v", name, n.Guaranteed())
		}
		for ordinal := range int64(3) {
			if got := n.Pod(ordinal); said(got.Prospect) != x.want {
				t.Errorf("%s: pod %d: got %s, want %s", name, ordinal, said(got.Prospect), x.want)
			}
		}
	}
}

func TestPodNamesDiffer(t *testing.T) {
	runs := func(n *Names) string {
		var out []string
		for _, p := range n.Pods {
			out = append(out, fmt.Sprintf("%d-%d %s", p.First, p.Last, p.CoreDNS))
		}
		return strings.Join(out, ", ")
	}
	for name, x := range map[string]struct {
		service  *Service
		set      *StatefulSet
		want     string
		selected []Run
	}{
		"one by name":       {headless(selecting(labelPodName, "web-1")), webSet(), "0-0 never, 1-1 once-ready, 2-2 never", []Run{{1, 1}}},
		"one by index":      {headless(selecting(labelPodIndex, "2")), webSet(), "0-1 never, 2-2 once-ready", []Run{{2, 2}}},
		"none by both":      {headless(selecting(labelPodIndex, "2", labelPodName, "web-1")), webSet(), "0-0 never, 1-1 never, 2-2 never", nil}, // for different reasons
		"later ordinals":    {headless(), webSet(func(s *StatefulSet) { s.OrdinalsStart = 3 }), "3-5 once-ready", []Run{{3, 5}}},
		"a later one":       {headless(selecting(labelPodIndex, "4")), webSet(func(s *StatefulSet) { s.OrdinalsStart = 3 }), "3-3 never, 4-4 once-ready, 5-5 never", []Run{{4, 4}}},
		"as many as can be": {headless(), webSet(func(s *StatefulSet) { s.Replicas, s.OrdinalsStart = math.MaxInt32, math.MaxInt32 }), "2147483647-4294967293 once-ready", []Run{{2147483647, 4294967293}}},
		"no replicas":       {headless(), webSet(func(s *StatefulSet) { s.Replicas = 0 }), "0-0 once-ready", nil},
		"longer pod names":  {headless(), webSet(named(strings.Repeat("x", 61)), func(s *StatefulSet) { s.Replicas = 12 }), "0-9 once-ready, 10-11 never", []Run{{0, 11}}},
	} {
		n := local.Names(world(x.service, x.set), x.set)
		if got := runs(n); got != x.want {
			t.Errorf("%s: got %s, want %s", name, got, x.want)
		}
		if got := x.service.Selection(x.set, nil); !slices.Equal(got.Pods, x.selected) {
			t.Errorf("%s: selects %v, want %v", name, got.Pods, x.selected)
		}
	}
}

func TestNamesOfTheService(t *testing.T) {
	deployment := &Workload{Meta: Meta{Namespace: "default", Name: "front"}, Kind: "Deployment", PodLabels: map[string]string{"app": "front"}}
	others := func(name string, ports ...ContainerPort) *StatefulSet {
		return webSet(named(name), func(s *StatefulSet) { s.PodLabels, s.Ports = map[string]string{"app": "front"}, ports })
	}
	byName := func(port string) func(*Service) {
		return func(s *Service) { s.Ports[0].TargetPort = port }
	}
	cluster := Zone{ClusterDomain: "cluster.local", NoWorkloads: true}
	const missing = "never never service-not-found"
	for name, x := range map[string]struct {
		service *Service
		others  []any
		zone    Zone
		a, srv  string
	}{
		"headless":               {service: headless(), a: "once-ready once-ready", srv: "once-ready once-ready 8080"},
		"when not ready":         {service: headless(published), a: "once-running once-running", srv: "once-running once-running 8080"},
		"container port":         {service: headless(byName("web")), a: "once-ready once-ready", srv: "once-ready once-ready 8080"},
		"no such container port": {service: headless(byName("wbe")), a: "once-ready once-ready", srv: "never never port-not-found 0"},
		"another protocol":       {service: headless(byName("web"), func(s *Service) { s.Ports[0].Protocol = "UDP" }), a: "once-ready once-ready", srv: "never never port-not-found 0"},
		"unnamed port":           {service: headless(func(s *Service) { s.Ports[0].Name = "" }), a: "once-ready once-ready"},
		"no ports":               {service: headless(func(s *Service) { s.Ports = nil }), a: "once-ready once-ready"},
		"a name of 63":           {service: headless(func(s *Service) { s.Ports[0].Name = strings.Repeat("x", 63) }), a: "once-ready once-ready", srv: "never never dns-name-too-long 8080"},
		"cluster IP":             {service: headless(clusterIP), a: "always always 10.96.0.7", srv: "always always 80 nginx.default.svc.cluster.local"},
		"cluster IP to be given": {service: headless(func(s *Service) { s.ClusterIP = "" }), a: "always always", srv: "always always 80 nginx.default.svc.cluster.local"},
		"cluster IP, nothing":    {service: headless(clusterIP, selecting()), a: "always always 10.96.0.7", srv: "always always 80 nginx.default.svc.cluster.local"},
		"external name":          {service: headless(alias("db.example.com.")), a: "CNAME always always db.example.com"},
		"external name, address": {service: headless(alias("192.0.2.1")), a: "CNAME always never external-name-is-address 192.0.2.1"},
		"no selector":            {service: headless(selecting()), a: "unknown unknown service-without-selector", srv: "unknown unknown service-without-selector 8080"},
		"no selector, no such container port": {service: headless(selecting(), byName("wbe")), a: "unknown unknown service-without-selector",
			srv: "unknown unknown service-without-selector port-not-found 0"},
		"no selector, in a cluster": {service: headless(selecting()), zone: cluster, a: "unknown unknown service-without-selector",
			srv: "unknown unknown service-without-selector 8080"},
		"missing": {a: missing},
		"unread":  {zone: Zone{ClusterDomain: "cluster.local", NoServices: true}, a: "unknown unknown services-unread"},
		"none of its pods": {service: headless(selecting("app", "front")), a: "never never selector-mismatch",
			srv: "never never selector-mismatch 8080"},
		"none of its pods, in a cluster": {service: headless(selecting("app", "front")), zone: cluster, a: "unknown unknown other-pods-unknown",
			srv: "unknown unknown other-pods-unknown 8080"},
		"all of its pods, in a cluster": {service: headless(), zone: cluster, a: "once-ready once-ready", srv: "once-ready once-ready 8080"},
		"a Deployment's": {service: headless(selecting("app", "front")), others: []any{deployment}, a: "once-ready once-ready",
			srv: "once-ready once-ready 8080"},
		"a Deployment's, container port": {service: headless(selecting("app", "front"), byName("web")), others: []any{deployment}, a: "once-ready once-ready",
			srv: "unknown unknown selector-mismatch 8080"},
		"another StatefulSet's, container port": {service: headless(selecting("app", "front"), byName("web")),
			others: []any{others("db", ContainerPort{Name: "web", Protocol: "TCP", Port: 9090})}, a: "once-ready once-ready", srv: "once-ready once-ready 8080"},
		"another StatefulSet's, without it": {service: headless(selecting("app", "front"), byName("web")), others: []any{others("db")}, a: "once-ready once-ready",
			srv: "never never selector-mismatch 8080"},
		"no pod of another StatefulSet's": {service: headless(selecting(labelPodName, "db-3")), others: []any{others("db")}, a: "never never selector-mismatch",
			srv: "never never selector-mismatch 8080"},
		"a revision of another StatefulSet's": {service: headless(selecting(labelRevisionHash, "db-5f")), others: []any{others("db")}, a: "unknown unknown selector-mismatch",
			srv: "unknown unknown selector-mismatch 8080"},
		"a revision": {service: headless(selecting(labelRevisionHash, "web-5f")), a: "unknown unknown runtime-labels", srv: "unknown unknown runtime-labels 8080"},
		"one pod, no such container port": {service: headless(selecting(labelPodName, "web-0"), byName("wbe")), a: "once-ready once-ready",
			srv: "never never port-not-found 0"},
		"one pod": {service: headless(selecting(labelPodName, "web-0")), a: "once-ready once-ready", srv: "once-ready once-ready 8080"},
	} {
		set := webSet()
		store := world(append([]any{set}, x.others...)...)
		if x.service != nil {
			store.PutService(x.service)
		}
		if x.zone.ClusterDomain == "" {
			x.zone = local
		}
		n := x.zone.Names(store, set)
		got := said(n.Service.Prospect)
		if n.Service.Type == TypeCNAME {
			got = "CNAME " + got
		}
		if got = strings.Join(append([]string{strings.TrimSpace(got + " " + n.Service.Target)}, n.Service.Addresses...), " "); got != x.a {
			t.Errorf("%s: the Service's name: got %s, want %s", name, got, x.a)
		}
		if n.Service.Name != "nginx.default.svc.cluster.local" {
			t.Errorf("%s: the Service's name is %s", name, n.Service.Name)
		}
		got = ""
		for _, p := range n.Ports {
			got += strings.TrimSpace(fmt.Sprintf("%s %d %s", said(p.Prospect), p.Port, p.Target))
		}
		if got != x.srv {
			t.Errorf("%s: SRV: got %s, want %s", name, got, x.srv)
		}
	}
}

func TestNamesAreQualified(t *testing.T) {
	set := webSet()
	zone := Zone{ClusterDomain: "k8s.example.com"}
	n := zone.Names(world(set, headless()), set)
	if got := n.Pod(2).Name; got != "web-2.nginx.default.svc.k8s.example.com" {
		t.Errorf("a pod: %s", got)
	}
	if got := n.Ports[0].Name; got != "_http._tcp.nginx.default.svc.k8s.example.com" {
		t.Errorf("a port: %s", got)
	}
	set = webSet(func(s *StatefulSet) { s.ServiceName = "" })
	if n := local.Names(world(set), set); n.Pod(0).Name != "" || n.Service.Name != "" {
		t.Errorf("without serviceName: %+v, %+v", n.Pod(0), n.Service)
	}
}

// TestOtherServices: another Service may select the pods, and gives them no
// names, headless or not.
func TestOtherServices(t *testing.T) {
	set := webSet()
	other := func(name string, change ...func(*Service)) *Service {
		return headless(append(change, func(s *Service) { s.Name = name })...)
	}
	n := local.Names(world(set, headless(), other("client", clusterIP), other("first", selecting(labelPodIndex, "0")), other("else", selecting("app", "x"))), set)
	var got []string
	for _, s := range n.Selections {
		got = append(got, fmt.Sprint(s.Service.Name, s.Pods))
	}
	if want := []string{"client[{0 2}]", "first[{0 0}]"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// The name below it is no pod's, whatever it selects.
	if said(n.Pod(0).Prospect) != "once-ready once-ready" || !strings.HasSuffix(n.Pod(0).Name, ".nginx.default.svc.cluster.local") {
		t.Errorf("got %+v", n.Pod(0))
	}
}
