package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What tools write on the objects that they apply.
const (
	managedBy     = "app.kubernetes.io/managed-by"
	helm          = "Helm"
	helmRelease   = "meta.helm.sh/release-name"
	helmNamespace = "meta.helm.sh/release-namespace"
	argoTracking  = "argocd.argoproj.io/tracking-id"
	argoInstance  = "argocd.argoproj.io/instance"
	fluxKustomize = "kustomize.toolkit.fluxcd.io/name"
	fluxHelm      = "helm.toolkit.fluxcd.io/name"
)

func (p *planner) byHelm() bool {
	return p.set.Labels[managedBy] == helm && p.set.Annotations[helmRelease] != ""
}

// describe says what the steps lead to, and what to know before and after.
func (p *planner) describe() {
	if len(p.plan.Steps) == 0 {
		p.plan.Title = fmt.Sprintf("StatefulSet %q in namespace %q: nothing to migrate", p.set.Name, p.set.Namespace)
		p.plan.About = []string{fmt.Sprintf("Service %q, which governs it, is headless and selects the pods.", p.to)}
		return
	}
	p.plan.Title = fmt.Sprintf("StatefulSet %q in namespace %q: to headless Service %q in %s", p.set.Name, p.set.Namespace, p.to, stepsOf(len(p.plan.Steps)))
	p.plan.About = []string{p.governedBy(), p.podsFare(), p.namesFare()}
	if len(p.set.Spec.VolumeClaimTemplates) > 0 {
		p.plan.About = append(p.plan.About, "Volumes: the claims keep their names and their data.")
	}
	if s := p.rel.Governing; s != nil && !s.Headless() && s.Type != string(corev1.ServiceTypeExternalName) {
		clients := fmt.Sprintf("Clients: Service %q stays as it is, and serves them as before.", s.Name)
		if p.to == s.Name {
			clients = fmt.Sprintf("Clients: Service %q loses its cluster IP. Service %q serves those that need one, and has other addresses.", s.Name, p.ClientService)
		}
		p.plan.About = append(p.plan.About, clients)
	}
	p.prepare()
	p.after()
}

func stepsOf(n int) string {
	if n == 1 {
		return "1 step"
	}
	return fmt.Sprintf("%d steps", n)
}

func (p *planner) governedBy() string {
	named, s := p.set.Spec.ServiceName, p.rel.Governing
	switch {
	case named == "":
		return "Now: it has no serviceName, so its pods have no DNS names."
	case s == nil:
		return fmt.Sprintf("Now: it names Service %q, which does not exist.", named)
	case s.Type == string(corev1.ServiceTypeExternalName):
		return fmt.Sprintf("Now: it names Service %q, which is an ExternalName for %s.", named, s.ExternalName)
	case !s.Headless():
		return fmt.Sprintf("Now: it names Service %q, a %s Service with the cluster IP %s.", named, s.Type, s.ClusterIP)
	case !p.selectsAll(s.Selector):
		return fmt.Sprintf("Now: it names Service %q, which is headless, and does not select all its pods.", named)
	}
	return fmt.Sprintf("Now: it names Service %q, which is headless and selects its pods.", named)
}

func (p *planner) podsFare() string {
	stale := len(p.stale())
	step := slices.IndexFunc(p.plan.Steps, func(s Step) bool { return s.Title == titleRestart }) + 1
	switch {
	case len(p.pods) == 0:
		return "Pods: there are none."
	case stale == 0:
		return "Pods: none restarts."
	}
	return fmt.Sprintf("Pods: each restarts once, in step %d, one at a time.", step)
}

// namesFare says what becomes of the pods' names, by the example of the first.
func (p *planner) namesFare() string {
	pod := fmt.Sprintf("%s-%d", p.set.Name, p.rel.StatefulSet.OrdinalsStart)
	name := func(service string) string {
		return fmt.Sprintf("%s.%s.%s.svc.%s", pod, service, p.set.Namespace, p.ClusterDomain)
	}
	if old := p.set.Spec.ServiceName; old != "" && old != p.to {
		now := "which may resolve now"
		if s := p.rel.Governing; s == nil || s.Type == string(corev1.ServiceTypeExternalName) {
			now = "which does not resolve"
		}
		return fmt.Sprintf("Names: %s, %s, becomes %s.", name(old), now, name(p.to))
	}
	return fmt.Sprintf("Names: there will be %s and so on, each as long as the pod is ready.", name(p.to))
}

func (p *planner) prepare() {
	say := func(format string, args ...any) { p.plan.Before = append(p.plan.Before, fmt.Sprintf(format, args...)) }
	renamed := p.to != p.set.Spec.ServiceName
	if owner := metav1.GetControllerOf(p.set); owner != nil {
		say("%s %q manages the StatefulSet, and may undo the steps or be hindered by them. See whether it can be told the Service's name instead; else stop it meanwhile.", owner.Kind, owner.Name)
	}
	if p.byHelm() {
		say("Helm release %q has the StatefulSet. Run no upgrade until the chart, or its values, say what the end of this plan says.", p.set.Annotations[helmRelease])
	}
	if p.set.Annotations[argoTracking] != "" || p.set.Labels[argoInstance] != "" {
		say("Argo CD applies the StatefulSet: switch the application's automatic sync off meanwhile.")
	}
	if name := p.set.Labels[fluxKustomize]; name != "" {
		say("Flux applies the StatefulSet: suspend Kustomization %q meanwhile.", name)
	}
	if name := p.set.Labels[fluxHelm]; name != "" {
		say("Flux applies the StatefulSet: suspend HelmRelease %q meanwhile.", name)
	}
	if finalizers := p.set.Finalizers; renamed && len(finalizers) > 0 {
		say("The StatefulSet has finalizers (%s): its deletion waits until who set them lets go of it.", strings.Join(finalizers, ", "))
	}
	status := &p.set.Status
	if len(p.stale()) > 0 && int(status.ReadyReplicas) < len(p.pods) {
		say("Only %d of %d pods are ready: mend that first. A restart waits for each pod.", status.ReadyReplicas, len(p.pods))
	}
	switch {
	case !renamed || len(p.pods) == 0:
	case p.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType:
		if int(status.UpdatedReplicas) < len(p.pods) {
			say("%d of %d pods don't have the StatefulSet's latest template yet (OnDelete). The restart brings it to them.", len(p.pods)-int(status.UpdatedReplicas), len(p.pods))
		}
	case status.CurrentRevision != status.UpdateRevision:
		say("A rollout is under way: end it, or roll it back, and make a new plan. The new StatefulSet knows only the latest template, and gives it to every pod.")
	}
	if old := p.set.Spec.ServiceName; renamed && len(p.stale()) > 0 && p.rel.StatefulSet.MentionsPeers {
		say("The containers look pods up by their names below %q, which end when the pods restart. Have them say %q: change that in the template in place of the restart, since a new template restarts the pods, too. With --keep-name nothing of that is needed.", old, p.to)
	}
	if renamed && p.set.Spec.ServiceName != "" && p.rel.Governing == nil {
		say("Service %q is there already, is headless and selects the pods, so it is taken. With --keep-name a Service %q is created beside it, and no pod restarts.", p.to, p.set.Spec.ServiceName)
	}
	if len(p.rel.Siblings) > 0 && !renamed {
		var names []string
		for _, s := range p.rel.Siblings {
			names = append(names, fmt.Sprintf("%q", s.Name))
		}
		say("Service %q also governs StatefulSet %s.", p.to, strings.Join(names, ", "))
	}
}

func (p *planner) after() {
	say := func(format string, args ...any) { p.plan.After = append(p.plan.After, fmt.Sprintf(format, args...)) }
	source := "the manifests that it is applied from"
	if p.byHelm() {
		source = fmt.Sprintf("the chart, or the values, of Helm release %q", p.set.Annotations[helmRelease])
	}
	switch s := p.service(p.to); {
	case s == nil:
		say("Put Service %q, as step 1 creates it, into %s.", p.to, source)
	case s == p.rel.Governing && (!s.Headless() || !p.selectsAll(s.Selector)):
		say("Put the same change of Service %q into %s.", p.to, source)
	}
	if p.ClientService != "" {
		say("Put Service %q there, too.", p.ClientService)
	}
	if p.to == p.set.Spec.ServiceName {
		return
	}
	say("Put spec.serviceName: %s into %s. Until then every apply is refused, since serviceName can't be changed.", p.to, source)
	if _, ok := p.set.Annotations[corev1.LastAppliedConfigAnnotation]; ok {
		say("The next kubectl apply says once that its annotation is missing, and adds it.")
	}
	managers := map[string]bool{}
	for _, m := range p.set.ManagedFields {
		if m.Operation == metav1.ManagedFieldsOperationApply {
			managers[m.Manager] = true
		}
	}
	for _, manager := range slices.Sorted(maps.Keys(managers)) {
		say("%q applies the StatefulSet on the server's side. Of the new one the fields belong to kubectl create, so its next apply may have to be forced once.", manager)
	}
}
