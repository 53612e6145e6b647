//go:build linux

package installed

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/stsguard/stsguard/test/controlplane"
)

// right is a verb and a resource of one of the chart's roles.
type right struct{ verb, resource string }

func (r right) String() string { return r.verb + " " + r.resource }

// need is what doesn't work without a right.
type need struct {
	work func(*replica) error
	// starting says that only a replica that starts makes use of it. Such rights
	// are taken away together, all of one verb.
	starting bool
	// says is what the log says of it, unless that is what it usually does.
	says string
}

// needs are those of all rights that the chart gives.
var needs = map[right]need{
	{"list", "services"}:                          {work: (*replica).denies},
	{"list", "statefulsets"}:                      {work: (*replica).denies},
	{"get", "namespaces"}:                         {work: (*replica).denies},
	{"list", "pods"}:                              {work: (*replica).denies},
	{"create", "validatingwebhookconfigurations"}: {work: (*replica).makesValidating},
	{"create", "mutatingwebhookconfigurations"}:   {work: (*replica).makesMutating},
	{"list", "endpointslices"}:                    {work: (*replica).makesValidating},
	{"get", "validatingwebhookconfigurations"}:    {work: (*replica).mendsValidating},
	{"get", "mutatingwebhookconfigurations"}:      {work: (*replica).mendsMutating},
	{"update", "validatingwebhookconfigurations"}: {work: (*replica).mendsValidating},
	{"update", "mutatingwebhookconfigurations"}:   {work: (*replica).mendsMutating},
	{"get", "clusterroles"}:                       {work: (*replica).mendsValidating},
	{"update", "clusterroles/finalizers"}:         {work: (*replica).makesValidating, says: "cannot set blockOwnerDeletion"},
	{"create", "secrets"}:                         {work: (*replica).makesSecret},
	{"get", "secrets"}:                            {work: (*replica).mendsSecret},
	{"update", "secrets"}:                         {work: (*replica).mendsSecret},
	{"create", "leases"}:                          {work: (*replica).leadsAnew},
	{"get", "leases"}:                             {work: (*replica).leadsAnew},
	{"update", "leases"}:                          {work: (*replica).leads},
	{"create", "tokenreviews"}:                    {work: (*replica).measures},
	{"create", "subjectaccessreviews"}:            {work: (*replica).measures},

	{"list", "namespaces"}:                      {work: (*replica).ready, starting: true},
	{"list", "validatingwebhookconfigurations"}: {work: (*replica).mendsValidating, starting: true},
	{"list", "mutatingwebhookconfigurations"}:   {work: (*replica).mendsMutating, starting: true},
	{"list", "secrets"}:                         {work: (*replica).makesSecret, starting: true},

	{"watch", "services"}:                        {work: (*replica).knowsServices, starting: true},
	{"watch", "statefulsets"}:                    {work: (*replica).knowsStatefulSets, starting: true},
	{"watch", "namespaces"}:                      {work: (*replica).knowsNamespaces, starting: true},
	{"watch", "validatingwebhookconfigurations"}: {work: (*replica).mendsValidating, starting: true},
	{"watch", "mutatingwebhookconfigurations"}:   {work: (*replica).mendsMutating, starting: true},
	{"watch", "secrets"}:                         {work: (*replica).makesSecret, starting: true},
}

// patience is how long something may take that takes milliseconds.
const patience = 2 * time.Second

// replica is the only one of an installation, which has to do everything.
type replica struct {
	*cluster
	clusterRoles []*rbacv1.ClusterRole
	role         *rbacv1.Role
	token        string // of who may read metrics
}

// Without any one of its rights something doesn't work that works with it, and the
// log says which right is missing.
func TestRights(t *testing.T) {
	t.Parallel()
	// The API server makes use of its rights to the full: it can't send a list as
	// a watch, like old ones, and looks who makes an object belong to another, like
	// OpenShift's.
	r := &replica{cluster: startWith(t, controlplane.Options{APIServerArgs: []string{
		"--feature-gates=WatchList=false", "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
	}})}
	r.helmInstall("--set replicas=1 --set shutdownDelaySeconds=0")
	r.guarded()
	r.run("kubectl create clusterrole stsguard-metrics-reader --verb=get --non-resource-url=/metrics")
	r.run("kubectl create clusterrolebinding prometheus --clusterrole=stsguard-metrics-reader --serviceaccount=default:default")
	r.token = strings.TrimSpace(r.run("kubectl create token default"))
	var given []right
	for _, role := range []string{name, webhook} {
		found, err := r.client.RbacV1().ClusterRoles().Get(t.Context(), role, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r.clusterRoles = append(r.clusterRoles, found)
		given = append(given, rightsOf(found.Rules)...)
	}
	var err error
	if r.role, err = r.client.RbacV1().Roles(namespace).Get(t.Context(), webhook, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}

	given = append(given, rightsOf(r.role.Rules)...)
	later := map[string][]right{}
	for _, missing := range given {
		switch n, known := needs[missing]; {
		case !known:
			t.Errorf("nobody knows what the right to %s is for", missing)
		case n.starting:
			later[missing.verb] = append(later[missing.verb], missing)
		default:
			t.Run(missing.String(), func(t *testing.T) { r.with(t).without(missing) })
		}
	}
	for _, verb := range slices.Sorted(maps.Keys(later)) {
		t.Run(verb+" at the start", func(t *testing.T) { r.with(t).without(later[verb]...) })
	}
	for n := range needs {
		if !slices.Contains(given, n) {
			t.Errorf("the chart doesn't give the right to %s", n)
		}
	}
}

func (r *replica) with(t *testing.T) *replica {
	inner, c := *r, *r.cluster
	c.T = t
	inner.cluster = &c
	return &inner
}

// rightsOf are what these rules give.
func rightsOf(rules []rbacv1.PolicyRule) []right {
	var out []right
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				out = append(out, right{verb, resource})
			}
		}
	}
	return out
}

// rulesWithout are these rules but for the rights.
func rulesWithout(rules []rbacv1.PolicyRule, missing []right) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				if !slices.Contains(missing, right{verb, resource}) {
					one := rule.DeepCopy()
					one.Resources, one.Verbs = []string{resource}, []string{verb}
					out = append(out, *one)
				}
			}
		}
	}
	return out
}

// give leaves the replica all rights but these.
func (r *replica) give(missing ...right) {
	r.Helper()
	for _, given := range r.clusterRoles {
		clusterRole := given.DeepCopy()
		clusterRole.Rules, clusterRole.ResourceVersion = rulesWithout(given.Rules, missing), ""
		if _, err := r.client.RbacV1().ClusterRoles().Update(r.Context(), clusterRole, metav1.UpdateOptions{}); err != nil {
			r.Fatal(err)
		}
	}
	role := r.role.DeepCopy()
	role.Rules, role.ResourceVersion = rulesWithout(r.role.Rules, missing), ""
	if _, err := r.client.RbacV1().Roles(namespace).Update(r.Context(), role, metav1.UpdateOptions{}); err != nil {
		r.Fatal(err)
	}
}

// without takes rights away, sees what comes of it, and gives them back.
func (r *replica) without(missing ...right) {
	before := map[right]int{}
	for _, m := range missing {
		before[m] = r.complaints(m)
	}
	works := func(m right) error { return needs[m].work(r) }
	fails := func(m right) error {
		err := works(m)
		if err == nil {
			return errors.New("all works")
		}
		if r.complaints(m) == before[m] {
			return fmt.Errorf("the log says nothing of it: %w", err)
		}
		r.Logf("without the right to %s: %v", m, err)
		return nil
	}

	r.each("with the right", missing, works)
	r.give(missing...)
	if needs[missing[0]].starting {
		r.run("kubectl -n stsguard-system delete pod -l app.kubernetes.io/name=stsguard")
		// What it can do it does by then.
		_ = r.ready()
		r.eventually("it leads", r.leads)
	}
	r.each("without the right", missing, fails)
	r.give()
	r.each("with the right again", missing, works)
}

// each waits for what concerns these rights.
func (r *replica) each(what string, rights []right, check func(right) error) {
	r.Helper()
	var waiting sync.WaitGroup
	for _, one := range rights {
		waiting.Go(func() {
			if err := within(time.Minute, func() error { return check(one) }); err != nil {
				r.Errorf("%s to %s: %v", what, one, err)
			}
		})
	}
	waiting.Wait()
}

// complaints counts what replicas have logged of a right that they haven't.
func (r *replica) complaints(missing right) int {
	r.Helper()
	paths, err := filepath.Glob(filepath.Join(r.Dir, "node-*", namespace+"_*.log"))
	if err != nil {
		r.Error(err)
	}
	says := cmp.Or(needs[missing].says, fmt.Sprintf(`cannot %s resource \"%s\"`, missing.verb, missing.resource))
	count := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			r.Error(err)
		}
		count += strings.Count(string(text), says)
	}
	return count
}

// within tries again until something works, and says why if it never does.
func within(d time.Duration, check func() error) error {
	for deadline := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		if err := check(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (r *replica) denies() error { return r.denied() }

// pod is the replica's.
func (r *replica) pod() (*corev1.Pod, error) {
	pods, err := r.client.CoreV1().Pods(namespace).List(r.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=stsguard"})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.DeletionTimestamp == nil {
			return p, nil
		}
	}
	return nil, errors.New("there is no pod")
}

// ready is that pod's, for which it has more than one probe.
func (r *replica) ready() error {
	return within(3*patience, func() error {
		p, err := r.pod()
		if err != nil {
			return err
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("pod %s doesn't get ready", p.Name)
	})
}

// leads: the Lease is renewed.
func (r *replica) leads() error {
	leases := r.client.CoordinationV1().Leases(namespace)
	began := time.Now()
	return within(2*patience, func() error {
		l, err := leases.Get(r.Context(), name, metav1.GetOptions{})
		if err == nil && !l.Spec.RenewTime.After(began) {
			err = fmt.Errorf("nobody has renewed the Lease since %s", l.Spec.RenewTime)
		}
		return err
	})
}

// leadsAnew does so after somebody has deleted it.
func (r *replica) leadsAnew() error {
	if err := gone(r.client.CoordinationV1().Leases(namespace).Delete(r.Context(), name, metav1.DeleteOptions{})); err != nil {
		return err
	}
	return r.leads()
}

// madeAnew is what somebody deletes.
func madeAnew(remove, look func() error) error {
	if err := gone(remove()); err != nil {
		return err
	}
	return within(patience, look)
}

func (r *replica) makesValidating() error {
	api := r.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	return madeAnew(
		func() error { return api.Delete(r.Context(), name, metav1.DeleteOptions{}) },
		func() error { _, err := api.Get(r.Context(), name, metav1.GetOptions{}); return err },
	)
}

func (r *replica) makesMutating() error {
	api := r.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	return madeAnew(
		func() error { return api.Delete(r.Context(), name, metav1.DeleteOptions{}) },
		func() error { _, err := api.Get(r.Context(), name, metav1.GetOptions{}); return err },
	)
}

func (r *replica) makesSecret() error {
	api := r.client.CoreV1().Secrets(namespace)
	return madeAnew(
		func() error { return api.Delete(r.Context(), secret, metav1.DeleteOptions{}) },
		func() error { _, err := api.Get(r.Context(), secret, metav1.GetOptions{}); return err },
	)
}

// spoilt is what somebody writes into both kinds of configurations.
var spoilt = []byte(`[{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":1}]`)

func (r *replica) mendsValidating() error {
	api := r.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := api.Patch(r.Context(), name, types.JSONPatchType, spoilt, metav1.PatchOptions{}); err != nil {
		return err
	}
	return within(patience, func() error {
		c, err := api.Get(r.Context(), name, metav1.GetOptions{})
		if err == nil && *c.Webhooks[0].TimeoutSeconds == 1 {
			err = errors.New("the ValidatingWebhookConfiguration isn't put right")
		}
		return err
	})
}

func (r *replica) mendsMutating() error {
	api := r.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := api.Patch(r.Context(), name, types.JSONPatchType, spoilt, metav1.PatchOptions{}); err != nil {
		return err
	}
	return within(patience, func() error {
		c, err := api.Get(r.Context(), name, metav1.GetOptions{})
		if err == nil && *c.Webhooks[0].TimeoutSeconds == 1 {
			err = errors.New("the MutatingWebhookConfiguration isn't put right")
		}
		return err
	})
}

func (r *replica) mendsSecret() error {
	api := r.client.CoreV1().Secrets(namespace)
	if _, err := api.Patch(r.Context(), secret, types.MergePatchType, []byte(`{"data":{"tls.crt":"AAAA"}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	return within(patience, func() error {
		s, err := api.Get(r.Context(), secret, metav1.GetOptions{})
		if err == nil && len(s.Data["tls.crt"]) == 3 {
			err = errors.New("the Secret isn't put right")
		}
		return err
	})
}

// measures says who may read its metrics.
func (r *replica) measures() error {
	_, err := r.scrape()
	return err
}

func (r *replica) scrape() (string, error) {
	p, err := r.pod()
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "https://"+p.Status.PodIP+":8080/metrics", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("metrics: %s: %s", response.Status, body)
	}
	return string(body), err
}

// knows: what is new is soon in the cache.
func (r *replica) knows(kind string, create func() error, count func() (int, error)) error {
	if err := create(); err != nil {
		return err
	}
	return within(patience, func() error {
		there, err := count()
		if err != nil {
			return err
		}
		metrics, err := r.scrape()
		if want := fmt.Sprintf("stsguard_cached_objects{kind=%q} %d\n", kind, there); err == nil && !strings.Contains(metrics, want) {
			err = fmt.Errorf("the metrics have no %s", want)
		}
		return err
	})
}

func (r *replica) knowsServices() error {
	s := headless("", "known")
	s.GenerateName = "known-"
	return r.knows("Service", func() error {
		_, err := r.client.CoreV1().Services(metav1.NamespaceDefault).Create(r.Context(), s, metav1.CreateOptions{})
		return err
	}, func() (int, error) {
		list, err := r.client.CoreV1().Services(metav1.NamespaceAll).List(r.Context(), metav1.ListOptions{})
		return len(list.Items), err
	})
}

func (r *replica) knowsStatefulSets() error {
	// Its namespace isn't guarded.
	s := statefulSet("", "known")
	s.GenerateName = "known-"
	s.Spec.Selector.MatchLabels = map[string]string{"app": "known"}
	s.Spec.Template.Labels = s.Spec.Selector.MatchLabels
	return r.knows("StatefulSet", func() error {
		_, err := r.client.AppsV1().StatefulSets(metav1.NamespaceSystem).Create(r.Context(), s, metav1.CreateOptions{})
		return err
	}, func() (int, error) {
		list, err := r.client.AppsV1().StatefulSets(metav1.NamespaceAll).List(r.Context(), metav1.ListOptions{})
		return len(list.Items), err
	})
}

func (r *replica) knowsNamespaces() error {
	return r.knows("Namespace", func() error {
		_, err := r.client.CoreV1().Namespaces().Create(r.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "known-"}}, metav1.CreateOptions{})
		return err
	}, func() (int, error) {
		list, err := r.client.CoreV1().Namespaces().List(r.Context(), metav1.ListOptions{})
		return len(list.Items), err
	})
}
