package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// options are what the command line says.
type options struct {
	host           string
	port           int
	certDir        string
	config         string
	kubeconfig     string
	healthAddress  string
	metricsAddress string
	namespace      string
	shutdownDelay  time.Duration
	logLevel       slog.Level
	logFormat      string
	version        bool
}

const usage = `stsguard-webhook holds every StatefulSet against the headless Service that
governs it. It serves the Kubernetes admission webhooks /validate and /mutate
over TLS.

Usage:
  stsguard-webhook --cert-dir DIR [flags]

Flags:
`

// parse reads the command line. environment looks a variable up, as os.Getenv
// does. With --help the error is pflag.ErrHelp, and text is the help.
func parse(args []string, environment func(string) string) (o options, text string, err error) {
	flags := pflag.NewFlagSet("stsguard-webhook", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Usage = func() {}
	flags.StringVar(&o.host, "host", "", "`address` to serve the webhooks on; all addresses if empty")
	flags.IntVar(&o.port, "port", 9443, "`port` to serve the webhooks on")
	flags.StringVar(&o.certDir, "cert-dir", "", "`directory` with the serving certificate, tls.crt and tls.key, which is read again when it changes (required)")
	flags.StringVar(&o.config, "config", "", "configuration `file`, such as stsguard.yaml, which is read again when it changes")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that says how to reach the API server; without it, as a pod does")
	flags.StringVar(&o.healthAddress, "health-address", ":8081", "`address` to serve /healthz and /readyz on")
	flags.StringVar(&o.metricsAddress, "metrics-address", ":8080", "`address` to serve /metrics on; 0 for none")
	flags.StringVar(&o.namespace, "namespace", environment("POD_NAMESPACE"), "`namespace` that stsguard runs in and leaves alone; by default that of the variable POD_NAMESPACE")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", 5*time.Second, "`time` to go on serving, but not ready, after a signal to stop")
	level := flags.String("log-level", "info", "least `level` to log: debug, info, warn or error")
	flags.StringVar(&o.logFormat, "log-format", "json", "`format` of the log: json or text")
	flags.BoolVar(&o.version, "version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return options{}, usage + flags.FlagUsages(), err
	}
	switch {
	case o.version:
		return options{version: true}, "", nil
	case flags.NArg() > 0:
		return options{}, "", fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.certDir == "":
		return options{}, "", fmt.Errorf("--cert-dir is required: a directory with tls.crt and tls.key")
	case o.port < 1 || o.port > 65535:
		return options{}, "", fmt.Errorf("--port must be from 1 to 65535, not %d", o.port)
	case o.logFormat != "json" && o.logFormat != "text":
		return options{}, "", fmt.Errorf("--log-format must be json or text, not %q", o.logFormat)
	case o.shutdownDelay < 0:
		return options{}, "", fmt.Errorf("--shutdown-delay must not be negative")
	}
	if err := o.logLevel.UnmarshalText([]byte(*level)); err != nil || strings.ContainsAny(*level, "+-") {
		return options{}, "", fmt.Errorf("--log-level must be debug, info, warn or error, not %q", *level)
	}
	return o, "", nil
}
