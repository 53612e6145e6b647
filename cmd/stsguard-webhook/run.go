package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/stsguard/stsguard/certs"
	"github.com/stsguard/stsguard/inventory/cluster"
	"github.com/stsguard/stsguard/verdict"
	"github.com/stsguard/stsguard/webhook"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	// exitUsage is for a wrong command line or configuration, which a restart
	// doesn't mend.
	exitUsage = 2
)

// usageError is what the user has to mend.
type usageError struct{ error }

// run serves until the context is done and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, help, err := parse(args, os.Getenv)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, help)
		return exitOK
	}
	switch {
	case err != nil:
		err = usageError{fmt.Errorf("%w (see --help)", err)}
	case o.version:
		fmt.Fprintln(stdout, version())
		return exitOK
	default:
		err = serve(ctx, o, logger(o, stderr))
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "stsguard-webhook:", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// logger is for everything, the libraries' own messages included.
func logger(o options, stderr io.Writer) logr.Logger {
	at := &slog.HandlerOptions{Level: o.logLevel}
	var handler slog.Handler = slog.NewJSONHandler(stderr, at)
	if o.logFormat == "text" {
		handler = slog.NewTextHandler(stderr, at)
	}
	// What net/http has to say goes to the standard library's logger.
	slog.SetDefault(slog.New(handler))
	log := logr.FromSlogHandler(handler)
	klog.SetLogger(log)
	ctrllog.SetLogger(log)
	return log
}

// serve puts all parts together and runs them.
func serve(ctx context.Context, o options, log logr.Logger) error {
	settings := &settings{path: o.config, own: o.namespace, clock: time.Now}
	judge, err := settings.load()
	if err != nil {
		return usageError{err}
	}
	settings.tell(log)
	connection, err := connect(o.kubeconfig)
	if err != nil {
		return usageError{err}
	}
	if err := o.readFiles(); err != nil {
		return usageError{err}
	}
	clients, err := cluster.Connect(connection)
	if err != nil {
		return err
	}
	cache := cluster.NewCache(clients)
	hook, err := webhook.New(judge, cache, cluster.NewLive(clients), metrics.Registry)
	if err != nil {
		return err
	}
	var registered *registered
	var certificate certificate = &certs.Files{Dir: o.certDir, Trusted: notAsked, Clock: time.Now}
	if o.register != "" {
		if registered, err = newRegistered(o, connection, settings.clusterDomain); err != nil {
			return err
		}
		registered.use(judge)
		certificate = registered.certificate
	}
	if err := settings.reloadInto(func(j *verdict.Judge) {
		hook.SetJudge(j)
		if registered != nil {
			registered.use(j)
		}
	}, metrics.Registry); err != nil {
		return err
	}
	if err := register(metrics.Registry, cache); err != nil {
		return err
	}

	secured := &tls.Config{GetCertificate: certificate.GetCertificate}
	secure(secured)
	validate, mutate := hook.Validate(), hook.Mutate()
	if o.clientCA != "" {
		callers := &callers{path: o.clientCA, names: o.clientNames}
		callers.secure(secured)
		validate, mutate = callers.allow(validate), callers.allow(mutate)
	}
	paths := http.NewServeMux()
	paths.Handle("/validate", validate)
	paths.Handle("/mutate", mutate)
	server := &server{
		address: net.JoinHostPort(o.host, strconv.Itoa(o.port)), tls: secured, handler: paths,
		log: log.WithName("server"), stopping: ctx.Done(),
	}
	m, err := manager.New(connection, manager.Options{
		Logger:                 log,
		BaseContext:            func() context.Context { return logr.NewContext(context.Background(), log) },
		HealthProbeBindAddress: o.healthAddress,
		Metrics:                metricsOptions(o, certificate.GetCertificate),
	})
	if err != nil {
		return fmt.Errorf("prepare the server: %w", err)
	}
	err = errors.Join(
		m.Add(server),
		m.Add(cache),
		m.Add(settings),
		addCertificate(m, certificate),
		m.AddHealthzCheck("ping", func(*http.Request) error { return nil }),
		m.AddReadyzCheck("cache", func(*http.Request) error {
			if !cache.Synced() {
				return errors.New("the cache is not filled yet")
			}
			return nil
		}),
		m.AddReadyzCheck("server", server.ready),
	)
	if registered != nil {
		err = errors.Join(err, m.Add(registered.leader))
	}
	if err != nil {
		return fmt.Errorf("prepare the server: %w", err)
	}
	ctx, cancel := linger(ctx, o.shutdownDelay)
	defer cancel()
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// linger is a context that ends some time after ctx: the API server goes on to
// send requests until it has heard that this replica is no longer ready.
func linger(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(by):
			cancel()
		case <-later.Done():
		}
	})
	return later, func() { stop(); cancel() }
}

func connect(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no --kubeconfig, and not in a pod: %w", err)
		}
		return c, nil
	}
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	return c, nil
}

// register makes metrics of how much the cache holds, and how far it may be behind.
func register(registry prometheus.Registerer, cache *cluster.Cache) error {
	for kind, count := range map[string]func() int{
		"Service":     func() int { return cache.Count().Services },
		"StatefulSet": func() int { return cache.Count().StatefulSets },
		"Namespace":   func() int { return cache.Count().Namespaces },
	} {
		if err := registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "stsguard_cached_objects",
			Help:        "Objects that the cache holds.",
			ConstLabels: prometheus.Labels{"kind": kind},
		}, func() float64 { return float64(count()) })); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	if err := registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stsguard_cache_heard_timestamp_seconds",
		Help: "When the API server last told the cache of changes, or that there were none.",
	}, func() float64 { return float64(cache.Heard().Unix()) })); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}
