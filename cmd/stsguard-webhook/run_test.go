package main

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/util/cert"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/registration"
	"github.com/stsguard/stsguard/verdict"
	"github.com/stsguard/stsguard/webhook"
)

const header = "apiVersion: stsguard.dev/v1alpha1\nkind: Configuration\n"

func TestParse(t *testing.T) {
	environment := func(name string) string { return map[string]string{"POD_NAMESPACE": "guards"}[name] }
	o, _, err := parse([]string{"--cert-dir=/certs"}, environment)
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		port: 9443, certDir: "/certs", certSecret: "stsguard-webhook-certs", certLifetime: 90 * 24 * time.Hour,
		policies: registration.DefaultPolicies, timeout: 5 * time.Second,
		healthAddress: ":8081", metricsAddress: ":8080", namespace: "guards", shutdownDelay: 5 * time.Second, logLevel: slog.LevelInfo, logFormat: "json",
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
	o, _, err = parse([]string{"--cert-dir=/certs", "--namespace=own", "--log-level=debug", "--port=443", "--client-ca=ca.crt", "--client-names=a,b"}, environment)
	if err != nil || o.namespace != "own" || o.logLevel != slog.LevelDebug || o.port != 443 || o.clientCA != "ca.crt" || !slices.Equal(o.clientNames, []string{"a", "b"}) {
		t.Errorf("got %+v, %v", o, err)
	}
	o, _, err = parse([]string{"--register=guard", "--service=hook", "--cert-secret=keys", "--cert-lifetime=240h", "--failure-policy=validate=Ignore,mutate=Fail", "--annotation=example.com/a=b=c,d", "--annotation=e=", "--timeout=3s"}, environment)
	if want := (registration.Policies{Validate: "Ignore", Delete: "Ignore", Mutate: "Fail"}); err != nil || o.register != "guard" || o.service != "hook" || o.certSecret != "keys" || o.certLifetime != 240*time.Hour || o.policies != want || o.timeout != 3*time.Second || !maps.Equal(o.annotations, map[string]string{"example.com/a": "b=c,d", "e": ""}) {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, args := range [][]string{
		{"extra"}, {"--nope"}, {"--port=0"}, {"--port=x"}, {"--log-level=loud"}, {"--log-level=info+1"}, {"--log-format=xml"}, {"--shutdown-delay=-1s"},
		{"--service=hook"}, {"--timeout=3s"}, {"--failure-policy=validate=Fail"}, {"--annotation=a=b"}, {"--cert-secret=keys"}, {"--cert-lifetime=240h"}, {"--client-names=a"}, {"--metrics-plain-http", "--metrics-address=0"},
		{"--register=guard"},
	} {
		if _, _, err := parse(append(args, "--cert-dir=/certs"), environment); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	for _, args := range [][]string{
		{"--service="}, {"--namespace="}, {"--cert-lifetime=1s"},
		{"--timeout=0s"}, {"--timeout=31s"}, {"--timeout=1500ms"}, {"--failure-policy=validate=fail"}, {"--failure-policy=create=Fail"}, {"--annotation=a"}, {"--annotation=a b=c"}, {"--annotation=cert-manager.io/inject-ca-from=a/b"},
	} {
		if _, _, err := parse(append([]string{"--register=guard", "--service=hook"}, args...), environment); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if _, _, err := parse([]string{"--register=guard", "--service=hook", "--cert-dir=/certs", "--annotation=cert-manager.io/inject-ca-from=a/b"}, environment); err != nil {
		t.Error(err)
	}
	if _, _, err := parse(nil, environment); err == nil {
		t.Error("no flags: no error")
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("tls.crt", "no certificate")
	write("tls.key", "no key")
	certs := "--cert-dir=" + dir
	// One of the two certificates in ca.crt can't be read.
	certificate, key, err := cert.GenerateSelfSignedCertKey("hook.guards.svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "half")
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	write("half/tls.crt", string(certificate))
	write("half/tls.key", string(key))
	write("half/ca.crt", string(certificate)+"-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n")
	kubeconfig := "--kubeconfig=" + write("cluster", `{clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}], contexts: [{name: a, context: {cluster: a}}], current-context: a}`)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":                            {[]string{"--help"}, exitOK, "--cert-dir"},
		"no flags":                        {nil, exitUsage, "--cert-dir is required, a directory with tls.crt and tls.key; or --register"},
		"version":                         {[]string{"--version"}, exitOK, "stsguard-webhook (devel) " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"},
		"unknown flag":                    {[]string{"--certdir=x"}, exitUsage, "unknown flag: --certdir"},
		"no certificates":                 {[]string{"--cert-dir=/no/such", kubeconfig}, exitUsage, "--cert-dir: read tls.crt and tls.key in /no/such: open /no/such/tls.crt"},
		"certificates that are none":      {[]string{certs, kubeconfig}, exitUsage, "failed to find any PEM data"},
		"an authority that is none":       {[]string{"--register=a", "--service=b", "--namespace=c", "--cert-dir=" + half, kubeconfig}, exitUsage, "--cert-dir: read whom the API server is to trust: error reading"},
		"no client authority":             {[]string{"--register=a", "--service=b", "--namespace=c", "--client-ca=/no/such", kubeconfig}, exitUsage, "--client-ca: open /no/such"},
		"a client authority that is none": {[]string{"--register=a", "--service=b", "--namespace=c", "--client-ca=" + filepath.Join(dir, "tls.crt"), kubeconfig}, exitUsage, "--client-ca: no certificate in"},
		"a wrong annotation":              {[]string{"--register=a", "--service=b", "--namespace=c", "--annotation=-a=b", kubeconfig}, exitUsage, `--annotation: Invalid value: "-a": name part must consist of`},
		"no configuration":                {[]string{certs, "--config=/no/such"}, exitUsage, "--config: read configuration: open /no/such"},
		"wrong configuration":             {[]string{certs, "--config=" + write("bad.yaml", header+"rulez: {}\n")}, exitUsage, "bad.yaml:3: "},
		"not in a pod":                    {[]string{certs}, exitUsage, "no --kubeconfig, and not in a pod"},
		"no kubeconfig":                   {[]string{certs, "--kubeconfig=/no/such"}, exitUsage, "--kubeconfig: "},
		"kubeconfig that is none":         {[]string{certs, "--kubeconfig=" + write("kubeconfig", "[]")}, exitUsage, "--kubeconfig: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), c.args, &stdout, &stderr)
			if code != c.code || !strings.Contains(stdout.String()+stderr.String(), c.says) {
				t.Errorf("got %d\n%s%s", code, stdout.String(), stderr.String())
			}
			if (code == exitOK) != (stderr.Len() == 0) {
				t.Errorf("got on stderr: %s", stderr.String())
			}
		})
	}
}

// full is a cache that is empty and knows it.
type full struct{ *inventory.Store }

func (full) Synced() bool { return true }

// rule is one of a user's, up to its condition.
const rule = `# METADATA
# title: A title
# description: Why it matters.
# custom:
#   level: baseline
#   subject: relation
#   remedy: What to do.
package stsguard.rules["own"]

findings contains {"object": input.statefulSet.ref, "msg": "m"} if `

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stsguard.yaml")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeRule := func(condition string) {
		dir := filepath.Join(filepath.Dir(path), "own")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "rule.rego"), []byte(rule+condition+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(header)
	s := &settings{path: path, own: "guards", clock: time.Now}
	judge, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	hook, err := webhook.New(judge, full{&inventory.Store{}}, nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	used := 0.0
	if err := s.reloadInto(func(j *verdict.Judge) {
		used++
		if !j.Exempts("guards") {
			t.Error("its own namespace is judged")
		}
		hook.SetJudge(j)
	}, registry); err != nil {
		t.Fatal(err)
	}
	counts := func() (ok, failed float64) {
		for result, into := range map[string]*float64{"ok": &ok, "error": &failed} {
			var m dto.Metric
			if err := s.reloads.WithLabelValues(result).Write(&m); err != nil {
				t.Fatal(err)
			}
			*into = m.GetCounter().GetValue()
		}
		return ok, failed
	}
	steps := []struct {
		change     func()
		ok, failed float64
	}{
		{func() {}, 0, 0},
		{func() { write(header + "rulez: {}\n") }, 0, 1},
		{func() {}, 0, 1},
		{func() { write(header + "dryRun: {mode: audit}\n") }, 1, 1},
		{func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, 1, 2},
		{func() {}, 1, 2},
		{func() { write(header + "dryRun: {mode: audit}\n") }, 1, 2},
		{func() { write(header) }, 2, 2},
		{func() { write(header + "policies: [.]\n") }, 2, 3},
		{func() { writeRule("input.governing.found") }, 3, 3},
		{func() {}, 3, 3},
		{func() { writeRule("input.governing.find") }, 3, 4},
		{func() { writeRule("input.governing.headless") }, 4, 4},
	}
	for i, step := range steps {
		step.change()
		s.reload(t.Context())
		if ok, failed := counts(); ok != step.ok || failed != step.failed || used != step.ok {
			t.Errorf("step %d: got %v ok and %v failed, and used %v", i, ok, failed, used)
		}
	}
}

// Of an exception that expires while it is in use the log says so once, on the day.
func TestExceptionExpires(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stsguard.yaml")
	exception := header + "exceptions:\n- {rule: service-not-found, name: web, reason: it moves, expires: 2027-06-30}\n"
	if err := os.WriteFile(path, []byte(exception), 0o600); err != nil {
		t.Fatal(err)
	}
	// The last day is that of UTC, wherever the clock is.
	now := time.Date(2027, 6, 30, 23, 59, 59, 0, time.UTC).In(time.FixedZone("east", 14*60*60))
	s := &settings{path: path, clock: func() time.Time { return now }}
	judge, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	log := funcr.New(func(_, args string) { said = append(said, args) }, funcr.Options{})
	ctx := logr.NewContext(t.Context(), log)
	if err := s.reloadInto(func(*verdict.Judge) { t.Error("reloaded") }, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	s.tell(log)
	s.reload(ctx)
	if len(said) > 0 || len(judge.Notes()) > 0 {
		t.Errorf("too early: %q", said)
	}
	now = now.Add(time.Second)
	for range 3 {
		s.reload(ctx)
		now = now.Add(24 * time.Hour)
	}
	if len(said) != 1 || !strings.Contains(said[0], "expired on 2027-06-30 and counts no more") {
		t.Errorf("got %q", said)
	}
}
