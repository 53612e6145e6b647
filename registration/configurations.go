// Package registration keeps the two webhook configurations by which the API
// server asks stsguard.
//
// stsguard makes them itself, rather than a chart or a manifest, because only it
// knows when it can answer: as long as no replica can, there is no configuration
// that says Fail. They stand in nobody's manifests, so that no tool puts back an
// older state of them, and they belong to stsguard's ClusterRole: whoever deletes
// that, however stsguard was installed, is rid of them, too.
package registration

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Options are what does not change while stsguard runs.
type Options struct {
	// Name is that of both configurations, and of the ClusterRole that they
	// belong to.
	Name string
	// Namespace and Service are where the API server finds stsguard, on port
	// 443.
	Namespace, Service string
	// Policies say what the API server does when it gets no answer.
	Policies Policies
	// TimeoutSeconds is how long it waits for one.
	TimeoutSeconds int32
	// Annotations are those of both configurations.
	Annotations map[string]string
}

// Policies say what the API server does with a request when it gets no answer.
type Policies struct {
	// Validate is for StatefulSets and Services that are created or updated,
	// Delete for Services that are deleted, Mutate for Services that might be
	// given clusterIP: None.
	Validate, Delete, Mutate admissionv1.FailurePolicyType
}

// DefaultPolicies let nothing in unseen, and hold up nothing else: a Service that
// is deleted never denies by default, and what mutating leaves undone, validating
// sees.
var DefaultPolicies = Policies{Validate: admissionv1.Fail, Delete: admissionv1.Ignore, Mutate: admissionv1.Ignore}

// Exemptions are what stsguard leaves alone. The API server doesn't even ask about
// it, so that it holds when nobody could answer.
type Exemptions struct {
	Namespaces, Usernames []string
}

const (
	validatePath = "/validate"
	mutatePath   = "/mutate"
)

// ours say whose the configurations are.
var ours = map[string]string{
	"app.kubernetes.io/name":       "stsguard",
	"app.kubernetes.io/managed-by": "stsguard-webhook",
}

// validating is the configuration for /validate. All that the API server would
// fill in is given, so that it can be compared.
func (o *Options) validating(e Exemptions, bundle []byte, owner metav1.OwnerReference) *admissionv1.ValidatingWebhookConfiguration {
	hook := func(name string, policy admissionv1.FailurePolicyType, conditions []admissionv1.MatchCondition, rules ...admissionv1.RuleWithOperations) admissionv1.ValidatingWebhook {
		return admissionv1.ValidatingWebhook{
			Name:                    name,
			ClientConfig:            o.clientConfig(validatePath, bundle),
			Rules:                   rules,
			FailurePolicy:           new(policy),
			MatchPolicy:             new(admissionv1.Equivalent),
			NamespaceSelector:       namespaces(e.Namespaces),
			ObjectSelector:          &metav1.LabelSelector{},
			SideEffects:             new(admissionv1.SideEffectClassNone),
			TimeoutSeconds:          new(o.TimeoutSeconds),
			AdmissionReviewVersions: []string{"v1"},
			MatchConditions:         append(conditions, users(e.Usernames)...),
		}
	}
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: o.meta(owner),
		Webhooks: []admissionv1.ValidatingWebhook{
			hook("validate.stsguard.dev", o.Policies.Validate, notDeleting("object"),
				rule("apps", "statefulsets", admissionv1.Create, admissionv1.Update),
				rule("", "services", admissionv1.Create, admissionv1.Update)),
			hook("validate-delete.stsguard.dev", o.Policies.Delete, notDeleting("oldObject"),
				rule("", "services", admissionv1.Delete)),
		},
	}
}

// mutating is the configuration for /mutate.
func (o *Options) mutating(e Exemptions, bundle []byte, owner metav1.OwnerReference) *admissionv1.MutatingWebhookConfiguration {
	return &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: o.meta(owner),
		Webhooks: []admissionv1.MutatingWebhook{{
			Name:                    "mutate.stsguard.dev",
			ClientConfig:            o.clientConfig(mutatePath, bundle),
			Rules:                   []admissionv1.RuleWithOperations{rule("", "services", admissionv1.Create)},
			FailurePolicy:           new(o.Policies.Mutate),
			MatchPolicy:             new(admissionv1.Equivalent),
			NamespaceSelector:       namespaces(e.Namespaces),
			ObjectSelector:          &metav1.LabelSelector{},
			SideEffects:             new(admissionv1.SideEffectClassNone),
			TimeoutSeconds:          new(o.TimeoutSeconds),
			AdmissionReviewVersions: []string{"v1"},
			ReinvocationPolicy:      new(admissionv1.NeverReinvocationPolicy),
			MatchConditions:         append(notDeleting("object"), users(e.Usernames)...),
		}},
	}
}

// meta is what both configurations are called, and whose they are.
func (o *Options) meta(owner metav1.OwnerReference) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: o.Name, Labels: maps.Clone(ours), Annotations: maps.Clone(o.Annotations), OwnerReferences: []metav1.OwnerReference{owner}}
}

func (o *Options) clientConfig(path string, bundle []byte) admissionv1.WebhookClientConfig {
	return admissionv1.WebhookClientConfig{
		Service:  &admissionv1.ServiceReference{Namespace: o.Namespace, Name: o.Service, Path: new(path), Port: new(int32(443))},
		CABundle: bundle,
	}
}

func rule(group, resource string, operations ...admissionv1.OperationType) admissionv1.RuleWithOperations {
	return admissionv1.RuleWithOperations{Operations: operations, Rule: admissionv1.Rule{
		APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}, Scope: new(admissionv1.NamespacedScope),
	}}
}

// namespaces selects all but these. Names that no namespace can have are left
// out: the API server would refuse the whole configuration for one.
func namespaces(exempt []string) *metav1.LabelSelector {
	values := sorted(exempt)
	values = slices.DeleteFunc(values, func(n string) bool { return len(validation.IsDNS1123Label(n)) > 0 })
	if len(values) == 0 {
		return &metav1.LabelSelector{}
	}
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: values,
	}}}
}

// notDeleting leaves out what is on its way out, so that whoever has to remove a
// finalizer can. The variable is null for some operations.
func notDeleting(variable string) []admissionv1.MatchCondition {
	return []admissionv1.MatchCondition{{
		Name:       "not-deleting",
		Expression: fmt.Sprintf("%[1]s == null || !has(%[1]s.metadata) || !has(%[1]s.metadata.deletionTimestamp)", variable),
	}}
}

// longestCondition is how long the list of users in a condition may become. The
// API server takes conditions of up to 100,000 characters, and 64 of them: more
// than fits into a ConfigMap.
const longestCondition = 50_000

// users leaves out these users' requests.
func users(exempt []string) []admissionv1.MatchCondition {
	var out []admissionv1.MatchCondition
	var list []string
	length := 0
	flush := func() {
		if len(list) == 0 {
			return
		}
		out = append(out, admissionv1.MatchCondition{
			Name:       fmt.Sprintf("not-exempt-users-%d", len(out)+1),
			Expression: fmt.Sprintf("!has(request.userInfo.username) || !(request.userInfo.username in [%s])", strings.Join(list, ", ")),
		})
		list, length = nil, 0
	}
	for _, name := range sorted(exempt) {
		quoted := quote(name)
		if length+len(quoted) > longestCondition {
			flush()
		}
		list, length = append(list, quoted), length+len(quoted)+2
	}
	flush()
	return out
}

// quote makes a CEL string of the text. CEL knows all escapes of JSON.
func quote(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		// A string can always be encoded.
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func sorted(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
