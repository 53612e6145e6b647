package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/verdict"
)

// world is a cluster in memory. Live reads see it as it is.
type world struct {
	*inventory.Store
	unsynced bool
	live     func() error
}

func (w *world) Synced() bool { return !w.unsynced }

func (w *world) Read(context.Context, string) (inventory.Reader, error) {
	if w.live != nil {
		return w.Store, w.live()
	}
	return w.Store, nil
}

func (w *world) PodsRun(context.Context, *inventory.StatefulSet) (bool, error) { return false, nil }

// setup is a webhook before a cluster with one headless Service, nginx.
func setup(t testing.TB, rules *policies.Rules) (*Webhook, *world) {
	t.Helper()
	if rules == nil {
		var err error
		if rules, err = policies.Builtin(); err != nil {
			t.Fatal(err)
		}
	}
	judge := verdict.New(rules, config.Default(), "stsguard", time.Now)
	w := &world{Store: &inventory.Store{}}
	w.PutNamespace(&inventory.Namespace{Name: "default"})
	s, err := inventory.DecodeService([]byte(headless))
	if err != nil {
		t.Fatal(err)
	}
	s.Namespace = "default"
	w.PutService(s)
	hook, err := New(judge, w, w, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return hook, w
}

const (
	headless   = `{"metadata":{"name":"nginx"},"spec":{"clusterIP":"None","selector":{"app":"nginx"},"ports":[{"port":80}]}}`
	undecided  = `{"metadata":{"name":"web-headless"},"spec":{"selector":{"app":"web"},"ports":[{"port":80}]}}`
	governed   = `{"metadata":{"name":"web"},"spec":{"serviceName":"nginx","template":{"metadata":{"labels":{"app":"nginx"}}}}}`
	ungoverned = `{"metadata":{"name":"web"},"spec":{"serviceName":"missing","template":{"metadata":{"labels":{"app":"nginx"}}}}}`
)

const (
	kindService     = `{"group":"","version":"v1","kind":"Service"}`
	kindStatefulSet = `{"group":"apps","version":"v1","kind":"StatefulSet"}`
)

// ask is an AdmissionReview in which the fields stand as they are given.
func ask(kind, operation, fields string) string {
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1","kind":%s,"namespace":"default","operation":%q,%s}}`,
		kind, operation, fields)
}

func send(h http.Handler, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/?timeout=5s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func answered(t *testing.T, w *httptest.ResponseRecorder) *admissionv1.AdmissionResponse {
	t.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); w.Code != http.StatusOK || err != nil {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" || review.Response == nil || review.Response.UID != "u-1" {
		t.Errorf("got %s", w.Body)
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{}}
	}
	return review.Response
}

func TestAllowed(t *testing.T) {
	hook, _ := setup(t, nil)
	r := answered(t, send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"object":`+governed)))
	if !r.Allowed || r.Result != nil || r.Warnings != nil || r.AuditAnnotations != nil {
		t.Errorf("got %+v", r)
	}
}

func TestDenied(t *testing.T) {
	hook, _ := setup(t, nil)
	r := answered(t, send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"object":`+ungoverned)))
	if r.Allowed || r.Result == nil || r.Result.Code != 403 || r.Result.Reason != "Forbidden" {
		t.Fatalf("got %+v", r)
	}
	first, _, _ := strings.Cut(r.Result.Message, "\n")
	if want := `StatefulSet "web" names Service "missing", which does not exist in namespace "default" [service-not-found]`; first != want {
		t.Errorf("got  %s\nwant %s", first, want)
	}
	if !strings.Contains(r.Result.Message, "clusterIP: None") {
		t.Errorf("no manifest in:\n%s", r.Result.Message)
	}
	if got := r.AuditAnnotations["findings"]; got != "service-not-found StatefulSet/default/web" {
		t.Errorf("got %q", got)
	}
	m := hook.metrics
	for name, got := range map[string]float64{
		"denied requests": value(t, m.requests.WithLabelValues("validate", "StatefulSet", "CREATE", denied)),
		"findings":        value(t, m.findings.WithLabelValues("service-not-found", "enforce")),
	} {
		if got != 1 {
			t.Errorf("got %v %s", got, name)
		}
	}
	if got := value(t, m.liveReads.WithLabelValues("ok")); got != 3 {
		t.Errorf("got %v live reads, want two of the namespace and one of its pods", got)
	}
}

// value is that of a counter.
func value(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestDryRunOnlyWarns(t *testing.T) {
	hook, _ := setup(t, nil)
	r := answered(t, send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"dryRun":true,"object":`+ungoverned)))
	if !r.Allowed || len(r.Warnings) != 1 || !strings.HasPrefix(r.Warnings[0], "[service-not-found] ") {
		t.Errorf("got %+v", r)
	}
}

// What nobody is told of stands in the audit log, and a label that can't be what
// somebody meant is told to whoever asks.
func TestLabels(t *testing.T) {
	hook, w := setup(t, nil)
	labelled := func(enforce string) {
		w.PutNamespace(&inventory.Namespace{Name: "default", Labels: map[string]string{"stsguard.dev/enforce": enforce, "stsguard.dev/warn": "none"}})
	}
	labelled("none")
	r := answered(t, send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"object":`+ungoverned)))
	if got := r.AuditAnnotations["findings"]; !r.Allowed || r.Warnings != nil || got != "service-not-found StatefulSet/default/web" {
		t.Errorf("got %+v", r)
	}
	labelled("stric")
	r = answered(t, send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"object":`+governed)))
	if !r.Allowed || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `"stric"`) {
		t.Errorf("got %+v", r)
	}
}

func TestMutated(t *testing.T) {
	hook, _ := setup(t, nil)
	r := answered(t, send(hook.Mutate(), ask(kindService, "CREATE", `"object":`+undecided)))
	if !r.Allowed || r.PatchType == nil || *r.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Fatalf("got %+v", r)
	}
	if want := `[{"op":"add","path":"/spec/clusterIP","value":"None"}]`; string(r.Patch) != want {
		t.Errorf("got %s, want %s", r.Patch, want)
	}
	if len(r.Warnings) != 1 || r.Warnings[0] != `[clusterip-none-missing] Service "web-headless" does not say clusterIP: None, but its name ends in -headless: stsguard has set clusterIP: None` {
		t.Errorf("got %q", r.Warnings)
	}
}

func TestMutateLeavesAlone(t *testing.T) {
	hook, _ := setup(t, nil)
	for name, body := range map[string]string{
		"headless":       ask(kindService, "CREATE", `"object":`+headless),
		"update":         ask(kindService, "UPDATE", `"object":`+undecided+`,"oldObject":`+undecided),
		"delete":         ask(kindService, "DELETE", `"object":null,"oldObject":`+undecided),
		"a StatefulSet":  ask(kindStatefulSet, "CREATE", `"object":`+governed),
		"opted out":      ask(kindService, "CREATE", `"object":`+strings.Replace(undecided, `"name"`, `"annotations":{"stsguard.dev/inject":"false"},"name"`, 1)),
		"no name as yet": ask(kindService, "CREATE", `"object":`+strings.Replace(undecided, `"name":"web-headless"`, `"generateName":"web-"`, 1)),
	} {
		r := answered(t, send(hook.Mutate(), body))
		if !r.Allowed || r.Patch != nil || r.PatchType != nil {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

func TestDeletionOfACollectionHasNoName(t *testing.T) {
	hook, w := setup(t, nil)
	s, err := inventory.DecodeStatefulSet([]byte(governed))
	if err != nil {
		t.Fatal(err)
	}
	s.Namespace = "default"
	w.PutStatefulSet(s)
	r := answered(t, send(hook.Validate(), ask(kindService, "DELETE", `"name":"","object":null,"oldObject":`+headless)))
	if !r.Allowed || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `Service "nginx" still governs StatefulSet "web"`) {
		t.Errorf("got %+v", r)
	}
}

func TestSetJudge(t *testing.T) {
	hook, _ := setup(t, nil)
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Defaults.Enforce = config.None
	judge := verdict.New(rules, c, "", time.Now)
	hook.SetJudge(judge)
	if r := answered(t, send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"object":`+ungoverned))); !r.Allowed || len(r.Warnings) != 1 {
		t.Errorf("got %+v", r)
	}
}

// TestTogether: requests of all sorts at once, while the judge changes.
func TestTogether(t *testing.T) {
	hook, w := setup(t, nil)
	judge := hook.judge.Load()
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for range 50 {
				hook.SetJudge(judge)
				w.PutNamespace(&inventory.Namespace{Name: "default"})
				if r := answered(t, send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"object":`+governed))); !r.Allowed {
					t.Errorf("worker %d: denied: %s", i, r.Result.Message)
				}
				if r := answered(t, send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"object":`+ungoverned))); r.Allowed {
					t.Errorf("worker %d: allowed", i)
				}
				if r := answered(t, send(hook.Mutate(), ask(kindService, "CREATE", `"object":`+undecided))); r.Patch == nil {
					t.Errorf("worker %d: not mutated", i)
				}
			}
		})
	}
	running.Wait()
}

// failingRule asks something that can't be answered of every StatefulSet.
const failingRule = `# METADATA
# title: A rule that fails
# description: It converts what is no number.
# custom:
#   level: baseline
#   subject: relation
#   remedy: None.
package stsguard.rules["failing"]

findings contains {"object": input.statefulSet.ref, "path": "", "msg": "never"} if to_number(input.statefulSet.name) == 1
`

func TestBadInput(t *testing.T) {
	create := func(fields string) string { return ask(kindStatefulSet, "CREATE", fields) }
	for name, c := range map[string]struct {
		body    string
		prepare func(*http.Request, *world)
		status  int
		says    string
	}{
		"no body":                    {"", nil, 400, "no body"},
		"a GET":                      {create(`"object":` + governed), func(r *http.Request, _ *world) { r.Method = "GET" }, 405, "want a POST"},
		"wrong content type":         {create(`"object":` + governed), func(r *http.Request, _ *world) { r.Header.Set("Content-Type", "application/yaml") }, 415, "application/yaml"},
		"no content type":            {create(`"object":` + governed), func(r *http.Request, _ *world) { r.Header.Del("Content-Type") }, 415, "content type"},
		"not JSON":                   {"kind: AdmissionReview", nil, 400, "decode AdmissionReview"},
		"more after the end":         {create(`"object":`+governed) + "{}", nil, 400, "decode AdmissionReview"},
		"cut off":                    {create(`"object":` + governed)[:200], nil, 400, "decode AdmissionReview"},
		"an array":                   {"[]", nil, 400, "decode AdmissionReview"},
		"null":                       {"null", nil, 400, "want an AdmissionReview"},
		"no request":                 {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, nil, 400, "no request"},
		"old version":                {strings.Replace(create(`"object":`+governed), "k8s.io/v1", "k8s.io/v1beta1", 1), nil, 400, "admission.k8s.io/v1beta1"},
		"another kind of review":     {strings.Replace(create(`"object":`+governed), "AdmissionReview", "TokenReview", 1), nil, 400, "TokenReview"},
		"keys in capitals":           {strings.ToUpper(create(`"object":` + governed)), nil, 400, "want an AdmissionReview"},
		"no uid":                     {strings.Replace(create(`"object":`+governed), `"uid":"u-1",`, "", 1), nil, 400, "no uid"},
		"uid of the wrong type":      {strings.Replace(create(`"object":`+governed), `"u-1"`, "1", 1), nil, 400, "decode AdmissionReview"},
		"no namespace":               {strings.Replace(create(`"object":`+governed), `"namespace":"default",`, "", 1), nil, 400, "no namespace"},
		"unknown kind":               {ask(`{"group":"","version":"v1","kind":"Pod"}`, "CREATE", `"object":{"spec":[]}`), nil, 400, `"Pod"`},
		"another group's kind":       {ask(`{"group":"serving.knative.dev","version":"v1","kind":"Service"}`, "CREATE", `"object":`+headless), nil, 400, "serving.knative.dev"},
		"an old version of the kind": {ask(`{"group":"apps","version":"v1beta1","kind":"StatefulSet"}`, "CREATE", `"object":`+governed), nil, 400, "v1beta1"},
		"no kind":                    {ask(`{}`, "CREATE", `"object":`+governed), nil, 400, "only v1 Services"},
		"a subresource":              {create(`"subResource":"scale","object":` + governed), nil, 400, `subresource "scale"`},
		"CONNECT":                    {ask(kindService, "CONNECT", `"object":`+headless), nil, 400, `"CONNECT"`},
		"operation in small letters": {ask(kindService, "create", `"object":`+headless), nil, 400, `"create"`},
		"CREATE without object":      {create(`"oldObject":` + governed), nil, 400, "has no object"},
		"CREATE of null":             {create(`"object":null`), nil, 400, "has no object"},
		"UPDATE without old object":  {ask(kindStatefulSet, "UPDATE", `"object":`+governed), nil, 400, "has no oldObject"},
		"DELETE without old object":  {ask(kindService, "DELETE", `"object":`+headless), nil, 400, "has no oldObject"},
		"the object is text":         {create(`"object":"web"`), nil, 422, "request.object"},
		"the object is an array":     {create(`"object":[]`), nil, 422, "request.object"},
		"labels that are numbers":    {create(`"object":{"metadata":{"name":"web"},"spec":{"template":{"metadata":{"labels":{"app":1}}}}}`), nil, 422, "request.object.spec.template.metadata.labels"},
		"ports that are text":        {ask(kindService, "UPDATE", `"object":`+headless+`,"oldObject":{"spec":{"ports":"80"}}`), nil, 422, "request.oldObject.spec.ports"},
		"kind after the object":      {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"object":{"spec":{"serviceName":1}},"uid":"u-1","namespace":"default","operation":"CREATE","kind":` + kindStatefulSet + `}}`, nil, 422, "request.object.spec.serviceName"},
		"another namespace":          {create(`"object":` + strings.Replace(governed, `"name"`, `"namespace":"other","name"`, 1)), nil, 400, `"other"`},
		"over 8 MiB":                 {create(`"object":{"metadata":{"annotations":{"a":"` + strings.Repeat("x", 10<<20) + `"}}}`), nil, 413, "larger"},
		"over 8 MiB, unannounced": {create(`"object":{"metadata":{"annotations":{"a":"` + strings.Repeat("x", 10<<20) + `"}}}`),
			func(r *http.Request, _ *world) { r.ContentLength = -1 }, 413, "larger"},
		"a body that breaks off": {"{", func(r *http.Request, _ *world) {
			r.ContentLength, r.Body = -1, io.NopCloser(io.MultiReader(strings.NewReader("{"), brokenReader{}))
		}, 400, "broke off"},
		"not synced":          {create(`"object":` + governed), func(_ *http.Request, w *world) { w.unsynced = true }, 503, "cache"},
		"a failed live read":  {create(`"object":` + ungoverned), func(_ *http.Request, w *world) { w.live = func() error { return errors.New("etcd is away") } }, 500, "etcd is away"},
		"a panic":             {create(`"object":` + ungoverned), func(_ *http.Request, w *world) { w.live = func() error { panic("secret") } }, 500, "internal error"},
		"broken content type": {create(`"object":` + governed), func(r *http.Request, _ *world) { r.Header.Set("Content-Type", ";;;") }, 415, ";;;"},
		"too late": {create(`"object":` + ungoverned), func(r *http.Request, w *world) {
			r.URL.RawQuery = "timeout=1ms"
			w.live = func() error { time.Sleep(5 * time.Millisecond); return context.DeadlineExceeded }
		}, 504, "no verdict in time"},
	} {
		t.Run(name, func(t *testing.T) {
			hook, w := setup(t, nil)
			r := httptest.NewRequest(http.MethodPost, "/validate", strings.NewReader(c.body))
			r.Header.Set("Content-Type", "application/json")
			if c.prepare != nil {
				c.prepare(r, w)
			}
			got := httptest.NewRecorder()
			hook.Validate().ServeHTTP(got, r)
			if got.Code != c.status || !strings.Contains(got.Body.String(), c.says) {
				t.Errorf("got %d %s, want %d with %q", got.Code, got.Body, c.status, c.says)
			}
			if strings.Contains(got.Body.String(), `"allowed"`) || strings.Contains(got.Body.String(), "secret") {
				t.Errorf("got %s", got.Body)
			}
			if n := counted(hook, unjudged); n != 1 {
				t.Errorf("counted %v requests", n)
			}
		})
	}
}

// counted is how many requests ended so.
func counted(hook *Webhook, decision string) float64 {
	metrics := make(chan prometheus.Metric, 16)
	hook.metrics.requests.Collect(metrics)
	close(metrics)
	n := 0.0
	for metric := range metrics {
		var m dto.Metric
		if err := metric.Write(&m); err != nil {
			return -1
		}
		for _, l := range m.Label {
			if l.GetName() == "decision" && l.GetValue() == decision {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broke off") }

func TestFailingRule(t *testing.T) {
	rules, err := policies.Load(fstest.MapFS{"rules/failing/rule.rego": {Data: []byte(failingRule)}})
	if err != nil {
		t.Fatal(err)
	}
	hook, _ := setup(t, rules)
	w := send(hook.Validate(), ask(kindStatefulSet, "CREATE", `"object":`+governed))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "to_number") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestLargeBodyIsAccepted(t *testing.T) {
	hook, _ := setup(t, nil)
	large := strings.Replace(governed, `"name"`, `"annotations":{"a":"`+strings.Repeat("x", 3<<20)+`"},"name"`, 1)
	r := answered(t, send(hook.Validate(), ask(kindStatefulSet, "UPDATE", `"object":`+large+`,"oldObject":`+large)))
	if !r.Allowed {
		t.Errorf("got %+v", r)
	}
}

// TestEndOfTheServer: a request that has begun is judged, although the
// server's own context has ended.
func TestEndOfTheServer(t *testing.T) {
	hook, _ := setup(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/validate", strings.NewReader(ask(kindStatefulSet, "CREATE", `"object":`+governed)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	hook.Validate().ServeHTTP(w, r)
	answered(t, w)
}

func TestDeadline(t *testing.T) {
	for query, want := range map[string]time.Duration{
		"timeout=10s": 9 * time.Second, "a=b&timeout=1s&c=d": 900 * time.Millisecond,
		"": 9 * time.Second, "timeout=x": 9 * time.Second, "timeout=-1s": 9 * time.Second, "timeout=": 9 * time.Second,
	} {
		ctx, cancel := deadline(httptest.NewRequest(http.MethodPost, "/validate?"+query, nil))
		defer cancel()
		at, _ := ctx.Deadline()
		if left := time.Until(at); left > want || left < want-time.Second {
			t.Errorf("%q: got %s, want %s", query, left, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	many := []string{"same", "same", "", " \n", "two\nlines\x1b[31m", strings.Repeat("ä", 300)}
	for i := range 20 {
		many = append(many, fmt.Sprint("number ", i))
	}
	got := warnings(many)
	if len(got) != 10 || got[0] != "same" || got[1] != "two lines [31m" || got[9] != "stsguard has 14 more warnings" {
		t.Errorf("got %q", got)
	}
	if n := utf8.RuneCountInString(got[2]); n != 255 || !strings.HasSuffix(got[2], "ä…") {
		t.Errorf("got %d characters: %s", n, got[2])
	}
	long := "[a-rule] This is wrong. Do this first. " + strings.Repeat("And then that ", 20)
	if got := warnings([]string{long}); len(got) != 1 || got[0] != "[a-rule] This is wrong. Do this first." {
		t.Errorf("got %q", got)
	}
	fits := strings.Repeat("ä", 254) + "."
	if got := warnings([]string{fits + " More."}); len(got) != 1 || got[0] != fits {
		t.Errorf("got %q", got)
	}
	if got := warnings(many[6:16]); len(got) != 10 || got[9] != "number 9" {
		t.Errorf("got %q", got)
	}
}

func TestUIDOfAnySort(t *testing.T) {
	for _, uid := range []string{"705ab4f5-6393-11e8-b7cc-42010a800002", `quote " backslash \`, "line\nbreak", "<ü>"} {
		body, err := (&answer{allowed: true}).encode(uid)
		if err != nil {
			t.Fatal(err)
		}
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(body, &review); err != nil || string(review.Response.UID) != uid || !review.Response.Allowed {
			t.Errorf("%q: got %s, %v", uid, body, err)
		}
	}
}

func TestZeroAnswerDenies(t *testing.T) {
	body, err := (&answer{}).encode("u")
	if err != nil {
		t.Fatal(err)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Response.Allowed {
		t.Errorf("got %s, %v", body, err)
	}
}

// FuzzReview: nothing makes either handler panic, and what isn't a request is
// answered with an error.
func FuzzReview(f *testing.F) {
	for _, seed := range reviewSeeds {
		f.Add([]byte(seed))
	}
	hook, _ := setup(f, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, h := range map[string]http.Handler{"validate": hook.Validate(), "mutate": hook.Mutate()} {
			w := send(h, string(body))
			if value(t, hook.metrics.panics) > 0 {
				t.Fatalf("%s: panic", name)
			}
			if w.Code != http.StatusOK {
				continue
			}
			var in, out admissionv1.AdmissionReview
			if err := json.Unmarshal(body, &in); err != nil && !json.Valid(body) {
				t.Fatalf("%s: answered what can't be decoded: %v", name, err)
			}
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Response == nil {
				t.Fatalf("%s: answered %s", name, w.Body)
			}
			if !out.Response.Allowed && (out.Response.Result == nil || out.Response.Result.Message == "") {
				t.Fatalf("%s: denied without a reason: %s", name, w.Body)
			}
			for _, line := range out.Response.Warnings {
				if strings.ContainsAny(line, "\n\r\t") || utf8.RuneCountInString(line) > 255 {
					t.Fatalf("%s: warned %q", name, line)
				}
			}
		}
	})
}
