package webhook

import (
	"errors"
	"net/http"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/json"

	"github.com/stsguard/stsguard/inventory"
)

// reviewSeeds are bodies of every kind that the API server sends, and of some
// that it doesn't.
var reviewSeeds = []string{
	"", "{}", "null", "[]", `{"request":{}}`, `{"request":null}`, `{"request":[]}`,
	ask(kindStatefulSet, "CREATE", `"object":`+governed),
	ask(kindStatefulSet, "CREATE", `"object":`+ungoverned),
	ask(kindStatefulSet, "UPDATE", `"object":`+ungoverned+`,"oldObject":`+governed),
	ask(kindStatefulSet, "UPDATE", `"object":`+ungoverned),
	ask(kindStatefulSet, "CREATE", `"subResource":"scale","object":`+governed),
	ask(kindService, "CREATE", `"dryRun":true,"object":`+undecided),
	ask(kindService, "DELETE", `"object":null,"oldObject":`+headless),
	ask(kindService, "UPDATE", `"object":`+undecided+`,"oldObject":`+headless),
	ask(kindService, "CONNECT", `"object":`+undecided),
	ask(kindService, "CREATE", `"object":{"metadata":{"labels":{"a":1}}}`),
	ask(kindService, "CREATE", `"object":{"metadata":{"namespace":"other"}}`),
	ask(kindService, "CREATE", `"object":{"metadata":{"name":"\u0000\ud800"},"spec":{"ports":[{"port":1e9,"targetPort":"x"}]}}`),
	// The kind comes after the object, and another kind before.
	`{"request":{"object":{"kind":"StatefulSet"},"kind":{"group":"","version":"v1","kind":"Service"}}}`,
}

// FuzzReadReview holds the narrow decoder against Kubernetes' own types: what is
// read says what Kubernetes reads, and whatever isn't read is refused with a status
// that says so.
func FuzzReadReview(f *testing.F) {
	for _, seed := range reviewSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h, req, err := readReview(body)
		if err != nil {
			var r *refusal
			if !errors.As(err, &r) || r.status != http.StatusBadRequest && r.status != http.StatusUnprocessableEntity || r.reason == "" {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		var want admissionv1.AdmissionReview
		// Of a field that is given twice Kubernetes takes the last, and stsguard
		// both, one over the other; the API server gives none twice.
		strict, err := json.UnmarshalStrict(body, &want, json.DisallowDuplicateFields)
		if err != nil || len(strict) > 0 {
			return
		}
		if want.Request == nil {
			t.Fatalf("read %+v where there is no request", h)
		}
		w := want.Request
		if h.UID != string(w.UID) || h.Kind != (groupVersionKind{w.Kind.Group, w.Kind.Version, w.Kind.Kind}) || h.SubResource != w.SubResource ||
			h.Namespace != w.Namespace || string(h.Operation) != string(w.Operation) || h.DryRun != (w.DryRun != nil && *w.DryRun) || h.UserInfo.Username != w.UserInfo.Username {
			t.Fatalf("read %+v, and Kubernetes reads %+v", h, w)
		}
		if req.Namespace != w.Namespace || req.Username != w.UserInfo.Username || req.DryRun != h.DryRun || req.Operation != h.Operation {
			t.Fatalf("read %+v, and Kubernetes reads %+v", req, w)
		}
		sides := map[string]bool{
			"object":    req.ServiceAfter != nil || req.StatefulSetAfter != nil,
			"oldObject": req.ServiceBefore != nil || req.StatefulSetBefore != nil,
		}
		for side, needed := range map[string]bool{"object": w.Operation != admissionv1.Delete, "oldObject": w.Operation != admissionv1.Create} {
			if sides[side] != needed {
				t.Fatalf("%s of a %s: taken %v", side, w.Operation, sides[side])
			}
		}
		for _, s := range []*inventory.Service{req.ServiceBefore, req.ServiceAfter} {
			if s != nil && s.Namespace != w.Namespace {
				t.Fatalf("a Service of %q in a request for %q", s.Namespace, w.Namespace)
			}
		}
		for _, s := range []*inventory.StatefulSet{req.StatefulSetBefore, req.StatefulSetAfter} {
			if s != nil && s.Namespace != w.Namespace {
				t.Fatalf("a StatefulSet of %q in a request for %q", s.Namespace, w.Namespace)
			}
		}
	})
}
