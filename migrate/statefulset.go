package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// retain plans to let go of the claims: the StatefulSet's deletion is then none
// of theirs.
func (p *planner) retain() Step {
	return Step{
		Title:    "Keep the claims whatever becomes of the StatefulSet",
		Text:     []string{"No pod restarts. The StatefulSet says that its claims are deleted with it (persistentVolumeClaimRetentionPolicy.whenDeleted: Delete); that is suspended until the last step."},
		Commands: p.patchRetention(appsv1.RetainPersistentVolumeClaimRetentionPolicyType),
		Checks:   p.claimsOwnedBy("<none>"),
		Back:     Back{Commands: p.patchRetention(appsv1.DeletePersistentVolumeClaimRetentionPolicyType)},
	}
}

// restore plans to undo that.
func (p *planner) restore() Step {
	return Step{
		Title:    "Let the claims go with the StatefulSet again",
		Text:     []string{"No pod restarts. The StatefulSet says again what it said before."},
		Commands: p.patchRetention(appsv1.DeletePersistentVolumeClaimRetentionPolicyType),
		Checks:   p.claimsOwnedBy("StatefulSet"),
		Back:     Back{Commands: p.patchRetention(appsv1.RetainPersistentVolumeClaimRetentionPolicyType)},
	}
}

func (p *planner) patchRetention(policy appsv1.PersistentVolumeClaimRetentionPolicyType) string {
	patch := map[string]any{"spec": map[string]any{"persistentVolumeClaimRetentionPolicy": map[string]any{"whenDeleted": policy}}}
	return p.kubectl("patch statefulset %s --type=merge -p %s", p.set.Name, Quote(asJSON(patch)))
}

// file is where the StatefulSet's manifest goes.
func (p *planner) file() string { return "statefulset-" + p.set.Name + ".yaml" }

// write plans the manifest of the new StatefulSet, and to see that the API server
// would take it.
func (p *planner) write() Step {
	generation := p.set.Generation
	if p.deletesClaims() {
		generation++ // by the step before
	}
	return Step{
		Title: "Write the new StatefulSet down",
		Text: []string{
			fmt.Sprintf("No pod restarts. The file holds the StatefulSet as it is now, with serviceName: %s. Keep it until all is done.", p.to),
			fmt.Sprintf("The first check creates it in a dry run, under another name, to see that nothing would refuse it. The second one sees that the StatefulSet has not been changed or scaled since this plan was made: if it prints another number than %d, make a new plan.", generation),
		},
		Commands: fmt.Sprintf("cat > %s <<'EOF'\n%sEOF\n", p.file(), p.manifestOfSet()),
		Checks: []Check{
			{fmt.Sprintf("sed 's/^  name: .*/  name: dry-run/' %s | %s", p.file(), p.kubectl("create --dry-run=server -f -")), "statefulset.apps/dry-run created (server dry run)\n"},
			{p.kubectl(`get statefulset %s -o jsonpath='{.metadata.generation}{"\n"}'`, p.set.Name), fmt.Sprintf("%d\n", generation)},
		},
		Back: Back{Commands: "rm " + p.file() + "\n"},
	}
}

// manifestOfSet is the StatefulSet without what the API server gives it.
func (p *planner) manifestOfSet() string {
	metadata, spec := fields(p.object, "metadata"), fields(p.object, "spec")
	for _, key := range []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"} {
		delete(metadata, key)
	}
	if annotations := fields(metadata, "annotations"); len(annotations) > 0 {
		// kubectl create would write down every default as applied, and the next
		// apply take back what its manifest doesn't say, such as replicas.
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		metadata["annotations"] = annotations
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
	spec["serviceName"] = p.to
	if p.deletesClaims() {
		policy := fields(spec, "persistentVolumeClaimRetentionPolicy")
		policy["whenDeleted"] = string(appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
		spec["persistentVolumeClaimRetentionPolicy"] = policy
	}
	template := fields(spec, "template")
	template["metadata"] = withoutCreation(fields(template, "metadata"))
	spec["template"] = template
	if claims := list(spec["volumeClaimTemplates"]); len(claims) > 0 {
		var out []any
		for _, claim := range claims {
			if claim, ok := claim.(map[string]any); ok {
				claim = maps.Clone(claim)
				delete(claim, "status")
				claim["metadata"] = withoutCreation(fields(claim, "metadata"))
				out = append(out, claim)
			}
		}
		spec["volumeClaimTemplates"] = out
	}
	return marshal(map[string]any{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec})
}

// fields is a copy of an object's part, which may be absent.
func fields(object map[string]any, key string) map[string]any {
	part, _ := object[key].(map[string]any)
	if part == nil {
		return map[string]any{}
	}
	return maps.Clone(part)
}

func withoutCreation(metadata map[string]any) map[string]any {
	delete(metadata, "creationTimestamp")
	return metadata
}

// recreate plans the exchange of the StatefulSet.
func (p *planner) recreate() Step {
	text := []string{"No pod restarts. The pods go on without a StatefulSet for a moment, in which nobody replaces one that dies, and the new one takes them over as they are: their template is the same. Run both commands together."}
	if len(p.set.Spec.VolumeClaimTemplates) > 0 {
		text = append(text, "The claims stay, and belong to the pods by their names as before.")
	}
	text = append(text, "What finds the StatefulSet by its name, a HorizontalPodAutoscaler say, finds the new one.")
	return Step{
		Title:    "Exchange the StatefulSet, and leave its pods alone",
		Text:     text,
		Commands: p.orphan() + p.kubectl("create -f %s", p.file()),
		Checks:   append(p.adopted(), p.claimsBound()...),
		Back:     Back{Commands: p.orphan() + p.recreateOld()},
	}
}

func (p *planner) orphan() string {
	return p.kubectl("delete statefulset %s --cascade=orphan", p.set.Name)
}

// recreateOld is the command that creates the StatefulSet as it was.
func (p *planner) recreateOld() string {
	edit := "/^  serviceName: /d"
	if name := p.set.Spec.ServiceName; name != "" {
		edit = fmt.Sprintf(`s/^  serviceName: .*/  serviceName: "%s"/`, name)
	}
	return fmt.Sprintf("sed '%s' %s | %s", edit, p.file(), p.kubectl("create -f -"))
}

// adopted are checks that the new StatefulSet has the pods, and no reason to
// restart them.
func (p *planner) adopted() []Check {
	wait := func(field, value string) Check {
		return Check{
			p.kubectl("wait statefulset/%s --for=jsonpath='{.status.%s}'=%s --timeout=1m", p.set.Name, field, value),
			fmt.Sprintf("statefulset.apps/%s condition met\n", p.set.Name),
		}
	}
	out := []Check{wait("replicas", fmt.Sprint(len(p.pods)))}
	if revision := p.set.Status.UpdateRevision; revision != "" {
		out = append(out, wait("updateRevision", revision))
	}
	return out
}

const titleRestart = "Restart the pods"

// restart plans what gives the pods their new names.
func (p *planner) restart() Step {
	text := []string{
		fmt.Sprintf("Every pod restarts, one at a time, the last first. Only so does a pod get its name below %q: it is set when the pod is made. Until its turn it keeps the old one.", p.to),
	}
	if len(p.set.Spec.VolumeClaimTemplates) > 0 {
		text = append(text, "Each comes back with the claims that it had.")
	}
	if len(p.pods) == 1 {
		text = append(text, "There is only one: nobody serves meanwhile.")
	}
	if n := p.set.Spec.MinReadySeconds; n > 0 {
		text = append(text, fmt.Sprintf("The next one waits until it has been ready for %d seconds.", n))
	}
	text = append(text, "A PodDisruptionBudget does not hold this up.")
	step := Step{Title: titleRestart, Commands: p.restarting()}
	if manual := p.byHand(); manual != "" {
		text = append(text, manual)
	}
	rows := [][]string{{"NAME", "SUBDOMAIN"}}
	for _, name := range p.podNames() {
		rows = append(rows, []string{name, p.to})
	}
	step.Text = text
	step.Checks = append([]Check{{p.kubectl("get pods %s -o custom-columns=NAME:.metadata.name,SUBDOMAIN:.spec.subdomain", strings.Join(p.podNames(), " ")), table(rows...)}}, p.claimsBound()...)
	if p.wrote > 0 {
		step.Back = Back{Commands: p.orphan() + p.recreateOld() + p.restarting(), Then: p.wrote}
	}
	return step
}

// byHand says why a rollout would not restart all pods; empty if it would.
func (p *planner) byHand() string {
	strategy := p.set.Spec.UpdateStrategy
	switch {
	case strategy.Type == appsv1.OnDeleteStatefulSetStrategyType:
		return "The update strategy is OnDelete, so each pod is deleted by hand."
	case strategy.RollingUpdate != nil && strategy.RollingUpdate.Partition != nil && *strategy.RollingUpdate.Partition > 0:
		return fmt.Sprintf("The update strategy has the partition %d, below which a rollout restarts no pod, so each pod is deleted by hand.", *strategy.RollingUpdate.Partition)
	}
	return ""
}

func (p *planner) restarting() string {
	if p.byHand() == "" {
		return p.kubectl("rollout restart statefulset/%s", p.set.Name) + p.kubectl("rollout status statefulset/%s", p.set.Name)
	}
	names := p.podNames()
	slices.Reverse(names)
	uid := strings.TrimSpace(p.kubectl(`get pod "$pod" --ignore-not-found -o jsonpath={.metadata.uid}`))
	// kubectl before 1.36 can take the new pod for the old one and wait for ever
	// for its end, so this looks at the uid itself.
	return fmt.Sprintf("for pod in %s; do\n  old=$(%s) &&\n  %s &&\n  until new=$(%s) && [ -n \"$new\" ] && [ \"$new\" != \"$old\" ]; do sleep 1; done &&\n  %s || break\ndone\n",
		strings.Join(names, " "), uid,
		strings.TrimSpace(p.kubectl(`delete pod "$pod" --wait=false`)), uid,
		strings.TrimSpace(p.kubectl(`wait --for=condition=Ready "pod/$pod" --timeout=10m`)))
}

func (p *planner) podNames() []string {
	var out []string
	for _, pod := range p.pods {
		out = append(out, pod.Name)
	}
	return out
}

// namesResolve checks that the Service publishes the pods by their names, which
// is what DNS answers from.
func (p *planner) namesResolve() Check {
	names := p.podNames()
	slices.Sort(names)
	get := p.kubectl(`get endpointslices -l kubernetes.io/service-name=%s -o jsonpath='{range .items[*].endpoints[*]}{.hostname}{"\n"}{end}'`, p.to)
	return Check{
		fmt.Sprintf("%s | grep '^%s-[0-9]*$' | sort -u\n", strings.TrimSpace(get), p.set.Name),
		strings.Join(names, "\n") + "\n",
	}
}

// claims are those of the pods, by name.
func (p *planner) claims() []string {
	var out []string
	for _, pod := range p.pods {
		for _, claim := range p.set.Spec.VolumeClaimTemplates {
			out = append(out, claim.Name+"-"+pod.Name)
		}
	}
	return out
}

func (p *planner) claimsOwnedBy(kind string) []Check {
	return p.claimsHave("OWNER", ".metadata.ownerReferences[*].kind", kind)
}

func (p *planner) claimsBound() []Check {
	return p.claimsHave("STATUS", ".status.phase", string(corev1.ClaimBound))
}

func (p *planner) claimsHave(column, path, value string) []Check {
	names := p.claims()
	if len(names) == 0 {
		return nil
	}
	rows := [][]string{{"NAME", column}}
	for _, name := range names {
		rows = append(rows, []string{name, value})
	}
	get := p.kubectl("get persistentvolumeclaims %s -o 'custom-columns=NAME:.metadata.name,%s:%s'", strings.Join(names, " "), column, path)
	return []Check{{get, table(rows...)}}
}

// table is what kubectl makes of custom columns.
func table(rows ...[]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 6, 4, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // to a strings.Builder, which takes all
	return b.String()
}

// Quote makes one word of bash out of a text.
func Quote(text string) string {
	if text != "" && strings.IndexFunc(text, special) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func special(r rune) bool {
	return !strings.ContainsRune("-_./:@%+=,", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// asJSON is for what is known to be JSON.
func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// asMap is an object with its fields by their names.
func asMap(v any) map[string]any {
	var out map[string]any
	if err := json.Unmarshal([]byte(asJSON(v)), &out); err != nil {
		panic(err)
	}
	return out
}
