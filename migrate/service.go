package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory"
)

// The annotations that excuse an object.
const (
	annotationIgnore       = inventory.AnnotationPrefix + "ignore"
	annotationIgnoreReason = inventory.AnnotationPrefix + "ignore-reason"
)

// create plans a new headless Service.
func (p *planner) create() Step {
	text := []string{"No pod restarts. Nothing asks for the new Service yet."}
	if p.to == p.set.Spec.ServiceName && len(p.stale()) == 0 {
		text = []string{"No pod restarts: the pods were made for a Service of this name, and have their names as soon as it is there."}
	}
	return Step{
		Title:    fmt.Sprintf("Create headless Service %q", p.to),
		Text:     text,
		Commands: p.apply(p.headless()),
		Checks:   []Check{p.isHeadless()},
		Back:     Back{Commands: p.kubectl("delete service %s", p.to)},
	}
}

// headless is the manifest of the Service that is to govern: what the rules ask
// for, and of the one that governs now what peers may look up below it.
func (p *planner) headless() string {
	spec := map[string]any{"clusterIP": corev1.ClusterIPNone, "selector": p.selector()}
	if ports := p.ports(); len(ports) > 0 {
		spec["ports"] = ports
	}
	if p.old != nil && p.old.Spec.PublishNotReadyAddresses {
		spec["publishNotReadyAddresses"] = true
	}
	p.addFamilies(spec)
	return p.manifest(p.to, nil, spec)
}

// manifest is that of a Service, which Helm may take over if it has the
// StatefulSet.
func (p *planner) manifest(name string, annotations, spec map[string]any) string {
	metadata := map[string]any{"name": name, "namespace": p.set.Namespace}
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]any{}
	}
	if p.byHelm() {
		metadata["labels"] = map[string]any{managedBy: helm}
		for _, key := range []string{helmRelease, helmNamespace} {
			all[key] = p.set.Annotations[key]
		}
	}
	if len(all) > 0 {
		metadata["annotations"] = all
	}
	return marshal(map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

// ports are those of the Service that governs now, each as the pods have it
// since a headless Service remaps none, so that SRV records keep their names;
// then those of the containers that it left out.
func (p *planner) ports() []any {
	var out []any
	add := func(port map[string]any) {
		taken := slices.ContainsFunc(out, func(other any) bool {
			o := other.(map[string]any)
			return o["name"] == port["name"] || fmt.Sprint(o["port"]) == fmt.Sprint(port["port"]) && o["protocol"] == port["protocol"]
		})
		if !taken {
			out = append(out, port)
		}
	}
	if p.old != nil {
		for i, old := range p.rel.Governing.Ports {
			number := old.PodPort(p.rel.StatefulSet)
			if number == 0 {
				continue
			}
			port := map[string]any{
				"name": cmp.Or(old.Name, fmt.Sprintf("%s-%d", strings.ToLower(old.Protocol), number)),
				"port": number, "protocol": old.Protocol,
			}
			if app := p.old.Spec.Ports[i].AppProtocol; app != nil {
				port["appProtocol"] = *app
			}
			add(port)
		}
	}
	for _, port := range list(p.wanted("ports")) {
		if port, ok := port.(map[string]any); ok {
			add(port)
		}
	}
	return out
}

// wanted is a field of the Service that the rules ask for.
func (p *planner) wanted(field string) any {
	spec, _ := p.Headless["spec"].(map[string]any)
	return spec[field]
}

func list(v any) []any {
	out, _ := v.([]any)
	return out
}

// addFamilies keeps what the Service that governs now says of IP families, where
// that is not what most clusters give by themselves.
func (p *planner) addFamilies(spec map[string]any) {
	if p.old == nil || p.old.Spec.IPFamilyPolicy == nil || len(p.old.Spec.IPFamilies) == 0 {
		return
	}
	if *p.old.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack || p.old.Spec.IPFamilies[0] != corev1.IPv4Protocol {
		spec["ipFamilyPolicy"], spec["ipFamilies"] = *p.old.Spec.IPFamilyPolicy, p.old.Spec.IPFamilies
	}
}

// reselect plans another selector for a Service that is headless already.
func (p *planner) reselect() Step {
	text := []string{"No pod restarts. The Service selects the pods from then on, and nothing else that it selected before."}
	if len(p.old.Spec.Selector) == 0 {
		text = append(text, "It has no selector: if something writes its endpoints, leave it as it is.")
	} else {
		text = append(text, fmt.Sprintf("See first that nobody needs it for what it selects now: `%s get pods -l %s`.", p.Kubectl, labels(p.old.Spec.Selector)))
	}
	return Step{
		Title:    fmt.Sprintf("Let Service %q select the pods", p.to),
		Text:     text,
		Commands: p.patchService(map[string]any{"selector": replace(p.old.Spec.Selector, p.selector())}),
		Checks:   []Check{p.isHeadless()},
		Back: p.excused(p.patchService(map[string]any{"selector": replace(p.selector(), p.old.Spec.Selector)}),
			inventory.ReasonSelectorMismatch, inventory.ReasonWithoutSelector),
	}
}

// unalias plans to make a headless Service of an ExternalName.
func (p *planner) unalias() Step {
	spec := p.becomesHeadless()
	spec["externalName"] = nil
	return Step{
		Title:    fmt.Sprintf("Make Service %q headless", p.to),
		Text:     []string{fmt.Sprintf("No pod restarts. Who looks %q up gets the pods' addresses from then on, and no longer %s.", p.to, p.old.Spec.ExternalName)},
		Commands: p.patchService(spec),
		Checks:   []Check{p.isHeadless()},
		Back:     p.excused(p.patchService(p.before()), inventory.ReasonExternalName),
	}
}

// clients plans the Service that clients are to use in place of the one that
// becomes headless.
func (p *planner) clients() error {
	if p.ClientService == "" {
		p.ClientService = p.to + "-client"
	}
	problems := validation.IsDNS1123Label(p.ClientService)
	if p.ClientService == p.to {
		problems = append(problems, "it is that of the Service that becomes headless")
	}
	if len(problems) > 0 {
		return fmt.Errorf("%q can't be the name of the Service that clients are to use: %s: choose another one with --client-service", p.ClientService, strings.Join(problems, "; "))
	}
	if s := p.service(p.ClientService); s != nil {
		if s.Headless() || !maps.Equal(s.Selector, p.rel.Governing.Selector) {
			return fmt.Errorf("there is a Service %q already, and it does not serve the clients of %q: choose another name with --client-service", p.ClientService, p.to)
		}
		return nil
	}
	// What the API server gave is left to it again.
	spec := p.old.Spec.DeepCopy()
	spec.ClusterIP, spec.ClusterIPs, spec.HealthCheckNodePort, spec.LoadBalancerIP = "", nil, 0, ""
	spec.IPFamilies, spec.IPFamilyPolicy, spec.InternalTrafficPolicy = nil, nil, nil
	for i := range spec.Ports {
		spec.Ports[i].NodePort = 0
	}
	fields := asMap(spec)
	p.addFamilies(fields)
	annotations := map[string]any{
		inventory.AnnotationPrefix + "client-service": "true",
		annotationIgnore:       "clusterip-exposure",
		annotationIgnoreReason: fmt.Sprintf("Service %s becomes headless next", p.to),
	}
	text := []string{fmt.Sprintf("No pod restarts. It is what %q is now, with addresses of its own.", p.to)}
	copied := false
	for key, value := range p.old.Annotations {
		if !ofOneObject(key) {
			annotations[key], copied = value, true
		}
	}
	if copied {
		text = append(text, "The annotations are copied: see that none must be on one Service only.")
	}
	text = append(text,
		fmt.Sprintf("%s keeps stsguard's webhook from denying it as long as %q has its cluster IP.", annotationIgnore, p.to),
		fmt.Sprintf("Lead clients to it before the next step: all that use the cluster IP %s, %sor a port that is not the pods' own.", p.old.Spec.ClusterIP, outside(p.old)))
	p.add(Step{
		Title:    fmt.Sprintf("Create Service %q for clients", p.ClientService),
		Text:     text,
		Commands: p.apply(p.manifest(p.ClientService, annotations, fields)),
		Checks: []Check{{
			p.kubectl(`get service %s -o custom-columns=NAME:.metadata.name,TYPE:.spec.type`, p.ClientService),
			table([]string{"NAME", "TYPE"}, []string{p.ClientService, string(p.old.Spec.Type)}),
		}},
		Back: Back{Commands: p.kubectl("delete service %s", p.ClientService)},
	})
	return nil
}

func outside(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return "a node port "
	case corev1.ServiceTypeLoadBalancer:
		return "the load balancer's address, a node port "
	}
	return ""
}

// ofOneObject says whether an annotation is about the object that has it, so that
// a copy must not.
func ofOneObject(key string) bool {
	return key == corev1.LastAppliedConfigAnnotation || key == argoTracking || strings.HasPrefix(key, inventory.AnnotationPrefix)
}

// behead plans to take the cluster IP from a Service. It goes only by way of an
// ExternalName: that one leads to the Service for clients, so that the name
// resolves all the time.
func (p *planner) behead() Step {
	alias := map[string]any{"type": corev1.ServiceTypeExternalName, "externalName": fmt.Sprintf("%s.%s.svc.%s", p.ClientService, p.set.Namespace, p.ClusterDomain)}
	// What an ExternalName, or a headless Service, may not have.
	for field, there := range map[string]bool{
		"loadBalancerSourceRanges": len(p.old.Spec.LoadBalancerSourceRanges) > 0,
		"loadBalancerIP":           p.old.Spec.LoadBalancerIP != "",
		"externalIPs":              len(p.old.Spec.ExternalIPs) > 0,
	} {
		if there {
			alias[field] = nil
		}
	}
	if p.old.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		alias["sessionAffinity"] = corev1.ServiceAffinityNone
	}
	spec := p.becomesHeadless()
	spec["externalName"] = nil
	back := p.before()
	back["externalName"] = nil
	commands := p.patchService(alias) + p.patchService(spec)
	if p.service(p.ClientService) == nil {
		commands += p.kubectl("annotate service %s %s- %s-", p.ClientService, annotationIgnore, annotationIgnoreReason)
	}
	return Step{
		Title: fmt.Sprintf("Make Service %q headless", p.to),
		Text: []string{
			fmt.Sprintf("No pod restarts. The cluster IP %s goes; the first command makes the Service an alias of %q, since clusterIP can't be changed at once. Run the commands together: in between, %q leads to that one, and the names of single pods don't resolve.", p.old.Spec.ClusterIP, p.ClientService, p.to),
			fmt.Sprintf("Who looks %q up gets the pods' addresses from then on, on which only the pods' own ports answer.", p.to),
		},
		Commands: commands,
		Checks:   []Check{p.isHeadless()},
		Back: p.excused(p.patchService(map[string]any{"type": alias["type"], "externalName": alias["externalName"]})+p.patchService(back),
			inventory.ReasonExternalName, inventory.ReasonNotHeadless),
	}
}

// becomesHeadless is the change from an ExternalName to a headless Service.
func (p *planner) becomesHeadless() map[string]any {
	spec := map[string]any{"type": corev1.ServiceTypeClusterIP, "clusterIP": corev1.ClusterIPNone}
	if !p.selectsAll(p.old.Spec.Selector) {
		spec["selector"] = replace(p.old.Spec.Selector, p.selector())
	}
	if ports := p.ports(); len(ports) > 0 {
		spec["ports"] = ports
	}
	p.addFamilies(spec)
	return spec
}

// before is the change from a headless Service, or an ExternalName, back to what
// the Service is now.
func (p *planner) before() map[string]any {
	spec := asMap(&p.old.Spec)
	spec["selector"] = replace(p.selector(), p.old.Spec.Selector)
	if len(p.old.Spec.Ports) == 0 {
		spec["ports"] = nil
	}
	return spec
}

// excused is a way back that stsguard's webhook doesn't deny, though what these
// rules find comes back with it.
func (p *planner) excused(commands string, rules ...string) Back {
	reason := cmp.Or(p.set.Annotations[annotationIgnoreReason], "migration undone")
	if before := p.set.Annotations[annotationIgnore]; before != "" {
		rules = append([]string{before}, rules...)
	}
	annotate := p.kubectl("annotate --overwrite statefulset %s %s %s", p.set.Name,
		Quote(annotationIgnore+"="+strings.Join(rules, ",")), Quote(annotationIgnoreReason+"="+reason))
	return Back{
		Text:     "The annotation keeps stsguard's webhook from denying it, and stays.",
		Commands: annotate + commands,
	}
}

// selector is what the rules have a governing Service select.
func (p *planner) selector() map[string]string {
	out := map[string]string{}
	selector, _ := p.wanted("selector").(map[string]any)
	for key, value := range selector {
		if text, ok := value.(string); ok {
			out[key] = text
		}
	}
	return out
}

// replace is the merge patch from one selector to another.
func replace(from, to map[string]string) map[string]any {
	out := map[string]any{}
	for key := range from {
		out[key] = nil
	}
	for key, value := range to {
		out[key] = value
	}
	return out
}

func (p *planner) isHeadless() Check {
	return Check{p.kubectl(`get service %s -o custom-columns=NAME:.metadata.name,CLUSTER-IP:.spec.clusterIP`, p.to), table([]string{"NAME", "CLUSTER-IP"}, []string{p.to, corev1.ClusterIPNone})}
}

func (p *planner) patchService(spec map[string]any) string {
	return p.kubectl("patch service %s --type=merge -p %s", p.to, Quote(asJSON(map[string]any{"spec": spec})))
}

func (p *planner) apply(manifest string) string {
	return p.kubectl("apply -f - <<'EOF'") + manifest + "EOF\n"
}

// kubectl is one command, a line of its own.
func (p *planner) kubectl(format string, args ...any) string {
	return p.Kubectl + " " + fmt.Sprintf(format, args...) + "\n"
}

func labels(selector map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		pairs = append(pairs, key+"="+selector[key])
	}
	return strings.Join(pairs, ",")
}

// marshal is an object as YAML. It came out of JSON, all of which is YAML.
func marshal(object any) string {
	text, err := yaml.Marshal(object)
	if err != nil {
		panic(err)
	}
	return string(text)
}
