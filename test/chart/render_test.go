package chart

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory/render"
)

// variants are what people may set, by name: what each changes is in its check,
// and that all objects decode is checked for all of them.
var variants = map[string]struct {
	set   []string
	check func(*testing.T, []object)
}{
	"defaults": {nil, func(t *testing.T, all []object) {
		d := get[*appsv1.Deployment](t, all, "stsguard-webhook")
		if *d.Spec.Replicas != 2 || d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 {
			t.Errorf("got %+v", d.Spec)
		}
		for _, o := range all {
			if strings.HasSuffix(o.kind, "WebhookConfiguration") || o.kind == "Secret" || o.kind == "Lease" || o.kind == "Namespace" {
				t.Errorf("a %s: stsguard makes its own", o.kind)
			}
		}
	}},
	"another name": {[]string{"name=guard"}, func(t *testing.T, all []object) {
		for _, o := range all {
			if strings.Contains(o.text, "stsguard-webhook\n") {
				t.Errorf("%s %s knows another name:\n%s", o.kind, o.name, o.text)
			}
		}
		args(t, all, "guard-webhook", "--register=guard", "--service=guard-webhook", "--cert-secret=guard-webhook-certs")
	}},
	"image": {[]string{"image.repository=registry.example:5000/team/stsguard-webhook", "image.tag=v1", "image.digest=sha256:" + strings.Repeat("0", 64), "image.pullPolicy=Always", "imagePullSecrets[0].name=key"}, func(t *testing.T, all []object) {
		c := container(t, all, "stsguard-webhook")
		if c.Image != "registry.example:5000/team/stsguard-webhook:v1@sha256:"+strings.Repeat("0", 64) || c.ImagePullPolicy != corev1.PullAlways {
			t.Errorf("got %s", c.Image)
		}
	}},
	"cert-manager": {[]string{"certificates.source=cert-manager"}, func(t *testing.T, all []object) {
		if n := count(all, "Certificate"); n != 2 {
			t.Errorf("%d Certificates", n)
		}
		args(t, all, "stsguard-webhook", "--cert-dir=/etc/stsguard-certs")
		mounted(t, all, "/etc/stsguard-certs", "stsguard-webhook-tls")
	}},
	"cert-manager with an issuer": {[]string{"certificates.source=cert-manager", "certificates.issuer.name=company", "certificates.issuer.kind=ClusterIssuer", "certificates.secret=serving"}, func(t *testing.T, all []object) {
		if n, issuers := count(all, "Certificate"), count(all, "Issuer"); n != 1 || issuers != 0 {
			t.Errorf("%d Certificates, %d Issuers", n, issuers)
		}
		mounted(t, all, "/etc/stsguard-certs", "serving")
	}},
	"certificates of a Secret": {[]string{"certificates.source=secret", "certificates.secret=serving"}, func(t *testing.T, all []object) {
		args(t, all, "stsguard-webhook", "--cert-dir=/etc/stsguard-certs")
		mounted(t, all, "/etc/stsguard-certs", "serving")
		for _, a := range container(t, all, "stsguard-webhook").Args {
			if strings.HasPrefix(a, "--cert-secret") {
				t.Errorf("%s with a Secret", a)
			}
		}
	}},
	"own lifetimes": {[]string{"certificates.lifetime=720h", "certificates.secret=own"}, func(t *testing.T, all []object) {
		args(t, all, "stsguard-webhook", "--cert-secret=own", "--cert-lifetime=720h")
	}},
	"client certificates": {[]string{"clientCertificates.configMap=callers", "clientCertificates.names={kube-apiserver,front-proxy}"}, func(t *testing.T, all []object) {
		args(t, all, "stsguard-webhook", "--client-ca=/etc/stsguard-callers/ca.crt", "--client-names=kube-apiserver,front-proxy")
		mounted(t, all, "/etc/stsguard-callers", "callers")
	}},
	"webhook configurations": {[]string{"webhooks.failurePolicy.validate=Ignore", "webhooks.failurePolicy.mutate=Fail", "webhooks.timeoutSeconds=10", `webhooks.annotations.cert-manager\.io/inject-ca-from=a/b`, "certificates.source=cert-manager"}, func(t *testing.T, all []object) {
		args(t, all, "stsguard-webhook", "--failure-policy=validate=Ignore,delete=Ignore,mutate=Fail", "--timeout=10s", "--annotation=cert-manager.io/inject-ca-from=a/b")
	}},
	"no metrics": {[]string{"metrics.enabled=false", "metrics.serviceMonitor.enabled=true"}, func(t *testing.T, all []object) {
		args(t, all, "stsguard-webhook", "--metrics-address=0")
		for _, o := range all {
			if strings.Contains(o.name, "metrics") || o.kind == "ServiceMonitor" {
				t.Errorf("%s %s", o.kind, o.name)
			}
		}
		if n := len(get[*networkingv1.NetworkPolicy](t, all, "stsguard-webhook").Spec.Ingress); n != 1 {
			t.Errorf("%d ingress rules", n)
		}
	}},
	"monitoring": {[]string{"metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prometheus", "metrics.dashboard.enabled=true", "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring"}, func(t *testing.T, all []object) {
		if count(all, "ServiceMonitor") != 1 {
			t.Error("no ServiceMonitor")
		}
		if m := get[*corev1.ConfigMap](t, all, "stsguard-dashboard"); m.Labels["grafana_dashboard"] != "1" || m.Data["stsguard.json"] == "" {
			t.Errorf("got %v", m)
		}
		if from := get[*networkingv1.NetworkPolicy](t, all, "stsguard-webhook").Spec.Ingress[1].From; len(from) != 1 || from[0].NamespaceSelector.MatchLabels["team"] != "monitoring" {
			t.Errorf("got %v", from)
		}
	}},
	"monitoring in a mesh": {[]string{"metrics.serviceMonitor.enabled=true", "metrics.plainHTTP=true"}, func(t *testing.T, all []object) {
		for _, o := range all {
			if o.kind == "ServiceMonitor" && strings.Contains(o.text, "https") {
				t.Errorf("encrypted:\n%s", o.text)
			}
		}
		args(t, all, "stsguard-webhook", "--metrics-plain-http")
	}},
	"node's network": {[]string{"hostNetwork=true", "ports.webhook=10260", "ports.health=10261", "ports.metrics=10262", "createNamespace=true"}, func(t *testing.T, all []object) {
		d := get[*appsv1.Deployment](t, all, "stsguard-webhook")
		if !d.Spec.Template.Spec.HostNetwork || d.Spec.Strategy.RollingUpdate.MaxSurge.IntValue() != 0 || d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 1 {
			t.Errorf("got %+v", d.Spec)
		}
		args(t, all, "stsguard-webhook", "--port=10260", "--health-address=:10261", "--metrics-address=:10262")
		if ns := get[*corev1.Namespace](t, all, namespace); ns.Labels["pod-security.kubernetes.io/enforce"] != "privileged" {
			t.Errorf("got %v", ns.Labels)
		}
		if count(all, "NetworkPolicy") != 0 {
			t.Error("a NetworkPolicy that counts for nothing")
		}
	}},
	"placement": {[]string{"replicas=3", "spreadOverNodes=ScheduleAnyway", "nodeSelector.pool=system", "tolerations[0].key=dedicated", "tolerations[0].operator=Exists", "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1", "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key=ssd", "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].operator=Exists", "podLabels.team=platform", "podAnnotations.note=x", "priorityClassName=important", "shutdownDelaySeconds=20"}, func(t *testing.T, all []object) {
		d := get[*appsv1.Deployment](t, all, "stsguard-webhook").Spec.Template
		if d.Labels["team"] != "platform" || d.Annotations["note"] != "x" || d.Spec.PriorityClassName != "important" || *d.Spec.TerminationGracePeriodSeconds != 55 {
			t.Errorf("got %+v", d)
		}
		if count(all, "ResourceQuota") != 0 {
			t.Error("a ResourceQuota for a class that needs none")
		}
	}},
	"bare": {[]string{"resources=null", "priorityClassName=", "networkPolicy.enabled=false", "config.rules=null"}, func(t *testing.T, all []object) {
		for _, e := range container(t, all, "stsguard-webhook").Env {
			if e.Name == "GOMEMLIMIT" {
				t.Error("GOMEMLIMIT without a limit would be the node's memory")
			}
		}
	}},
	"begin by warning": {[]string{"config.defaults.enforce=none", "config.rules.service-in-use.mode=warn"}, func(t *testing.T, all []object) {
		c, _, err := config.Parse("stsguard.yaml", []byte(get[*corev1.ConfigMap](t, all, "stsguard").Data["stsguard.yaml"]))
		if err != nil {
			t.Fatal(err)
		}
		if c.Defaults.Enforce != config.None || c.Rules["service-in-use"].Mode != config.Warn {
			t.Errorf("got %+v", c)
		}
	}},
}

func count(all []object, kind string) (n int) {
	for _, o := range all {
		if o.kind == kind {
			n++
		}
	}
	return n
}

func container(t *testing.T, all []object, deployment string) corev1.Container {
	t.Helper()
	return get[*appsv1.Deployment](t, all, deployment).Spec.Template.Spec.Containers[0]
}

// args checks that the webhook gets these.
func args(t *testing.T, all []object, deployment string, want ...string) {
	t.Helper()
	got := container(t, all, deployment).Args
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("no %s in %v", w, got)
		}
	}
}

// mounted checks that a Secret or ConfigMap is mounted there.
func mounted(t *testing.T, all []object, at, source string) {
	t.Helper()
	spec := get[*appsv1.Deployment](t, all, "stsguard-webhook").Spec.Template.Spec
	for _, m := range spec.Containers[0].VolumeMounts {
		for _, v := range spec.Volumes {
			if m.MountPath == at && m.Name == v.Name && (v.Secret != nil && v.Secret.SecretName == source || v.ConfigMap != nil && v.ConfigMap.Name == source) {
				return
			}
		}
	}
	t.Errorf("%s is not mounted at %s", source, at)
}

func TestVariants(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			all := objects(t, values(t, v.set...))
			v.check(t, all)
			for _, o := range all {
				if m, ok := o.typed.(*corev1.ConfigMap); ok && m.Data[config.FileName] != "" {
					if _, _, err := config.Parse(config.FileName, []byte(m.Data[config.FileName])); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// kube-system has no ResourceQuota that might hold up others.
func TestNoQuotaInKubeSystem(t *testing.T) {
	if all := objectsIn(t, "kube-system", nil); count(all, "ResourceQuota") != 0 {
		t.Error("a ResourceQuota in kube-system")
	}
}

// The chart's defaults are stsguard's own, and the ConfigMap is where the CLI
// looks for it.
func TestDefaultConfiguration(t *testing.T) {
	m := get[*corev1.ConfigMap](t, objects(t, nil), "stsguard")
	c, _, err := config.Parse("stsguard.yaml", []byte(m.Data[config.FileName]))
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	want, err := yaml.Marshal(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	// A list with nothing in it is as good as none.
	tidy := strings.NewReplacer("null", "-", "[]", "-", "{}", "-")
	if tidy.Replace(string(got)) != tidy.Replace(string(want)) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if m.Namespace+"/"+m.Name != "stsguard-system/stsguard" {
		t.Errorf("the ConfigMap is %s/%s", m.Namespace, m.Name)
	}
}

// A day in a file of values, which YAML has a type for, comes out as a day.
func TestException(t *testing.T) {
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(`config:
  exceptions:
  - {rule: service-not-found, namespace: argocd, name: argocd-application-controller, reason: "needs no peer DNS: #1", expires: 2027-06-30}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	v, err := render.Values([]string{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Parse(config.FileName, []byte(get[*corev1.ConfigMap](t, objects(t, v), "stsguard").Data[config.FileName]))
	if err != nil {
		t.Fatal(err)
	}
	if e := c.Exceptions; len(e) != 1 || e[0].Reason != "needs no peer DNS: #1" || e[0].Expires.Format("2006-01-02") != "2027-06-30" {
		t.Errorf("got %+v", e)
	}
}

// Rules of one's own come to where the configuration looks for them.
func TestOwnRules(t *testing.T) {
	rego, err := os.ReadFile(path("policies", "rules", "port-unnamed", "rule.rego"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(rego), `rules["port-unnamed"]`, `rules["our-ports"]`)
	all := objects(t, map[string]any{
		"rules":  map[string]any{"our-ports": text},
		"config": map[string]any{"rules": map[string]any{"our-ports": map[string]any{"mode": "warn"}}},
	})
	data := get[*corev1.ConfigMap](t, all, "stsguard").Data
	dir := t.TempDir()
	for _, v := range get[*appsv1.Deployment](t, all, "stsguard-webhook").Spec.Template.Spec.Volumes {
		for _, item := range v.ConfigMap.Items {
			file := filepath.Join(dir, item.Path)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(data[item.Key]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, rules, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if rules.Catalog.Rule("our-ports") == nil {
		t.Error("the rule is not there")
	}
}

// A mistake is refused before anything is installed.
func TestMistakes(t *testing.T) {
	for set, want := range map[string]string{
		"replica=3":         "replica",
		"replicas=0":        "minimum",
		"replicas=two":      "integer",
		"image.repository=": "repository",
		"image.repository=registry.example/image:v1":               "pattern",
		"image.digest=sha256:12":                                   "digest",
		"config.defaults.enforce=off":                              "enforce",
		"config.default.enforce=none":                              "default",
		"config.rules.service-not-fond.mode=none":                  "service-not-fond",
		"config.rules.service-in-use.mode=deny":                    "mode",
		"config.policies={rules}":                                  "policies",
		"config.exceptions[0].rule=service-not-found":              "name",
		"certificates.source=letsencrypt":                          "source",
		"certificates.lifetime=90d":                                "lifetime",
		"webhooks.failurePolicy.validate=fail":                     "validate",
		"clientCertificates.names={apiserver}":                     "clientCertificates.configMap",
		"webhooks.timeoutSeconds=31":                               "maximum",
		"webhooks.annotations.a=1":                                 "string",
		`webhooks.annotations.cert-manager\.io/inject-ca-from=a/b`: "certificates.source=cert-manager or secret",
		"ports.webhook=443":                                        "minimum",
		"rules.Own=package x":                                      "Own",
		"networkPolicy.apiServerPorts={https}":                     "integer",
		"resources.limit.memory=1Gi":                               "limit",
		"metrics.serviceMonitor.enable=true":                       "enable",
		"spreadOverNodes=maybe":                                    "spreadOverNodes",
		"name=Guard":                                               "name",
	} {
		t.Run(set, func(t *testing.T) {
			_, err := template(t, namespace, values(t, set))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
	// --set has no way to say it.
	none := map[string]any{"networkPolicy": map[string]any{"apiServerPorts": []any{}}}
	if _, err := template(t, namespace, none); err == nil || !strings.Contains(err.Error(), "minItems") {
		t.Errorf("no port of the API server: %v", err)
	}
	if _, err := template(t, namespace, values(t, "global.registry=x")); err != nil {
		t.Errorf("as a part of another chart: %v", err)
	}
}

func TestNotes(t *testing.T) {
	for _, c := range []struct {
		set            []string
		shown, unshown string
	}{
		{nil, "--set config.defaults.enforce=none --set webhooks.failurePolicy.validate=Ignore", "It denies nothing"},
		{nil, "is in no registry", ""},
		{nil, "stsguard audit --all-namespaces --config-from-cluster=stsguard-system/stsguard", ""},
		{[]string{"config.defaults.enforce=none"}, "--set config.defaults.enforce=baseline --set webhooks.failurePolicy.validate=Fail", "It denies StatefulSets"},
		{[]string{"image.repository=registry.example/stsguard-webhook"}, "rollout status deployment/stsguard-webhook", "is in no registry"},
	} {
		got := notes(t, c.set...)
		if !strings.Contains(got, c.shown) || c.unshown != "" && strings.Contains(got, c.unshown) || strings.Contains(got, "<no value>") {
			t.Errorf("%v:\n%s", c.set, got)
		}
	}
}

var metric = regexp.MustCompile(`\bstsguard_[a-z_]+`)

// The dashboard shows every metric that the webhook has, and no other.
func TestDashboard(t *testing.T) {
	have := map[string]bool{}
	registered := regexp.MustCompile(`Name:\s+"(stsguard_[a-z_]+)"`)
	for _, dir := range []string{path("webhook"), path("cmd", "stsguard-webhook")} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range registered.FindAllStringSubmatch(string(text), -1) {
				have[m[1]] = true
			}
		}
	}
	text := get[*corev1.ConfigMap](t, objects(t, values(t, "metrics.dashboard.enabled=true")), "stsguard-dashboard").Data["stsguard.json"]
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(text), &dashboard); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, name := range metric.FindAllString(target.Expr, -1) {
				name = strings.TrimSuffix(name, "_bucket")
				shown[name] = true
				if !have[name] {
					t.Errorf("panel %q shows %s, which the webhook doesn't have", p.Title, name)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// stsguard has nothing to say about its own chart.
func TestLint(t *testing.T) {
	stsguard := filepath.Join(t.TempDir(), "stsguard")
	if out, err := exec.Command("go", "build", "-o", stsguard, "github.com/stsguard/stsguard/cmd/stsguard").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, what := range []string{"chart", "install.yaml"} {
		out, err := exec.Command(stsguard, "lint", "--level=advice", "--fail-on=strict", path("deploy", what)).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "no findings") {
			t.Errorf("lint %s: %v\n%s", what, err, out)
		}
	}
}
