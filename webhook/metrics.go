package webhook

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/verdict"
)

// What becomes of a request, as the metrics say it.
const (
	allowed  = "allowed"
	warned   = "warned"
	denied   = "denied"
	changed  = "mutated"
	unjudged = "unjudged"
)

// unknown stands in labels for what a request did not say intelligibly.
const unknown = "unknown"

type metrics struct {
	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	findings  *prometheus.CounterVec
	liveReads *prometheus.CounterVec
	panics    prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stsguard_admission_requests_total",
			Help: "Admission requests by what became of them: allowed, warned, denied, mutated or unjudged.",
		}, []string{"webhook", "kind", "operation", "decision"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "stsguard_admission_duration_seconds",
			Help:    "Time from an admission request's arrival to its answer.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"webhook"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stsguard_findings_total",
			Help: "Findings in admission requests by rule and mode: audit, warn or enforce.",
		}, []string{"rule", "mode"}),
		liveReads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stsguard_live_reads_total",
			Help: "Reads of the cluster past the cache, before a denial or a change, by result: ok or error.",
		}, []string{"result"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stsguard_panics_total",
			Help: "Panics while a request was judged; each was answered with an error.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.findings, m.liveReads, m.panics} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	for _, result := range []string{"ok", "error"} {
		m.liveReads.WithLabelValues(result)
	}
	return m, nil
}

func (m *metrics) observe(webhook string, o *outcome, took time.Duration) {
	m.requests.WithLabelValues(webhook, o.kind, o.operation, o.decision).Inc()
	m.duration.WithLabelValues(webhook).Observe(took.Seconds())
}

// countedLive counts what is read past the cache.
type countedLive struct {
	verdict.Live
	reads *prometheus.CounterVec
}

func (l countedLive) Read(ctx context.Context, namespace string) (inventory.Reader, error) {
	r, err := l.Live.Read(ctx, namespace)
	l.count(err)
	return r, err
}

func (l countedLive) PodsRun(ctx context.Context, set *inventory.StatefulSet) (bool, error) {
	run, err := l.Live.PodsRun(ctx, set)
	l.count(err)
	return run, err
}

func (l countedLive) count(err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	l.reads.WithLabelValues(result).Inc()
}
