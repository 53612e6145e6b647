package outages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/stsguard/stsguard/test/controlplane"
)

const (
	// workers is how many clients there are.
	workers = 8
	// Each does so many operations in all, where there is an end to it, and so
	// many in one namespace before it goes to the next.
	each           = 5000 / workers
	namespaceCount = 25
	stay           = each / namespaceCount
)

// The few names that all clients share, so that they get into each other's
// way. They leave each namespace as it is: there is much to find in the end.
var (
	services = []string{"north", "south", "east", "west"}
	sets     = []string{"db", "web", "queue"}
	labels   = []string{"a", "b"}
	ignored  = []string{"selector-mismatch", "service-not-headless", "service-not-found", "clusterip-exposure", "service-in-use"}
)

func namespaceOf(place int64) string { return fmt.Sprintf("shop-%d", place) }

const labelEnforce = "stsguard.dev/enforce"

// operation is one request of one client, and what became of it.
type operation struct {
	id        int64
	namespace string
	part
	verb verb
	// created is the object to create.
	created any
	// change is what a patch does to the object that it finds; nil where the
	// API server refuses that.
	change func(old any) any
	patch  map[string]any

	// The newest revisions known to be before it was sent and after it was
	// answered, and when that was.
	from, to     int64
	began, ended time.Time
	outcome      outcome
	err          error
}

type verb string

const (
	create verb = "create"
	patch  verb = "patch"
	remove verb = "delete"
)

// outcome is what a client learns.
type outcome string

const (
	written outcome = "written"
	denied  outcome = "denied"
	// refused is by the API server itself: it exists already, or not at all.
	refused outcome = "refused"
	// failed says nothing: it may have been done nevertheless.
	failed outcome = "failed"
)

func (o *operation) String() string {
	return fmt.Sprintf("operation %d: %s %s %s/%s %+v %v, between revisions %d and %d: %s: %v", o.id, o.verb, o.kind, o.namespace, o.name, o.created, o.patch, o.from, o.to, o.outcome, o.err)
}

// review is the request as admission gets it, where this is the object there;
// ok says whether there is anything to admit.
func (o *operation) review(old any) (r review, ok bool) {
	switch o.verb {
	case create:
		return review{o.part, nil, o.created}, true
	case patch:
		if old == nil {
			return review{}, false
		}
		changed := o.change(old)
		return review{o.part, old, changed}, changed != nil
	}
	return review{o.part, old, nil}, old != nil
}

// clients are what changes the cluster.
type clients struct {
	etcd   etcd
	latest atomic.Int64 // the newest revision that is known
	// done counts operations, troubled those that something was missing for.
	done, troubled atomic.Int64

	mu  sync.Mutex
	ops []*operation
}

// client is one of them, with connections of its own.
type client struct {
	*clients
	api *kubernetes.Clientset
	*rand.Rand
	begun int64 // operations
}

func (c *clients) add(cp *controlplane.ControlPlane, name string, seed uint64) (*client, error) {
	user, err := cp.AddUser(name, "system:masters")
	if err != nil {
		return nil, err
	}
	user.Config.WarningHandler = rest.NoWarnings{}
	api, err := kubernetes.NewForConfig(user.Config)
	if err != nil {
		return nil, err
	}
	hash := fnv.New64a()
	hash.Write([]byte(name))
	return &client{clients: c, api: api, Rand: rand.New(rand.NewPCG(seed, hash.Sum64()))}, nil
}

// next is an operation at random, whatever became of those before.
func (c *client) next() *operation {
	place := c.begun / stay % namespaceCount
	c.begun++
	o := &operation{namespace: namespaceOf(place)}
	if place%4 == 0 && c.IntN(20) == 0 {
		// Some namespaces change their mind about what they enforce.
		return relabelled(o, c.IntN(2) == 0)
	}
	o.part = part{"Service", pick(c, services)}
	if c.IntN(2) == 0 {
		o.part = part{"StatefulSet", pick(c, sets)}
	}
	ignore := ""
	if c.IntN(8) == 0 {
		ignore = pick(c, ignored)
	}
	switch n := c.IntN(100); {
	case n < 45 && o.kind == "Service":
		kinds := []kind{headless, headless, headless, headless, address, address, unset, alias}
		app := pick(c, append(labels, labels...))
		if c.IntN(10) == 0 {
			app = ""
		}
		return created(o, service{pick(c, kinds), app, ignore})
	case n < 45:
		return created(o, set{pick(c, append(services, "")), pick(c, labels), ignore})
	case n < 75:
		return c.patched(o, ignore)
	}
	o.verb = remove
	return o
}

func pick[T any](c *client, list []T) T { return list[c.IntN(len(list))] }

func created(o *operation, object any) *operation {
	o.verb, o.created = create, object
	return o
}

// patched changes one thing about an object.
func (c *client) patched(o *operation, ignore string) *operation {
	app := pick(c, labels)
	if o.kind == "StatefulSet" {
		if c.IntN(3) == 0 {
			return ignoring(o, ignore)
		}
		return patching(o, map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": app}}}}},
			func(s set) any { s.app = app; return s })
	}
	switch c.IntN(5) {
	case 0:
		return aliased(o)
	case 1:
		// An address can't be taken from a Service but by way of an alias.
		return patching(o, map[string]any{"spec": map[string]any{"type": "ClusterIP", "clusterIP": "None", "externalName": nil}},
			func(s service) any {
				if s.kind == address {
					return nil
				}
				s.kind = headless
				return s
			})
	case 2:
		return patching(o, map[string]any{"spec": map[string]any{"type": "ClusterIP", "externalName": nil}},
			func(s service) any {
				if s.kind == alias {
					s.kind = address
				}
				return s
			})
	case 3:
		return ignoring(o, ignore)
	}
	return selecting(o, app)
}

func selecting(o *operation, app string) *operation {
	return patching(o, map[string]any{"spec": map[string]any{"selector": map[string]any{"app": app}}},
		func(s service) any { s.app = app; return s })
}

func aliased(o *operation) *operation {
	return patching(o, map[string]any{"spec": map[string]any{"type": "ExternalName", "externalName": "db.example.com", "clusterIP": nil, "clusterIPs": nil}},
		func(s service) any { s.kind = alias; return s })
}

func ignoring(o *operation, rule string) *operation {
	var value any
	if rule != "" {
		value = rule
	}
	p := map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotationIgnore: value}}}
	if o.kind == "Service" {
		return patching(o, p, func(s service) any { s.ignore = rule; return s })
	}
	return patching(o, p, func(s set) any { s.ignore = rule; return s })
}

// relabelled turns everything off for a namespace, or on again.
func relabelled(o *operation, off bool) *operation {
	o.part = part{"Namespace", o.namespace}
	set := map[string]any{}
	for _, mode := range []string{"enforce", "warn", "audit"} {
		set["stsguard.dev/"+mode] = nil
		if off {
			set["stsguard.dev/"+mode] = "none"
		}
	}
	return patching(o, map[string]any{"metadata": map[string]any{"labels": set}}, func(bool) any { return off })
}

func patching[V any](o *operation, p map[string]any, change func(V) any) *operation {
	o.verb, o.patch = patch, p
	o.change = func(old any) any { return change(old.(V)) }
	return o
}

// do sends a request and notes what became of it.
func (c *client) do(ctx context.Context, o *operation) *operation {
	c.mu.Lock()
	o.id = int64(len(c.ops))
	c.ops = append(c.ops, o)
	c.mu.Unlock()
	o.from, o.began = c.latest.Load(), time.Now()
	o.err = c.send(ctx, o)
	o.ended, o.outcome = time.Now(), outcomeOf(o.err)
	// Whatever etcd says now is not before what anyone looked at to answer.
	var err error
	o.to, err = c.etcd.revision(ctx)
	if o.outcome == failed || err != nil {
		c.troubled.Add(1)
	}
	for err != nil && ctx.Err() == nil {
		pause(ctx)
		o.to, err = c.etcd.revision(ctx)
	}
	for known := c.latest.Load(); known < o.to && !c.latest.CompareAndSwap(known, o.to); known = c.latest.Load() {
	}
	c.done.Add(1)
	return o
}

// pause is for a server that is being restarted.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

func (c *client) send(ctx context.Context, o *operation) error {
	op := strconv.FormatInt(o.id, 10)
	switch o.verb {
	case create:
		if s, ok := o.created.(service); ok {
			_, err := c.api.CoreV1().Services(o.namespace).Create(ctx, s.object(o.name, op), metav1.CreateOptions{})
			return err
		}
		_, err := c.api.AppsV1().StatefulSets(o.namespace).Create(ctx, o.created.(set).object(o.name, op), metav1.CreateOptions{})
		return err
	case patch:
		body := maps.Clone(o.patch)
		metadata := map[string]any{}
		maps.Copy(metadata, asMap(body["metadata"]))
		annotations := map[string]any{annotationOp: op}
		maps.Copy(annotations, asMap(metadata["annotations"]))
		metadata["annotations"], body["metadata"] = annotations, metadata
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		switch o.kind {
		case "Service":
			_, err = c.api.CoreV1().Services(o.namespace).Patch(ctx, o.name, types.MergePatchType, data, metav1.PatchOptions{})
		case "StatefulSet":
			_, err = c.api.AppsV1().StatefulSets(o.namespace).Patch(ctx, o.name, types.MergePatchType, data, metav1.PatchOptions{})
		case "Namespace":
			_, err = c.api.CoreV1().Namespaces().Patch(ctx, o.name, types.MergePatchType, data, metav1.PatchOptions{})
		}
		return err
	}
	if o.kind == "Service" {
		return c.api.CoreV1().Services(o.namespace).Delete(ctx, o.name, metav1.DeleteOptions{})
	}
	return c.api.AppsV1().StatefulSets(o.namespace).Delete(ctx, o.name, metav1.DeleteOptions{})
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func (s service) object(name, op string) *corev1.Service {
	out := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationOp: op}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80}}},
	}
	if s.app != "" {
		out.Spec.Selector = map[string]string{"app": s.app}
	}
	if s.ignore != "" {
		out.Annotations[annotationIgnore] = s.ignore
	}
	switch s.kind {
	case headless:
		out.Spec.ClusterIP = corev1.ClusterIPNone
	case address:
		out.Annotations["stsguard.dev/inject"] = "false"
	case alias:
		out.Spec.Type, out.Spec.ExternalName = corev1.ServiceTypeExternalName, "db.example.com"
	}
	return out
}

func (s set) object(name, op string) *appsv1.StatefulSet {
	own := map[string]string{"set": name}
	out := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationOp: op}},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: s.governing,
			Selector:    &metav1.LabelSelector{MatchLabels: own},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"set": name, "app": s.app}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}},
			},
		},
	}
	if s.ignore != "" {
		out.Annotations[annotationIgnore] = s.ignore
	}
	return out
}

const denial = `admission webhook "validate.stsguard.dev" denied the request: `

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return written
	case strings.Contains(err.Error(), denial):
		return denied
	case apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsInvalid(err):
		return refused
	}
	return failed
}

// unjudged says whether a failure is one of a server that is not there or not
// yet ready, or of a webhook that says nothing.
func unjudged(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	return status.Status().Code >= http.StatusInternalServerError || apierrors.IsTooManyRequests(err) ||
		strings.Contains(err.Error(), "not yet ready to handle request")
}

var (
	headline  = regexp.MustCompile(`(?m)^(\S.*) \[([a-z-]+)\]$`)
	mentioned = regexp.MustCompile(`StatefulSet "([^"]+)"`)
)

// reasons are what a denial names, each as state.denials has it.
func reasons(err error) []string {
	_, message, _ := strings.Cut(err.Error(), denial)
	var out []string
	for _, m := range headline.FindAllStringSubmatch(message, -1) {
		var names []string
		for _, set := range mentioned.FindAllStringSubmatch(m[1], -1) {
			names = append(names, set[1])
		}
		slices.Sort(names)
		out = append(out, m[2]+" "+strings.Join(names, " "))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
