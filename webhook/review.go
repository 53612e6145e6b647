package webhook

import (
	"bytes"
	"cmp"
	gojson "encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"sigs.k8s.io/json"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/verdict"
)

const (
	reviewVersion = "admission.k8s.io/v1"
	reviewKind    = "AdmissionReview"
)

// refusal is why a request can't be judged, with the HTTP status that says so.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

// longestReason is how much is told of a reason, or logged of a name. Both may
// quote what was sent, and not only the API server can send something.
const longestReason = 512

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, reason: short(fmt.Sprintf(format, args...))}
}

func short(text string) string {
	if len(text) > longestReason {
		return strings.ToValidUTF8(text[:longestReason], "") + "..."
	}
	return text
}

// review is what is read of an AdmissionReview about objects of type T.
type review[T any] struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Request    *struct {
		header
		Object    *T `json:"object"`
		OldObject *T `json:"oldObject"`
	} `json:"request"`
}

// header is what a request says beside its objects.
type header struct {
	UID         string            `json:"uid"`
	Kind        groupVersionKind  `json:"kind"`
	SubResource string            `json:"subResource"`
	Namespace   string            `json:"namespace"`
	Operation   verdict.Operation `json:"operation"`
	DryRun      bool              `json:"dryRun"`
	UserInfo    struct {
		Username string `json:"username"`
	} `json:"userInfo"`
}

type groupVersionKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// The kinds that are judged.
var (
	services     = groupVersionKind{Version: "v1", Kind: string(inventory.KindService)}
	statefulSets = groupVersionKind{Group: "apps", Version: "v1", Kind: string(inventory.KindStatefulSet)}
)

// readReview decodes a review, and the objects in it, at once. The header is
// returned as far as it could be read, if only for the log.
func readReview(body []byte) (header, *verdict.Request, error) {
	// The objects' type has to be known before their kind is read. The API
	// server puts the kind first; a wrong guess costs a second reading.
	if bytes.Contains(body[:min(len(body), 512)], []byte(`"kind":"StatefulSet"`)) {
		r, err := decode[inventory.StatefulSetJSON](body)
		if !r.isAbout(services) {
			return finish(r, err, (*inventory.StatefulSetJSON).StatefulSet, statefulSetsOf)
		}
	}
	r, err := decode[inventory.ServiceJSON](body)
	if r.isAbout(statefulSets) {
		r, err := decode[inventory.StatefulSetJSON](body)
		return finish(r, err, (*inventory.StatefulSetJSON).StatefulSet, statefulSetsOf)
	}
	return finish(r, err, (*inventory.ServiceJSON).Service, servicesOf)
}

func decode[T any](body []byte) (*review[T], error) {
	var r review[T]
	return &r, json.UnmarshalCaseSensitivePreserveInts(body, &r)
}

func (r *review[T]) isAbout(kind groupVersionKind) bool {
	return r.Request != nil && r.Request.Kind == kind
}

func statefulSetsOf(r *verdict.Request) (before, after **inventory.StatefulSet) {
	return &r.StatefulSetBefore, &r.StatefulSetAfter
}

func servicesOf(r *verdict.Request) (before, after **inventory.Service) {
	return &r.ServiceBefore, &r.ServiceAfter
}

// finish takes over the objects that the operation has; others that the
// request holds count for nothing. The error is that of decoding.
func finish[T any, V interface{ Ref() inventory.Ref }](r *review[T], err error, convert func(*T) V, sides func(*verdict.Request) (before, after *V)) (header, *verdict.Request, error) {
	var mistyped *gojson.UnmarshalTypeError
	inObject := errors.As(err, &mistyped) && (strings.HasPrefix(mistyped.Field, "request.object") || strings.HasPrefix(mistyped.Field, "request.oldObject"))
	if err != nil && !inObject {
		return header{}, nil, refuse(http.StatusBadRequest, "decode AdmissionReview: %v", err)
	}
	if err := r.check(); err != nil {
		return header{}, nil, err
	}
	h := r.Request.header
	if err != nil {
		return h, nil, refuse(http.StatusUnprocessableEntity, "decode %s: %s is of the wrong type: a %s", h.Kind.Kind, mistyped.Field, mistyped.Value)
	}
	out := &verdict.Request{Operation: h.Operation, Namespace: h.Namespace, Username: h.UserInfo.Username, DryRun: h.DryRun}
	before, after := sides(out)
	take := func(field string, object *T, into *V) error {
		if object == nil {
			return refuse(http.StatusBadRequest, "the %s request has no %s", h.Operation, field)
		}
		*into = convert(object)
		return nil
	}
	switch h.Operation {
	case verdict.Create:
		err = take("object", r.Request.Object, after)
	case verdict.Update:
		err = cmp.Or(take("oldObject", r.Request.OldObject, before), take("object", r.Request.Object, after))
	case verdict.Delete:
		err = take("oldObject", r.Request.OldObject, before)
	}
	if err != nil {
		return h, nil, err
	}
	return h, out, place(out)
}

// check says what is wrong with the review, its objects aside.
func (r *review[T]) check() error {
	bad := func(format string, args ...any) error { return refuse(http.StatusBadRequest, format, args...) }
	if r.APIVersion != reviewVersion || r.Kind != reviewKind {
		return bad("want an AdmissionReview of %s, not a %q of %q", reviewVersion, r.Kind, r.APIVersion)
	}
	if r.Request == nil {
		return bad("the AdmissionReview has no request")
	}
	switch h := &r.Request.header; {
	case h.UID == "":
		return bad("the request has no uid")
	case h.Namespace == "":
		return bad("the request has no namespace")
	case h.Kind != services && h.Kind != statefulSets:
		return bad("the request is about the kind %q of %q, version %q: only v1 Services and apps/v1 StatefulSets are judged", h.Kind.Kind, h.Kind.Group, h.Kind.Version)
	case h.SubResource != "":
		// To allow it would leave something unjudged that the webhook's
		// configuration sends here by mistake.
		return bad("the request is for the subresource %q, which is not judged: remove it from the rules of the webhook configuration", h.SubResource)
	case h.Operation != verdict.Create && h.Operation != verdict.Update && h.Operation != verdict.Delete:
		return bad("the operation %q is not judged: want CREATE, UPDATE or DELETE", h.Operation)
	}
	return nil
}

// place puts objects that name no namespace into the request's.
func place(r *verdict.Request) error {
	var all []*inventory.Meta
	for _, s := range []*inventory.Service{r.ServiceBefore, r.ServiceAfter} {
		if s != nil {
			all = append(all, &s.Meta)
		}
	}
	for _, s := range []*inventory.StatefulSet{r.StatefulSetBefore, r.StatefulSetAfter} {
		if s != nil {
			all = append(all, &s.Meta)
		}
	}
	for _, m := range all {
		if m.Namespace == "" {
			m.Namespace = r.Namespace
		}
		if m.Namespace != r.Namespace {
			return refuse(http.StatusBadRequest, "the object is in namespace %q, and the request in %q", m.Namespace, r.Namespace)
		}
	}
	return nil
}

// object names what the request is about. A name may be empty: with
// generateName there is none yet.
func object(r *verdict.Request) inventory.Ref {
	switch {
	case r.ServiceAfter != nil:
		return r.ServiceAfter.Ref()
	case r.StatefulSetAfter != nil:
		return r.StatefulSetAfter.Ref()
	case r.ServiceBefore != nil:
		return r.ServiceBefore.Ref()
	case r.StatefulSetBefore != nil:
		return r.StatefulSetBefore.Ref()
	}
	return ""
}

// statusOf is the HTTP status for a request that could not be judged.
func statusOf(err error) int {
	var r *refusal
	if errors.As(err, &r) {
		return r.status
	}
	return http.StatusInternalServerError
}
