package inventory

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Outcome is whether a DNS name resolves, and from when on.
type Outcome string

// The outcomes. A record of a headless Service, whose answers are its pods,
// resolves once one of them does.
const (
	// Always: as long as the Service exists.
	Always Outcome = "always"
	// OnceRunning: as soon as the pod has an address, ready or not.
	OnceRunning Outcome = "once-running"
	// OnceReady: as long as the pod is ready.
	OnceReady Outcome = "once-ready"
	// NotPromised: the specification doesn't say that it does.
	NotPromised Outcome = "not-promised"
	Never       Outcome = "never"
	// Unknown: it depends on something that was not read, or is not known
	// before pods run.
	Unknown Outcome = "unknown"
)

// resolves says whether there is a time at which it does.
func (o Outcome) resolves() bool { return o == Always || o == OnceRunning || o == OnceReady }

// The codes of reasons. Where a rule finds the same, the code is its id.
const (
	ReasonNameMissing      = "service-name-missing"
	ReasonServiceNotFound  = "service-not-found"
	ReasonExternalName     = "service-external-name"
	ReasonWithoutSelector  = "service-without-selector"
	ReasonSelectorMismatch = "selector-mismatch"
	ReasonNotHeadless      = "service-not-headless"
	ReasonNameTooLong      = "name-too-long"
	// ReasonOnlyOtherPods: the selector names another pod of the StatefulSet.
	ReasonOnlyOtherPods = "selects-only-other-pods"
	// ReasonRuntimeLabels: the selector is over labels of running pods.
	ReasonRuntimeLabels = "runtime-labels"
	// ReasonPodName: the API server refuses pods of that name.
	ReasonPodName = "pod-name-invalid"
	// ReasonDNSName: DNS has no room for the name.
	ReasonDNSName = "dns-name-too-long"
	// ReasonPort: no pod has the container port that the Service's port names.
	ReasonPort = "port-not-found"
	// ReasonAddress: the external name is an IP address.
	ReasonAddress = "external-name-is-address"
	// ReasonUnread: Services may not be read.
	ReasonUnread = "services-unread"
	// ReasonWorkloads: what else makes pods is not known.
	ReasonWorkloads = "other-pods-unknown"
)

// Reason is why a name is not guaranteed. The message is a sentence without a
// full stop.
type Reason struct{ Code, Message string }

// Prospect is what becomes of one name.
type Prospect struct {
	// Specification is what the Kubernetes DNS specification promises, CoreDNS
	// what that server answers as it is configured by default.
	Specification, CoreDNS Outcome
	// Reasons is empty for a name that is guaranteed.
	Reasons []Reason
}

// Guaranteed says whether every DNS server that keeps to the specification
// answers, once the pod is there.
func (p *Prospect) Guaranteed() bool { return p.Specification.resolves() && len(p.Reasons) == 0 }

// RecordType is the type of a DNS record.
type RecordType string

// The types of record. An address of IPv6 is an AAAA record in place of an A.
const (
	TypeA     RecordType = "A"
	TypeCNAME RecordType = "CNAME"
	TypeSRV   RecordType = "SRV"
)

// Record is all records of one name and type.
type Record struct {
	// Name is fully qualified, without the dot at its end.
	Name string
	Type RecordType
	Prospect
	// Addresses are the cluster IPs that an A record answers with. It has none
	// where it answers with the pods' addresses, or where the API server has
	// yet to give the cluster IP.
	Addresses []string
	// Target is what a CNAME or SRV record answers with. It is empty where an
	// SRV record answers with the names of the pods, one record for each.
	Target string
	// Port is what an SRV record of CoreDNS answers with: that of the pods,
	// which the specification takes to be that of the Service, if Target is
	// empty.
	Port int32
}

// PodRun are neighbours with the same prospect.
type PodRun struct {
	Run
	Prospect
}

// Zone is what else than the objects decides which names there are.
type Zone struct {
	// ClusterDomain is the cluster's DNS domain, such as cluster.local.
	ClusterDomain string
	// RuntimeLabels are the keys of labels that something adds to running pods.
	RuntimeLabels []string
	// NoServices says that Services could not be read, NoWorkloads that only
	// StatefulSets are known of all that makes pods.
	NoServices, NoWorkloads bool
}

// Names are the DNS names of one StatefulSet, predicted from what the objects
// say: the pods themselves are not looked at.
type Names struct {
	*Relation
	// Pods are all the StatefulSet's pods, in order. Where it has no replicas
	// it is the pod that would be first.
	Pods []PodRun
	// Service is the governing Service's own name. It has no name where there
	// is no serviceName.
	Service Record
	// Ports has an SRV record for each named port of the governing Service.
	Ports []Record
	// Selections tell of each of the other Services which pods it selects.
	// None of them gives a pod a name.
	Selections []Selection

	zone Zone
}

// Names predicts the DNS names of the StatefulSet's pods and its Service.
func (z Zone) Names(r Reader, set *StatefulSet) *Names {
	n := &Names{Relation: Relate(r, set), zone: z}
	pods := set.Pods()
	pods.Last = max(pods.Last, pods.First)
	var selector map[string]string
	if n.Governing != nil {
		selector = n.Governing.Selector
	}
	for _, run := range set.runs(pods, selector) {
		p := n.pod(run.First)
		if i := len(n.Pods) - 1; i >= 0 && reflect.DeepEqual(n.Pods[i].Prospect, p) {
			n.Pods[i].Last = run.Last
		} else {
			n.Pods = append(n.Pods, PodRun{run, p})
		}
	}
	for _, s := range n.Services {
		n.Selections = append(n.Selections, s.Selection(set, z.RuntimeLabels))
	}
	n.Service = n.service()
	n.Ports = n.ports()
	return n
}

// Guaranteed says whether the name of every pod is.
func (n *Names) Guaranteed() bool {
	return !slices.ContainsFunc(n.Pods, func(p PodRun) bool { return !p.Guaranteed() })
}

// Pod is the record of the pod of that ordinal. It has no name where there is
// no serviceName.
func (n *Names) Pod(ordinal int64) Record {
	return Record{Name: n.PodName(ordinal), Type: TypeA, Prospect: n.pod(ordinal)}
}

// PodName is the fully qualified name of the pod of that ordinal, empty where
// there is no serviceName.
func (n *Names) PodName(ordinal int64) string {
	if n.StatefulSet.ServiceName == "" {
		return ""
	}
	return n.StatefulSet.PodName(ordinal) + "." + n.serviceName()
}

func (n *Names) serviceName() string {
	return n.StatefulSet.ServiceName + "." + n.StatefulSet.Namespace + ".svc." + n.zone.ClusterDomain
}

// mostNameLength is how long a name in DNS may be, without the dot at its end,
// mostLabelLength how long each part of it.
const (
	mostNameLength  = validation.DNS1123SubdomainMaxLength
	mostLabelLength = validation.DNS1123LabelMaxLength
)

// mostRevisionHash and leastRevisionHash are how long the hash may be behind
// the StatefulSet's name and a dash in the label controller-revision-hash.
const leastRevisionHash, mostRevisionHash = 1, 10

// pod predicts the name of one pod. What keeps the pod from being created comes
// first, then what keeps the Service from giving it a name.
func (n *Names) pod(ordinal int64) Prospect {
	set := n.StatefulSet
	p := n.governed(ordinal)
	if len(n.PodName(ordinal)) > mostNameLength {
		p.never(ReasonDNSName, "its name is longer than the %d characters that DNS allows", mostNameLength)
	}
	switch name := set.PodName(ordinal); {
	case len(name) > mostLabelLength:
		p.never(ReasonNameTooLong, "the pod's name would be longer than %d characters, so the pod is never created", mostLabelLength)
	case len(validation.IsDNS1123Label(name)) > 0:
		p.never(ReasonPodName, "%q can't be a pod's hostname, so the pod is never created", name)
	case len(set.Name)+len("-")+leastRevisionHash > validation.LabelValueMaxLength:
		p.never(ReasonNameTooLong, "the StatefulSet's name is too long for the label %s, so its pods are never created", labelRevisionHash)
	case len(set.Name)+len("-")+mostRevisionHash > validation.LabelValueMaxLength:
		p.because(ReasonNameTooLong, "with a name of %d characters the pod may never be created: over 52 that depends on the revision's hash", len(set.Name))
	}
	slices.Reverse(p.Reasons)
	return p
}

// governed predicts what the governing Service does for the pod, the weightiest
// reason last.
func (n *Names) governed(ordinal int64) Prospect {
	set, s := n.StatefulSet, n.Governing
	p := Prospect{Specification: Unknown, CoreDNS: Unknown}
	switch {
	case set.ServiceName == "":
		p.never(ReasonNameMissing, "the StatefulSet has no serviceName, so its pods get no names of their own")
		return p
	case n.zone.NoServices:
		p.because(ReasonUnread, "it can't be told whether Service %q exists, is headless and selects the pods: may not list services in namespace %q", set.ServiceName, set.Namespace)
		return p
	case s == nil:
		message := fmt.Sprintf("there is no Service %q in namespace %q", set.ServiceName, set.Namespace)
		if len(n.NearMisses) > 0 {
			message += fmt.Sprintf("; did you mean %q?", n.NearMisses[0].Name)
		}
		p.never(ReasonServiceNotFound, "%s", message)
		return p
	case s.Type == "ExternalName":
		p.never(ReasonExternalName, "Service %q is an ExternalName, an alias for %q: it has no endpoints", s.Name, s.ExternalName)
		return p
	}
	p.CoreDNS = OnceReady
	if s.PublishNotReadyAddresses {
		p.CoreDNS = OnceRunning
	}
	p.Specification = p.CoreDNS
	if !s.Headless() {
		p.Specification = NotPromised
		p.because(ReasonNotHeadless, "Service %q has a cluster IP: the DNS specification promises pods names below headless Services only; CoreDNS makes them all the same, kube-dns doesn't", s.Name)
	}
	m := s.matchPod(set, ordinal, n.zone.RuntimeLabels)
	switch {
	case len(s.Selector) == 0:
		p.unknown(s)
		p.because(ReasonWithoutSelector, "Service %q has no selector, so Kubernetes makes no endpoints for it: only names that something else writes into endpoints resolve", s.Name)
	case len(m.differs) > 0 && m.onlyOther:
		p.never(ReasonOnlyOtherPods, "Service %q does not select the pod: %s", s.Name, strings.Join(m.differs, "; "))
	case len(m.differs) > 0:
		p.never(ReasonSelectorMismatch, "Service %q does not select the pods: %s", s.Name, strings.Join(m.differs, "; "))
	case len(m.unknown) > 0:
		p.unknown(s)
		p.because(ReasonRuntimeLabels, "Service %q selects by %s, which only running pods have, so it can't be told which it selects", s.Name, strings.Join(m.unknown, " and "))
	}
	return p
}

func (p *Prospect) because(code, format string, args ...any) {
	p.Reasons = append(p.Reasons, Reason{code, fmt.Sprintf(format, args...)})
}

func (p *Prospect) never(code, format string, args ...any) {
	p.Specification, p.CoreDNS = Never, Never
	p.because(code, format, args...)
}

// unknown says that it can't be told whether s gives the pod a name. What isn't
// promised is not for that.
func (p *Prospect) unknown(s *Service) {
	p.CoreDNS = Unknown
	if s.Headless() {
		p.Specification = Unknown
	}
}

// service predicts the governing Service's own name.
func (n *Names) service() Record {
	set, s := n.StatefulSet, n.Governing
	r := Record{Type: TypeA}
	if set.ServiceName != "" {
		r.Name = n.serviceName()
	}
	switch {
	case s == nil:
		r.Prospect = n.governed(set.Pods().First)
	case s.Type == "ExternalName":
		r.Type, r.Target = TypeCNAME, strings.TrimSuffix(s.ExternalName, ".")
		r.Specification, r.CoreDNS = Always, Always
		if _, err := netip.ParseAddr(s.ExternalName); err == nil {
			r.CoreDNS = Never
			r.because(ReasonAddress, "%q is an address, and CoreDNS makes aliases for names only", s.ExternalName)
		}
	case !s.Headless():
		r.Specification, r.CoreDNS = Always, Always
		r.Addresses = s.addresses()
	default:
		r.Prospect = n.anyPod(func(*StatefulSet) bool { return true })
	}
	if len(r.Name) > mostNameLength {
		r.never(ReasonDNSName, "the name is longer than the %d characters that DNS allows", mostNameLength)
	}
	return r
}

// addresses are the cluster IPs that are given already.
func (s *Service) addresses() []string {
	switch {
	case len(s.ClusterIPs) > 0:
		return s.ClusterIPs
	case s.ClusterIP != "":
		return []string{s.ClusterIP}
	}
	return nil
}

// ports predicts the SRV records.
func (n *Names) ports() []Record {
	s := n.Governing
	if s == nil || s.Type == "ExternalName" {
		return nil
	}
	var out []Record
	for _, port := range s.Ports {
		if port.Name == "" {
			continue
		}
		r := Record{Name: fmt.Sprintf("_%s._%s.%s", port.Name, strings.ToLower(port.Protocol), n.serviceName()), Type: TypeSRV}
		if s.Headless() {
			r.Port = port.PodPort(n.StatefulSet)
			r.Prospect = n.port(port)
		} else {
			r.Port, r.Target = port.Port, n.serviceName()
			r.Specification, r.CoreDNS = Always, Always
		}
		if len(r.Name) > mostNameLength || len("_"+port.Name) > mostLabelLength {
			r.never(ReasonDNSName, "the name, or a part of it, is longer than DNS allows")
		}
		out = append(out, r)
	}
	return out
}

// port predicts the SRV record of one port of a headless Service.
func (n *Names) port(port ServicePort) Prospect {
	has := func(set *StatefulSet) bool { return port.PodPort(set) != 0 }
	p := n.anyPod(has)
	if !has(n.StatefulSet) {
		p.because(ReasonPort, "port %q of Service %q stands for the container port %q, which the pods don't have with protocol %s", port.Name, n.Governing.Name, port.TargetPort, port.Protocol)
	}
	return p
}

// anyPod predicts a name that the headless governing Service has once one of
// its pods is there. Those of a StatefulSet count if has says so; of other
// pods nothing is known, for which it is asked with nil.
func (n *Names) anyPod(has func(*StatefulSet) bool) Prospect {
	s := n.Governing
	if len(s.Selector) == 0 {
		// Whatever somebody writes into its endpoints.
		return n.governed(n.Pods[0].First)
	}
	once := OnceReady
	if s.PublishNotReadyAddresses {
		once = OnceRunning
	}
	found := Never
	mayBe := func(o Outcome) {
		if found == Never || o.resolves() {
			found = o
		}
	}
	var reasons []Reason
	for _, p := range n.Pods {
		if has(n.StatefulSet) && p.CoreDNS != Never {
			mayBe(p.CoreDNS)
		}
	}
	if !slices.ContainsFunc(n.Pods, func(p PodRun) bool { return p.CoreDNS.resolves() }) {
		reasons = n.Pods[0].Reasons
	}
	for _, other := range n.Selected {
		selection := s.Selection(other, n.zone.RuntimeLabels)
		switch {
		case len(selection.Pods) == 0 || !has(other):
		case len(selection.Unknown) > 0:
			mayBe(Unknown)
		default:
			mayBe(once)
		}
	}
	switch {
	case len(n.Workloads) == 0:
	case has(nil):
		mayBe(once)
	default:
		mayBe(Unknown)
	}
	p := Prospect{Specification: found, CoreDNS: found}
	switch {
	case found.resolves():
	case found == Never && n.zone.NoWorkloads:
		p.Specification, p.CoreDNS = Unknown, Unknown
		p.because(ReasonWorkloads, "Service %q selects no pods of StatefulSets that it could answer with, and what else runs is not known", s.Name)
	default:
		p.Reasons = slices.Clone(reasons)
	}
	return p
}
