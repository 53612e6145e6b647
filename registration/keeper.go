package registration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// reachable is how long an endpoint is ready before the API server is told of it:
// the network on its way has to hear of it, too.
const reachable = 5 * time.Second

// lately is how long it counts that an endpoint was ready. Who leads looks at least
// every minute.
const lately = 5 * time.Minute

// ErrNoEndpoint says that no replica can answer yet.
var ErrNoEndpoint = errors.New("no endpoint of the Service has been ready long enough")

// Keeper keeps the two configurations as they should be. One replica at a time
// does that.
type Keeper struct {
	Client  kubernetes.Interface
	Options Options
	Clock   func() time.Time

	mu         sync.Mutex
	exemptions Exemptions

	// An endpoint has been ready since, as far as anybody looked, and one was when
	// somebody looked last.
	readySince, readyAt time.Time

	validating written[*admissionv1.ValidatingWebhookConfiguration]
	mutating   written[*admissionv1.MutatingWebhookConfiguration]
}

// written is what was wanted last, and which version the API server made of it.
// Some clusters change every configuration that somebody writes: putting back
// what they change would never end.
type written[T any] struct {
	want    T
	version string
}

// SetExemptions says what the configurations leave out from the next time on that
// they are applied.
func (k *Keeper) SetExemptions(e Exemptions) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.exemptions = e
}

// Owner is the ClusterRole that everything belongs to. It is an error when that
// is gone, or about to be: then stsguard is being uninstalled, and nothing is
// made anew.
func (k *Keeper) Owner(ctx context.Context) (metav1.OwnerReference, error) {
	role, err := k.Client.RbacV1().ClusterRoles().Get(ctx, k.Options.Name, metav1.GetOptions{})
	if err != nil {
		return metav1.OwnerReference{}, fmt.Errorf("read the ClusterRole that the webhook configurations belong to: %w", err)
	}
	if role.DeletionTimestamp != nil {
		return metav1.OwnerReference{}, fmt.Errorf("the ClusterRole %s that the webhook configurations belong to is being deleted", role.Name)
	}
	return metav1.OwnerReference{
		APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: role.Name, UID: role.UID,
		// Deleted in the foreground, the ClusterRole stays until the configurations
		// are gone. Whoever deletes the rest then does so when nobody asks.
		BlockOwnerDeletion: new(true),
	}, nil
}

// Apply makes both configurations as they should be, with this caBundle, and says
// whether it had to change anything. Before a replica can answer it makes none, and
// none say Fail that didn't: that is [ErrNoEndpoint].
func (k *Keeper) Apply(ctx context.Context, bundle []byte) (changed bool, err error) {
	owner, err := k.Owner(ctx)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	exemptions := k.exemptions
	k.mu.Unlock()

	// This looks each time, though it seldom matters: an outage is seen only while it
	// lasts.
	notYet := k.answerable(ctx)
	api := k.Client.AdmissionregistrationV1()
	// One that has to wait doesn't hold up the other.
	validating, noValidating := keep(ctx, k, notYet, "ValidatingWebhookConfiguration", api.ValidatingWebhookConfigurations(), &k.validating, k.Options.validating(exemptions, bundle, owner), mergeValidating, validatingPolicies)
	mutating, noMutating := keep(ctx, k, notYet, "MutatingWebhookConfiguration", api.MutatingWebhookConfigurations(), &k.mutating, k.Options.mutating(exemptions, bundle, owner), mergeMutating, mutatingPolicies)
	return validating || mutating, cmp.Or(noValidating, noMutating)
}

// Trusted is whom the API server is told to trust for each webhook, as a caBundle.
// There are none before it is told to ask.
func (k *Keeper) Trusted(ctx context.Context) (bundles [][]byte, err error) {
	api := k.Client.AdmissionregistrationV1()
	validating, err := api.ValidatingWebhookConfigurations().Get(ctx, k.Options.Name, metav1.GetOptions{})
	switch {
	case err == nil:
		for _, w := range validating.Webhooks {
			bundles = append(bundles, w.ClientConfig.CABundle)
		}
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read whom the API server trusts: %w", err)
	}
	mutating, err := api.MutatingWebhookConfigurations().Get(ctx, k.Options.Name, metav1.GetOptions{})
	switch {
	case err == nil:
		for _, w := range mutating.Webhooks {
			bundles = append(bundles, w.ClientConfig.CABundle)
		}
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read whom the API server trusts: %w", err)
	}
	return bundles, nil
}

// client is what the typed clients of both kinds have in common.
type client[T any] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Create(ctx context.Context, o T, options metav1.CreateOptions) (T, error)
	Update(ctx context.Context, o T, options metav1.UpdateOptions) (T, error)
}

// keep makes one configuration as it should be. notYet says why nobody can answer,
// and is nil if somebody can.
func keep[T metav1.Object](ctx context.Context, k *Keeper, notYet error, kind string, api client[T], last *written[T], want T, merge func(live, want T) T, policies func(T) map[string]*admissionv1.FailurePolicyType) (changed bool, err error) {
	log := logr.FromContextOrDiscard(ctx).WithName("registration").WithValues("kind", kind, "name", k.Options.Name)
	live, err := api.Get(ctx, k.Options.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if notYet != nil {
			return false, notYet
		}
		made, err := api.Create(ctx, want, metav1.CreateOptions{})
		if err != nil {
			return false, fmt.Errorf("make the %s %s: %w", kind, k.Options.Name, err)
		}
		log.Info("made a webhook configuration")
		*last = written[T]{want, made.GetResourceVersion()}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the %s %s: %w", kind, k.Options.Name, err)
	}
	// Somebody may have seen to it that nothing fails while no replica answers. That
	// lasts until one can; whom to trust, and all else, it needs before.
	var early error
	if harder := becomeFail(policies(live), policies(want)); len(harder) > 0 {
		if early = notYet; early != nil {
			for _, policy := range harder {
				*policy = admissionv1.Ignore
			}
		}
	}
	merged := merge(live, want)
	if equality.Semantic.DeepEqual(live, merged) || live.GetResourceVersion() == last.version && equality.Semantic.DeepEqual(want, last.want) {
		return false, early
	}
	updated, err := api.Update(ctx, merged, metav1.UpdateOptions{})
	if err != nil {
		return false, fmt.Errorf("put the %s %s right: %w", kind, k.Options.Name, err)
	}
	log.Info("put a webhook configuration right")
	*last = written[T]{want, updated.GetResourceVersion()}
	return true, early
}

// becomeFail are the wanted policies that say Fail where the live ones don't.
func becomeFail(live, want map[string]*admissionv1.FailurePolicyType) []*admissionv1.FailurePolicyType {
	var out []*admissionv1.FailurePolicyType
	for name, policy := range want {
		if now := live[name]; *policy == admissionv1.Fail && (now == nil || *now != admissionv1.Fail) {
			out = append(out, policy)
		}
	}
	return out
}

// validatingPolicies are the failure policies by the names of the webhooks.
func validatingPolicies(c *admissionv1.ValidatingWebhookConfiguration) map[string]*admissionv1.FailurePolicyType {
	out := map[string]*admissionv1.FailurePolicyType{}
	for _, w := range c.Webhooks {
		out[w.Name] = w.FailurePolicy
	}
	return out
}

// mutatingPolicies are the failure policies by the names of the webhooks.
func mutatingPolicies(c *admissionv1.MutatingWebhookConfiguration) map[string]*admissionv1.FailurePolicyType {
	out := map[string]*admissionv1.FailurePolicyType{}
	for _, w := range c.Webhooks {
		out[w.Name] = w.FailurePolicy
	}
	return out
}

// mergeValidating is the live configuration with all in place that is wanted.
func mergeValidating(live, want *admissionv1.ValidatingWebhookConfiguration) *admissionv1.ValidatingWebhookConfiguration {
	out := live.DeepCopy()
	mergeMeta(&out.ObjectMeta, &want.ObjectMeta)
	out.Webhooks = want.DeepCopy().Webhooks
	return out
}

// mergeMutating is the live configuration with all in place that is wanted.
func mergeMutating(live, want *admissionv1.MutatingWebhookConfiguration) *admissionv1.MutatingWebhookConfiguration {
	out := live.DeepCopy()
	mergeMeta(&out.ObjectMeta, &want.ObjectMeta)
	out.Webhooks = want.DeepCopy().Webhooks
	return out
}

// mergeMeta leaves labels and annotations of others alone.
func mergeMeta(into, want *metav1.ObjectMeta) {
	for key, value := range want.Labels {
		metav1.SetMetaDataLabel(into, key, value)
	}
	for key, value := range want.Annotations {
		metav1.SetMetaDataAnnotation(into, key, value)
	}
	into.OwnerReferences = want.OwnerReferences
}

// answerable returns nil once some endpoint of the Service has been ready for a
// while.
func (k *Keeper) answerable(ctx context.Context) error {
	list, err := k.Client.DiscoveryV1().EndpointSlices(k.Options.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{discoveryv1.LabelServiceName: k.Options.Service}.String(),
	})
	if err != nil {
		return fmt.Errorf("look for endpoints of the Service %s: %w", k.Options.Service, err)
	}
	now := k.Clock()
	if !slices.ContainsFunc(list.Items, hasReady) {
		k.readyAt = time.Time{}
		return ErrNoEndpoint
	}
	// What happened while nobody looked is not known.
	if now.Sub(k.readyAt) > lately {
		k.readySince = now
	}
	k.readyAt = now
	if now.Sub(k.readySince) < reachable {
		return ErrNoEndpoint
	}
	return nil
}

func hasReady(s discoveryv1.EndpointSlice) bool {
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool {
		return e.Conditions.Ready == nil || *e.Conditions.Ready
	})
}

// Watch calls nudge whenever somebody has changed one of the configurations,
// until the context is done.
func (k *Keeper) Watch(ctx context.Context, nudge func()) {
	api := k.Client.AdmissionregistrationV1()
	var running sync.WaitGroup
	running.Go(func() { watchOne(ctx, k.Options.Name, api.ValidatingWebhookConfigurations(), nudge) })
	running.Go(func() { watchOne(ctx, k.Options.Name, api.MutatingWebhookConfigurations(), nudge) })
	running.Wait()
}

// watcher is what the typed clients of both kinds have in common.
type watcher[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

func watchOne[L runtime.Object](ctx context.Context, name string, api watcher[L], nudge func()) {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.FieldSelector = selector
				return api.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.FieldSelector = selector
				return api.Watch(ctx, o)
			},
		},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { nudge() },
			UpdateFunc: func(_, _ any) { nudge() },
			DeleteFunc: func(any) { nudge() },
		},
	})
	informer.RunWithContext(ctx)
}
