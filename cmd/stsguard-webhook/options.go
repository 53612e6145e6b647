package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/cert"

	"github.com/stsguard/stsguard/registration"
)

// leastLifetime leaves time to renew certificates: shorter ones are for tests.
const leastLifetime = 10 * time.Second

// noMetrics is the --metrics-address at which nothing is served.
const noMetrics = "0"

// options are what the command line says.
type options struct {
	host           string
	port           int
	certDir        string
	service        string
	register       string
	certSecret     string
	certLifetime   time.Duration
	policies       registration.Policies
	annotations    map[string]string
	timeout        time.Duration
	clientCA       string
	clientNames    []string
	config         string
	kubeconfig     string
	healthAddress  string
	metricsAddress string
	metricsPlain   bool
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
  stsguard-webhook --register NAME --service NAME [flags]
  stsguard-webhook --cert-dir DIR [flags]

The first makes its own certificates and keeps its own webhook configurations.
The second serves the certificate in a directory, such as cert-manager's; with
--register and --service it keeps its webhook configurations, too.

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
	flags.StringVar(&o.certDir, "cert-dir", "", "`directory` with the serving certificate, tls.crt and tls.key, which is read again when it changes; with --register also ca.crt, whom the API server is to trust, and another certificate is served once it is trusted")
	flags.StringVar(&o.register, "register", "", "`name` of the two webhook configurations to keep, of the ClusterRole that they belong to, and of the Lease for it; without it they are made by somebody else")
	flags.StringVar(&o.service, "service", "", "`name` of the Service in stsguard's own namespace where the API server finds it, on port 443 (with --register)")
	flags.StringVar(&o.certSecret, "cert-secret", "stsguard-webhook-certs", "`name` of the Secret in stsguard's own namespace for its own certificates (without --cert-dir)")
	flags.DurationVar(&o.certLifetime, "cert-lifetime", 90*24*time.Hour, "`time` that its own serving certificates count, an authority's four times that (without --cert-dir)")
	policies := flags.StringToString("failure-policy", map[string]string{"validate": "Fail", "delete": "Ignore", "mutate": "Ignore"}, "`policies`, Fail or Ignore, when the API server gets no answer: validate for what is created or updated, delete for Services that are deleted, mutate for Services that might be made headless; what isn't given stays (with --register)")
	annotations := flags.StringArray("annotation", nil, "`key=value` of an annotation of the webhook configurations; may be repeated (with --register)")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Second, "`time` that the API server waits for an answer, 1s to 30s (with --register)")
	flags.StringVar(&o.clientCA, "client-ca", "", "`file` with the authorities of the API server's client certificate, which is read again for each connection; without it everybody may ask")
	flags.StringSliceVar(&o.clientNames, "client-names", nil, "common or DNS `names`, separated by commas, of which a client certificate must have one (with --client-ca)")
	flags.StringVar(&o.config, "config", "", "configuration `file`, such as stsguard.yaml, which is read again when it changes")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that says how to reach the API server; without it, as a pod does")
	flags.StringVar(&o.healthAddress, "health-address", ":8081", "`address` to serve /healthz and /readyz on")
	flags.StringVar(&o.metricsAddress, "metrics-address", ":8080", "`address` to serve /metrics on, over TLS, to those whose token may get /metrics; 0 for none")
	flags.BoolVar(&o.metricsPlain, "metrics-plain-http", false, "serve /metrics over plain HTTP, and to everybody: for a network that sees to both itself, such as a service mesh")
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
	case o.port < 1 || o.port > 65535:
		return options{}, "", fmt.Errorf("--port must be from 1 to 65535, not %d", o.port)
	case o.logFormat != "json" && o.logFormat != "text":
		return options{}, "", fmt.Errorf("--log-format must be json or text, not %q", o.logFormat)
	case o.shutdownDelay < 0:
		return options{}, "", fmt.Errorf("--shutdown-delay must not be negative")
	}
	if err := o.setPolicies(*policies); err != nil {
		return options{}, "", err
	}
	if err := o.setAnnotations(*annotations); err != nil {
		return options{}, "", err
	}
	if err := o.combine(flags.Changed); err != nil {
		return options{}, "", err
	}
	if err := o.logLevel.UnmarshalText([]byte(*level)); err != nil || strings.ContainsAny(*level, "+-") {
		return options{}, "", fmt.Errorf("--log-level must be debug, info, warn or error, not %q", *level)
	}
	return o, "", nil
}

// setPolicies puts those that are given over the usual ones.
func (o *options) setPolicies(given map[string]string) error {
	o.policies = registration.DefaultPolicies
	into := map[string]*admissionv1.FailurePolicyType{"validate": &o.policies.Validate, "delete": &o.policies.Delete, "mutate": &o.policies.Mutate}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		policy := admissionv1.FailurePolicyType(given[key])
		if into[key] == nil || policy != admissionv1.Fail && policy != admissionv1.Ignore {
			return fmt.Errorf("--failure-policy must be validate, delete or mutate, then =Fail or =Ignore, not %q", key+"="+given[key])
		}
		*into[key] = policy
	}
	return nil
}

func (o *options) setAnnotations(given []string) error {
	for _, annotation := range given {
		key, value, ok := strings.Cut(annotation, "=")
		if !ok {
			return fmt.Errorf("--annotation must be KEY=VALUE, not %q", annotation)
		}
		if o.annotations == nil {
			o.annotations = map[string]string{}
		}
		o.annotations[key] = value
	}
	return apivalidation.ValidateAnnotations(o.annotations, field.NewPath("--annotation")).ToAggregate()
}

// combine checks what goes together. A flag that would do nothing is a mistake.
func (o *options) combine(given func(flag string) bool) error {
	need := func(flags []string, with string, there bool) error {
		for _, flag := range flags {
			if given(flag) && !there {
				return fmt.Errorf("--%s does nothing without %s", flag, with)
			}
		}
		return nil
	}
	switch {
	case o.certDir == "" && o.register == "":
		return errors.New("--cert-dir is required, a directory with tls.crt and tls.key; or --register and --service, to make certificates")
	case o.register != "" && o.service == "":
		return errors.New("--register needs --service, the Service where the API server finds stsguard")
	case o.register != "" && o.namespace == "":
		return errors.New("--register needs --namespace, or the variable POD_NAMESPACE: the namespace of the Service")
	case o.certDir != "" && (given("cert-secret") || given("cert-lifetime")):
		return errors.New("--cert-secret and --cert-lifetime are for certificates that stsguard makes, which it doesn't with --cert-dir")
	case o.certDir == "" && slices.ContainsFunc(slices.Collect(maps.Keys(o.annotations)), injected):
		return errors.New("--annotation cert-manager.io/inject-... needs --cert-dir: cert-manager would write another caBundle than that of stsguard's own certificates, over and over")
	case o.certLifetime < leastLifetime:
		return fmt.Errorf("--cert-lifetime must be at least %s, not %s", leastLifetime, o.certLifetime)
	case o.timeout < time.Second || o.timeout > 30*time.Second || o.timeout%time.Second != 0:
		return fmt.Errorf("--timeout must be whole seconds from 1s to 30s, not %s", o.timeout)
	}
	return cmp.Or(
		need([]string{"service", "failure-policy", "annotation", "timeout"}, "--register", o.register != ""),
		need([]string{"client-names"}, "--client-ca", o.clientCA != ""),
		need([]string{"metrics-plain-http"}, "--metrics-address", o.metricsAddress != noMetrics),
	)
}

// injected says whether with this annotation cert-manager writes the caBundle.
func injected(annotation string) bool {
	return strings.HasPrefix(annotation, "cert-manager.io/inject-")
}

// readFiles reads the files that are needed all the time, so that a mistake shows
// at the start.
func (o *options) readFiles() error {
	if o.certDir != "" {
		if _, err := tls.LoadX509KeyPair(filepath.Join(o.certDir, corev1.TLSCertKey), filepath.Join(o.certDir, corev1.TLSPrivateKeyKey)); err != nil {
			return fmt.Errorf("--cert-dir: read tls.crt and tls.key in %s: %w", o.certDir, err)
		}
		if o.register != "" {
			if _, err := cert.CertsFromFile(filepath.Join(o.certDir, authorities)); err != nil {
				return fmt.Errorf("--cert-dir: read whom the API server is to trust: %w", err)
			}
		}
	}
	if o.clientCA != "" {
		if _, err := (&callers{path: o.clientCA}).load(); err != nil {
			return err
		}
	}
	return nil
}
