// Package webhook is the face towards the API server: it translates admission
// requests for a [verdict.Judge], and its verdicts into answers.
//
// Only a finding denies. A request that could not be judged, for whatever
// reason, is answered with an HTTP error, so that the webhook configuration's
// failurePolicy decides.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/verdict"
)

// Cache is what exists, as far as is known without asking.
type Cache interface {
	inventory.Reader
	// Synced says whether everything that existed at the start is known.
	Synced() bool
}

// Webhook answers admission requests.
type Webhook struct {
	judge   atomic.Pointer[verdict.Judge]
	cache   Cache
	live    verdict.Live
	metrics *metrics
	bodies  sync.Pool
	room    room
}

// New prepares the handlers. It fails only if the metrics can't be registered.
func New(judge *verdict.Judge, cache Cache, live verdict.Live, registerer prometheus.Registerer) (*Webhook, error) {
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	w := &Webhook{cache: cache, live: countedLive{live, m.liveReads}, metrics: m}
	w.bodies.New = func() any { return new(bytes.Buffer) }
	w.SetJudge(judge)
	return w, nil
}

// SetJudge puts another judge in place for all requests that begin from now
// on.
func (w *Webhook) SetJudge(j *verdict.Judge) { w.judge.Store(j) }

// Validate allows, warns or denies.
func (w *Webhook) Validate() http.Handler { return &face{w, "validate", w.validate} }

// Mutate changes Services that are being created, and never denies.
func (w *Webhook) Mutate() http.Handler { return &face{w, "mutate", w.mutate} }

func (w *Webhook) validate(ctx context.Context, req *verdict.Request, o *outcome) (*answer, error) {
	a, err := w.judge.Load().Admit(ctx, req, w.cache, w.live)
	if err != nil {
		return nil, err
	}
	for i := range a.Decisions {
		d := &a.Decisions[i]
		w.metrics.findings.WithLabelValues(d.Rule.ID, string(d.Mode)).Inc()
		if !slices.Contains(o.rules, d.Rule.ID) {
			o.rules = append(o.rules, d.Rule.ID)
		}
	}
	return validated(a), nil
}

func (w *Webhook) mutate(ctx context.Context, req *verdict.Request, o *outcome) (*answer, error) {
	in, err := w.judge.Load().Inject(ctx, req, w.cache, w.live)
	if err != nil {
		return nil, err
	}
	if in != nil {
		o.rules = []string{in.Finding.Rule.ID}
	}
	return mutated(in), nil
}

// face is one of the two handlers.
type face struct {
	*Webhook
	name  string
	judge func(context.Context, *verdict.Request, *outcome) (*answer, error)
}

// outcome is what the log and the metrics say of a request.
type outcome struct {
	kind, operation, object, decision string
	rules                             []string
}

func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	growStack()
	began := time.Now()
	o := &outcome{kind: unknown, operation: unknown, decision: unjudged}
	// Most requests have nothing to log.
	log := func() logr.Logger { return logr.FromContextOrDiscard(r.Context()).WithName(f.name) }

	body, err := f.answer(w, r, o)
	switch {
	case err != nil:
		log().Error(err, "could not judge", "kind", o.kind, "operation", o.operation, "object", o.object)
		http.Error(w, "stsguard could not judge: "+err.Error(), statusOf(err))
	default:
		switch o.decision {
		case denied, changed:
			log().Info(o.decision, "operation", o.operation, "object", o.object, "rules", o.rules)
		case warned:
			log().V(1).Info(o.decision, "operation", o.operation, "object", o.object, "rules", o.rules)
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(body); err != nil {
			log().Error(err, "could not send the answer", "object", o.object)
		}
	}
	f.metrics.observe(f.name, o, time.Since(began))
}

// answer does everything up to the answer's body. A panic on the way is an
// error like any other, and never an answer.
func (f *face) answer(w http.ResponseWriter, r *http.Request, o *outcome) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.metrics.panics.Inc()
			logr.FromContextOrDiscard(r.Context()).Error(fmt.Errorf("%v", p), "panic", "stack", string(debug.Stack()))
			o.decision = unjudged
			out, err = nil, errors.New("internal error: the log has the details")
		}
	}()
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, refuse(http.StatusMethodNotAllowed, "want a POST, not a %s", r.Method)
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, refuse(http.StatusUnsupportedMediaType, "want the content type application/json, not %q", r.Header.Get("Content-Type"))
	}
	if !f.cache.Synced() {
		return nil, refuse(http.StatusServiceUnavailable, "the cache is not filled yet")
	}
	buffer := f.bodies.Get().(*bytes.Buffer)
	defer func() {
		if buffer.Cap() <= pooledBody {
			f.bodies.Put(buffer)
		}
	}()
	taken := &share{room: &f.room}
	defer taken.giveBack()
	if err := taken.readBody(buffer, w, r); err != nil {
		return nil, err
	}
	if err := taken.takeToDecode(buffer.Bytes()); err != nil {
		return nil, err
	}
	h, req, err := readReview(buffer.Bytes())
	if h.UID != "" {
		o.kind, o.operation = h.Kind.Kind, string(h.Operation)
	}
	if err != nil {
		return nil, err
	}
	o.object = short(string(object(req)))
	if err := taken.takeToJudge(req); err != nil {
		return nil, err
	}

	ctx, cancel := deadline(r)
	defer cancel()
	a, err := f.judge(ctx, req, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil, refuse(http.StatusGatewayTimeout, "no verdict in time: %v", err)
		}
		return nil, err
	}
	if out, err = a.encode(h.UID); err != nil {
		return nil, err
	}
	o.decision = a.decision()
	return out, nil
}

func (a *answer) decision() string {
	switch {
	case !a.allowed:
		return denied
	case len(a.patch) > 0:
		return changed
	case len(a.warnings) > 0:
		return warned
	}
	return allowed
}

func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == "application/json"
}

// growStack makes room at once for what judging takes. Every request has a new
// goroutine, whose stack would otherwise be moved again and again as it grows.
//
//go:noinline
func growStack() {
	var room [16 << 10]byte
	runtime.KeepAlive(&room)
}
