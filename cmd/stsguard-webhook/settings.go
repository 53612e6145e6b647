package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/verdict"
)

// reloadEvery is how often the configuration is looked at. What it holds is
// compared: a ConfigMap's file is a link whose target is exchanged.
const reloadEvery = time.Second

// settings is the configuration file and what is made of it.
type settings struct {
	// path is empty if there is no file.
	path  string
	own   string
	clock func() time.Time

	// clusterDomain is what the configuration says at the start.
	clusterDomain string

	use     func(*verdict.Judge)
	reloads *prometheus.CounterVec
	// file is what was read last, good or bad.
	file    *config.File
	failure string
	// inUse is the judge of the last good one, and told its notes so far.
	inUse *verdict.Judge
	told  []string
}

// load reads the file for the first time.
func (s *settings) load() (*verdict.Judge, error) {
	if s.path == "" {
		rules, err := policies.Builtin()
		if err != nil {
			return nil, err
		}
		c := config.Default()
		s.clusterDomain = c.ClusterDomain
		return s.judgeBy(rules, c), nil
	}
	var err error
	if s.file, err = config.Read(s.path); err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	return s.judge()
}

func (s *settings) judge() (*verdict.Judge, error) {
	c, rules, err := s.file.Parse()
	if err != nil {
		return nil, err
	}
	s.clusterDomain = cmp.Or(s.clusterDomain, c.ClusterDomain)
	return s.judgeBy(rules, c), nil
}

func (s *settings) judgeBy(rules *policies.Rules, c *config.Configuration) *verdict.Judge {
	s.inUse, s.told = verdict.New(rules, c, s.own, s.clock), nil
	return s.inUse
}

// tell logs what it has not told of the judge in use yet: an exception expires
// long after it was read.
func (s *settings) tell(log logr.Logger) {
	notes := s.inUse.Notes()
	for _, note := range notes {
		if !slices.Contains(s.told, note) {
			log.Info("configuration", "note", note)
		}
	}
	s.told = notes
}

// reloadInto says who gets the judge of a changed file.
func (s *settings) reloadInto(use func(*verdict.Judge), registry prometheus.Registerer) error {
	s.use = use
	s.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stsguard_config_reloads_total",
		Help: "Readings of a changed configuration by result: ok, or error, which leaves the last good one in place.",
	}, []string{"result"})
	if err := registry.Register(s.reloads); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	for _, result := range []string{"ok", "error"} {
		s.reloads.WithLabelValues(result)
	}
	return nil
}

// Start reads the file again whenever it changes, until the context is done.
func (s *settings) Start(ctx context.Context) error {
	if s.path == "" {
		return nil
	}
	ticker := time.NewTicker(reloadEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.reload(ctx)
		}
	}
}

// NeedLeaderElection tells controller-runtime's manager that every replica
// reads its own file.
func (s *settings) NeedLeaderElection() bool { return false }

// reload does nothing while the file and the rules in its policies stay as they
// are, good or bad.
func (s *settings) reload(ctx context.Context) {
	log := logr.FromContextOrDiscard(ctx).WithName("configuration")
	defer s.tell(log)
	file, err := config.Read(s.path)
	if err != nil {
		if s.failure != err.Error() {
			s.failed(log, err)
		}
		return
	}
	if file.Equal(s.file) {
		s.failure = ""
		return
	}
	s.file = file
	judge, err := s.judge()
	if err != nil {
		s.failed(log, err)
		return
	}
	s.failure = ""
	s.use(judge)
	s.reloads.WithLabelValues("ok").Inc()
	log.Info("reloaded", "file", s.path)
}

func (s *settings) failed(log logr.Logger, err error) {
	s.failure = err.Error()
	s.reloads.WithLabelValues("error").Inc()
	log.Error(err, "kept the last good configuration", "file", s.path)
}
