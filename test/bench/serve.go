package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/verdict"
	"github.com/stsguard/stsguard/webhook"
)

// The paths of the two webhooks.
const (
	pathAllow    = "/allow"
	pathStsguard = "/validate"
)

// profileVariable names the variable with the directory for a CPU profile of
// the server.
const profileVariable = "BENCH_CPU_PROFILE"

// store is a cache that is full from the start.
type store struct{ *inventory.Store }

func (store) Synced() bool { return true }

// noLive is for requests that are all valid: none is read live.
type noLive struct{}

var errLive = errors.New("a valid request was read live")

func (noLive) Read(context.Context, string) (inventory.Reader, error) { return nil, errLive }

func (noLive) PodsRun(context.Context, *inventory.StatefulSet) (bool, error) { return false, errLive }

// serve serves both webhooks until the context is done.
func serve(ctx context.Context, dir, port string, objects int) error {
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	rules, err := policies.Builtin()
	if err != nil {
		return err
	}
	judge := verdict.New(rules, config.Default(), "stsguard", time.Now)
	cache := store{&inventory.Store{}}
	fill(cache.Store, objects, requestApps)
	hook, err := webhook.New(judge, cache, noLive{}, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	server := ctrlwebhook.NewServer(ctrlwebhook.Options{
		Host: "127.0.0.1", Port: number, CertDir: dir,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }},
	})
	server.Register(pathAllow, &ctrlwebhook.Admission{Handler: admission.HandlerFunc(
		func(context.Context, admission.Request) admission.Response { return admission.Allowed("") },
	)})
	server.Register(pathStsguard, hook.Validate())
	server.WebhookMux().HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		// What was made while the cache was filled is not what is measured.
		runtime.GC()
		w.WriteHeader(http.StatusNoContent)
	})
	if dir := os.Getenv(profileVariable); dir != "" {
		file, err := os.Create(fmt.Sprintf("%s/bench-%d.pprof", dir, objects))
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	return server.Start(ctx)
}
