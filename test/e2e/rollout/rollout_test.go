package rollout

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/test/docs"
)

// never are the rules that nothing in a cluster can break, or that are about a
// change.
var never = map[string]string{
	"immutable-change":  "about a change",
	"service-in-use":    "about a change",
	"service-invalid":   "the API server refuses it",
	"service-ambiguous": "a name is there once in a cluster",
}

// TestRollout runs the commands of docs/rollout.md in their order. After those
// named here it looks at what has become of the cluster.
func TestRollout(t *testing.T) {
	o := newOperator(t)
	// What is in use: shop and legacy are the page's, stock is any other one. Each
	// has a double without replicas whose objects are created again and again,
	// while its own are there all the time.
	for _, ns := range []string{"shop", "legacy", "stock"} {
		o.populate(t, ns, true)
		o.populate(t, ns+"-again", false)
	}
	for _, ns := range []string{"leaves-warning", "leaves-enforcing"} {
		o.populate(t, ns, true)
	}
	o.kubectl(t, "", "create", "namespace", "argocd")
	for _, ns := range []string{"argocd", "kube-system"} {
		if _, err := o.client.AppsV1().StatefulSets(ns).Create(t.Context(), probe(), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	o.settled(t, "shop", 2)
	first, told := o.predicted(t, "shop-again")
	o.everyRule(t)

	after := map[string]func(*testing.T){
		"stsguard audit --all-namespaces --write-exceptions": func(t *testing.T) { o.giveReasons(t) },
		"helm install": func(t *testing.T) {
			o.deploy(t)
			o.policy(t, "Ignore")
			for _, ns := range []string{"shop", "legacy"} {
				o.works(t, ns, told)
			}
			o.allows(t, "shop-again", told)
			o.right(t, "shop", false)
			o.leaves(t, "leaves-warning")
			if got := o.metric(t, `stsguard_findings_total{mode="warn",rule="service-not-found"} `); got == "0" {
				t.Error("no warning was counted")
			}
		},
		"kubectl label namespace shop stsguard.dev/enforce=baseline": func(t *testing.T) {
			o.kubectl(t, "", "label", "namespace", "shop-again", "stsguard.dev/enforce=baseline")
			o.works(t, "shop", told)
			o.denies(t, "shop-again", first, told, rules{})
			o.right(t, "shop", true)
			o.allows(t, "stock-again", told)
		},
		"kubectl label namespace shop stsguard.dev/enforce-": func(t *testing.T) {
			o.kubectl(t, "", "label", "namespace", "shop-again", "stsguard.dev/enforce-")
			o.right(t, "shop", false)
		},
		"kubectl label namespace shop stsguard.dev/enforce=strict": func(t *testing.T) {
			o.kubectl(t, "", "label", "namespace", "shop-again", "stsguard.dev/enforce=strict")
			strict, told := o.predicted(t, "shop-again", "--config-from-cluster", "--fail-on", "strict")
			if len(strict) <= len(first) {
				t.Errorf("strict would deny %v, baseline %v", strict, first)
			}
			o.works(t, "shop", told)
			inUse := rules{}
			for _, s := range o.sets(t, "shop-again") {
				if _, err := o.client.CoreV1().Services("shop-again").Get(t.Context(), s.Spec.ServiceName, metav1.GetOptions{}); err == nil {
					inUse.add("service/"+s.Spec.ServiceName, "service-in-use")
				}
			}
			o.denies(t, "shop-again", strict, told, inUse)
		},
		"helm upgrade stsguard deploy/chart --namespace stsguard-system --reset-then-reuse-values --set config.rules.service-in-use.mode=warn": func(t *testing.T) {
			o.deploy(t)
			o.kubectl(t, "", "delete", "-n", "shop-again", "service", "web", "third")
		},
		"helm upgrade stsguard deploy/chart --namespace stsguard-system --reset-then-reuse-values --set config.defaults.enforce=baseline": func(t *testing.T) {
			o.deploy(t)
			o.policy(t, "Fail")
			o.kubectl(t, "", "label", "namespace", "legacy-again", "stsguard.dev/enforce=none")
			for _, ns := range []string{"stock", "legacy"} {
				o.works(t, ns, told)
			}
			o.denies(t, "stock-again", first, told, rules{})
			o.right(t, "stock", true)
			o.repair(t, "stock-again")
			o.allows(t, "legacy-again", told)
			for _, ns := range []string{"argocd", "kube-system"} {
				if got := o.again(t, ns); len(got.warned) > 0 {
					t.Errorf("in %s: %v", ns, got)
				}
			}
			o.leaves(t, "leaves-enforcing")
		},
		"helm upgrade stsguard deploy/chart --namespace stsguard-system --reset-then-reuse-values --set config.defaults.enforce=none": func(t *testing.T) {
			o.deploy(t)
			o.policy(t, "Ignore")
			o.allows(t, "legacy-again", told)
			o.right(t, "stock", false)
		},
	}
	printed := ""
	for _, b := range docs.Blocks(t, "docs/rollout.md", "") {
		switch b.Language {
		case "console":
			printed = ""
			for _, c := range b.Commands() {
				printed += b.RunCommand(t, c, o.dir, o.env)
				line := strings.Join(strings.Fields(c.Line), " ")
				for begin, look := range after {
					if strings.HasPrefix(line, begin) {
						delete(after, begin)
						if !t.Run(strings.ReplaceAll(begin, "/", "_"), look) {
							t.FailNow()
						}
					}
				}
			}
		case "text":
			shown(t, b, printed)
		case "promql":
			o.exposes(t, b)
		default:
			t.Errorf("%s: nobody runs %s", b, b.Language)
		}
	}
	for begin := range after {
		t.Errorf("the page has no command %s", begin)
	}
	t.Run("uninstall", o.uninstall)
}

// uninstall takes stsguard away as docs/uninstall.md has it.
func (o *operator) uninstall(t *testing.T) {
	configurations := o.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	for _, b := range docs.Blocks(t, "docs/uninstall.md", "kubectl delete validatingwebhookconfiguration") {
		b.Run(t, o.dir, o.env)
		eventually(t, "it is made anew", func() error {
			_, err := configurations.Get(t.Context(), name, metav1.GetOptions{})
			return err
		})
	}
	for _, b := range docs.Blocks(t, "docs/uninstall.md", "kubectl delete clusterrole") {
		b.Run(t, o.dir, o.env)
	}
	for _, b := range docs.Blocks(t, "docs/uninstall.md", "kubectl label namespaces") {
		b.Run(t, o.dir, o.env)
	}
	if _, err := configurations.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("it is still asked: %v", err)
	}
	if left := o.kubectl(t, "", "get", "namespaces", "-l", "stsguard.dev/enforce", "-o", "name"); left != "" {
		t.Errorf("labels are left: %s", left)
	}
	if left := o.kubectl(t, "", "get", "clusterroles,clusterrolebindings,namespaces", "-o", "name"); strings.Contains(left, "stsguard") {
		t.Errorf("something is left: %s", left)
	}
}

// everyRule checks that the cluster breaks each rule that a cluster can break.
func (o *operator) everyRule(t *testing.T) {
	t.Helper()
	builtin, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	text := o.audit(t, "-n", "shop", "--level", "advice", "-o", "json")
	for _, id := range builtin.Catalog.IDs() {
		broken, why := strings.Contains(text, `"rule": "`+id+`"`), never[id]
		switch {
		case broken && why != "":
			t.Errorf("%s is broken: %s", id, why)
		case !broken && why == "":
			t.Errorf("nothing in the cluster breaks %s", id)
		}
	}
}

// giveReasons is what the page leaves to people: of what is there on purpose, why;
// all else is not to be excepted.
func (o *operator) giveReasons(t *testing.T) {
	file := filepath.Join(o.dir, "exceptions.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var written struct {
		Exceptions []map[string]string `json:"exceptions"`
	}
	if err := yaml.UnmarshalStrict(text, &written); err != nil {
		t.Fatal(err)
	}
	kept := slices.DeleteFunc(written.Exceptions, func(e map[string]string) bool { return e["namespace"] != "argocd" })
	if len(kept) != 1 || len(kept) == len(written.Exceptions) {
		t.Fatalf("got\n%s", text)
	}
	kept[0]["reason"] = "needs no peer DNS"
	written.Exceptions = kept
	if text, err = yaml.Marshal(written); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// allows creates everything in a namespace again: nothing is denied, and what is
// wrong is warned of.
func (o *operator) allows(t *testing.T, ns string, told rules) {
	t.Helper()
	got := o.again(t, ns)
	got.deletion.check(t, "denied deletions in "+ns, rules{})
	got.denied.check(t, "denials in "+ns, rules{})
	got.warned.sets().check(t, "warnings in "+ns, told.sets())
}

// denies does the same where stsguard enforces: it denies what audit says now and
// said before the installation, for the same reasons, and nothing else.
// inUse are the deletions that are denied, which audit doesn't know.
func (o *operator) denies(t *testing.T, ns string, want, told, inUse rules) {
	t.Helper()
	now, _ := o.predicted(t, ns, "--config-from-cluster")
	now.check(t, "what audit says now in "+ns+", that", want)
	got := o.again(t, ns)
	got.denied.check(t, "denials in "+ns, want)
	got.warned.sets().check(t, "warnings and denials in "+ns, told.sets())
	got.deletion.check(t, "denied deletions in "+ns, inUse)
}

// right makes what is right wrong, and right again.
func (o *operator) right(t *testing.T, ns string, enforced bool) {
	t.Helper()
	selects := func(app string) error {
		_, err := o.client.CoreV1().Services(ns).Patch(t.Context(), "web", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"selector":{"app":%q}}}`, app), metav1.PatchOptions{})
		return err
	}
	o.warnings.Take()
	err := selects("other")
	warned := o.warnings.Take()
	switch {
	case enforced && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "[selector-mismatch]")):
		t.Errorf("what was right may become wrong: %v", err)
	case !enforced && (err != nil || !strings.Contains(warned, "[selector-mismatch]")):
		t.Errorf("what was right becomes wrong: %v, warned %s", err, warned)
	}
	if err := selects("web"); err != nil {
		t.Errorf("make it right again: %v", err)
	}
}

// repair makes right what is wrong, as stsguard says.
func (o *operator) repair(t *testing.T, ns string) {
	t.Helper()
	for _, args := range [][]string{
		{"patch", "service", "search", "-p", `{"spec":{"selector":{"app":"search"}}}`},
		{"delete", "service", "queue", "queue-clients"},
		{"create", "service", "clusterip", "queue", "--clusterip=None", "--tcp=80"},
		// By way of another name, which is no better.
		{"patch", "service", "mail", "-p", `{"spec":{"externalName":"other.example.com"}}`},
		{"patch", "service", "mail", "-p", `{"spec":{"type":"ClusterIP","externalName":null,"clusterIP":"None","selector":{"app":"mail"},"ports":[{"name":"main","port":80}]}}`},
	} {
		o.kubectl(t, "", append([]string{"-n", ns}, args...)...)
	}
	o.kubectl(t, "apiVersion: v1\nkind: Service\nmetadata: {name: cart-headles}\nspec: {clusterIP: None, selector: {app: cart}}\n", "-n", ns, "create", "-f", "-")
	denied, _ := o.predicted(t, ns, "--config-from-cluster")
	if left := slices.Sorted(maps.Keys(denied.sets())); !slices.Equal(left, []string{"statefulset/" + tooLong, "statefulset/alone"}) {
		t.Errorf("still wrong: %v", left)
	}
}

// shown checks that a command has printed these lines, in this order, whatever the
// widths of their columns; dots stand for the rest of one.
func shown(t *testing.T, b docs.Block, printed string) {
	t.Helper()
	lines := strings.Split(printed, "\n")
	for want := range strings.Lines(b.Text) {
		i := slices.IndexFunc(lines, func(line string) bool {
			got := strings.Join(strings.Fields(line), " ")
			start, open := strings.CutSuffix(strings.Join(strings.Fields(want), " "), "...")
			return got == start || open && strings.HasPrefix(got, start)
		})
		if i < 0 {
			t.Fatalf("%s: %s\nis not in\n%s", b, want, printed)
		}
		lines = lines[i+1:]
	}
}

var selector = regexp.MustCompile(`(stsguard_[a-z_]+)(\{[^}]*)\}`)

// exposes checks that there is what an expression asks Prometheus for.
func (o *operator) exposes(t *testing.T, b docs.Block) {
	t.Helper()
	text, err := o.server.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := selector.FindStringSubmatch(b.Text)
	if m == nil || !strings.Contains(text, "\n"+m[1]+m[2]+`,rule="`) {
		t.Errorf("%s: not exposed: %s", b, b.Text)
	}
}
