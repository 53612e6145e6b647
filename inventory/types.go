// Package inventory answers what exists: StatefulSets, Services and
// Namespaces, how they relate, and nothing else. Its types are compact values
// that hold only what a rule may look at, wherever the objects come from:
// manifests, a cluster's watch, or an admission request.
//
// Objects are never changed once they are in a [Store]; whoever reads one may
// keep it.
package inventory

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Kind is the kind of an object that stsguard judges.
type Kind string

// The kinds that a rule reports on.
const (
	KindService     Kind = "Service"
	KindStatefulSet Kind = "StatefulSet"
)

// APIVersion is the one to use for the kind; empty for other kinds.
func (k Kind) APIVersion() string {
	switch k {
	case KindService:
		return "v1"
	case KindStatefulSet:
		return "apps/v1"
	}
	return ""
}

// AnnotationPrefix is the prefix of every annotation and label that speaks to
// stsguard. Other annotations are not kept.
const AnnotationPrefix = "stsguard.dev/"

// None is the cluster IP of a headless Service.
const None = "None"

// Ref names one object within one inventory. It is opaque: manifests can hold
// several objects of the same kind, namespace and name.
type Ref string

// Place is where a manifest holds an object. Objects of a cluster have none.
type Place struct {
	// File is the path of the file, unique among all inputs.
	File string
	// Dir is the absolute, clean, slash-separated path of the file's
	// directory; standard input has none.
	Dir string
	// Index counts objects through all inputs, from 1.
	Index int
}

// Meta is what Services and StatefulSets have in common.
type Meta struct {
	Namespace string
	Name      string
	// Place is nil for an object of a cluster.
	Place *Place
	// Annotations holds those with [AnnotationPrefix] only.
	Annotations map[string]string
	// Controller is the managing owner as Kind/name, empty if there is none.
	Controller string
	// Deleting says that a deletion timestamp is set.
	Deleting bool
}

// Service is a core/v1 Service with the API server's defaults applied.
type Service struct {
	Meta
	// Type is ClusterIP, NodePort, LoadBalancer or ExternalName.
	Type string
	// ClusterIP is empty as long as none is given or allocated.
	ClusterIP    string
	ClusterIPs   []string
	ExternalName string
	// Selector is nil when it is absent or empty: no endpoints are made.
	Selector                 map[string]string
	PublishNotReadyAddresses bool
	// SessionAffinity is None or ClientIP.
	SessionAffinity string
	ExternalIPs     []string
	Ports           []ServicePort
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name     string
	Protocol string
	Port     int32
	// TargetPort is a number or the name of a container port; the API server
	// defaults it to Port.
	TargetPort string
	NodePort   int32
}

// StatefulSet is an apps StatefulSet with the API server's defaults applied.
type StatefulSet struct {
	Meta
	Labels      map[string]string
	ServiceName string
	// Selector holds the matchLabels of spec.selector.
	Selector  map[string]string
	PodLabels map[string]string
	Replicas  int32
	// ReplicasUnset says that the number is the API server's default.
	ReplicasUnset       bool
	OrdinalsStart       int32
	PodManagementPolicy string
	// Ports are those of all containers, in order, then those of sidecars.
	Ports []ContainerPort
	// MentionsPeers says that a command, an argument, an environment variable
	// or a probe looks a pod's name up below the governing Service,
	// MentionsOwnPods that it may be one of the StatefulSet's own pods.
	MentionsPeers, MentionsOwnPods bool
}

// ContainerPort is one port of a container.
type ContainerPort struct {
	Name     string
	Protocol string
	Port     int32
}

// Workload is anything else that makes pods: a Deployment, a DaemonSet, a bare
// Pod.
type Workload struct {
	Meta
	Kind      Kind
	PodLabels map[string]string
}

// Namespace is a core/v1 Namespace.
type Namespace struct {
	Name string
	// Labels holds those with [AnnotationPrefix] only.
	Labels      map[string]string
	Terminating bool
}

// Items counts what a Service has any number of: ports, labels and the like. No
// Service has none.
func (s *Service) Items() int {
	if s == nil {
		return 0
	}
	return len(s.Annotations) + len(s.ClusterIPs) + len(s.Selector) + len(s.ExternalIPs) + len(s.Ports)
}

// Items counts what a StatefulSet has any number of: ports, labels and the like. No
// StatefulSet has none.
func (s *StatefulSet) Items() int {
	if s == nil {
		return 0
	}
	return len(s.Annotations) + len(s.Labels) + len(s.Selector) + len(s.PodLabels) + len(s.Ports)
}

// Headless says whether the Service has no cluster IP by its own word. An
// ExternalName is not headless.
func (s *Service) Headless() bool {
	return s.ClusterIP == None && s.Type != "ExternalName"
}

// Undecided says whether the API server has yet to give the Service a cluster
// IP, or would, if this manifest were applied.
func (s *Service) Undecided() bool {
	return s.ClusterIP == "" && s.Type != "ExternalName"
}

// Selects says whether some pod of set is one of the Service's. A Service
// without selector, or of type ExternalName, selects none.
func (s *Service) Selects(set *StatefulSet) bool {
	if len(s.Selector) == 0 || s.Type == "ExternalName" {
		return false
	}
	for k, v := range s.Selector {
		if !set.podsCarry(k, v) {
			return false
		}
	}
	return true
}

// Unmatched are the keys of the selector, sorted, that no pod of set has with
// that value.
func (s *Service) Unmatched(set *StatefulSet) []string {
	var out []string
	for k, v := range s.Selector {
		if !set.podsCarry(k, v) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// SelectsWorkload says whether the Service selects the workload's pods.
func (s *Service) SelectsWorkload(w *Workload) bool {
	if len(s.Selector) == 0 || s.Type == "ExternalName" {
		return false
	}
	for k, v := range s.Selector {
		if got, ok := w.PodLabels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// PodPort is the number of the pod's port that this port stands for, with a
// name looked up in the containers of set; 0 when it can't be told. The set
// may be nil.
func (p ServicePort) PodPort(set *StatefulSet) int32 {
	if n, err := strconv.ParseInt(p.TargetPort, 10, 32); err == nil {
		return int32(n)
	}
	if set == nil {
		return 0
	}
	for _, c := range set.Ports {
		if c.Name == p.TargetPort && c.Protocol == p.Protocol {
			return c.Port
		}
	}
	return 0
}

// Over fills in what an apply over the live Service leaves as it is: what others
// wrote, and the addresses that the API server gave it.
func (s *Service) Over(live *Service) {
	s.over(&live.Meta)
	if s.Type == "ExternalName" || live.Type == "ExternalName" {
		return
	}
	if s.ClusterIP == "" && len(s.ClusterIPs) == 0 {
		s.ClusterIP, s.ClusterIPs = live.ClusterIP, live.ClusterIPs
	}
	if s.Type == "ClusterIP" {
		return
	}
	s.Ports = slices.Clone(s.Ports)
	for i := range s.Ports {
		p := &s.Ports[i]
		for _, old := range live.Ports {
			if p.NodePort == 0 && p.Port == old.Port && p.Protocol == old.Protocol {
				p.NodePort = old.NodePort
			}
		}
	}
}

// Over fills in what an apply over the live StatefulSet leaves as it is.
func (s *StatefulSet) Over(live *StatefulSet) {
	s.over(&live.Meta)
	if s.ReplicasUnset {
		// An autoscaler may have set them.
		s.Replicas = live.Replicas
	}
}

func (m *Meta) over(live *Meta) {
	annotations := maps.Clone(live.Annotations)
	if annotations == nil {
		annotations = m.Annotations
	} else {
		maps.Copy(annotations, m.Annotations)
	}
	m.Annotations = annotations
	m.Controller = cmp.Or(m.Controller, live.Controller)
	m.Deleting = live.Deleting
}

// Ref names the Service within its inventory.
func (s *Service) Ref() Ref { return s.ref(KindService) }

// Ref names the StatefulSet within its inventory.
func (s *StatefulSet) Ref() Ref { return s.ref(KindStatefulSet) }

// Ref names the Workload within its inventory.
func (w *Workload) Ref() Ref { return w.ref(w.Kind) }

func (m *Meta) ref(k Kind) Ref {
	r := string(k) + "/" + m.Namespace + "/" + m.Name
	if m.Place != nil {
		r += "#" + strconv.Itoa(m.Place.Index)
	}
	return Ref(r)
}

// Split takes a Ref apart into what a person would call the object.
func (r Ref) Split() (kind Kind, namespace, name string) {
	s, _, _ := strings.Cut(string(r), "#")
	k, rest, _ := strings.Cut(s, "/")
	namespace, name, _ = strings.Cut(rest, "/")
	return Kind(k), namespace, name
}

// The labels that controllers add to a StatefulSet's running pods. A selector
// over them selects a subset of the pods.
const (
	labelPodName      = "statefulset.kubernetes.io/pod-name"
	labelPodIndex     = "apps.kubernetes.io/pod-index"
	labelRevisionHash = "controller-revision-hash"
)

// podsCarry says whether some pod of the set has the label, from the template or
// from a controller. Which ordinals there will be is not held against it:
// replicas change.
func (s *StatefulSet) podsCarry(key, value string) bool {
	if got, ok := s.PodLabels[key]; ok && got == value {
		return true
	}
	switch key {
	case labelPodName:
		name, ok := setOfPod(value)
		return ok && name == s.Name
	case labelPodIndex:
		return isOrdinal(value)
	case labelRevisionHash:
		return strings.HasPrefix(value, s.Name+"-")
	}
	return false
}

// setOfPod takes the ordinal off a pod's name.
func setOfPod(pod string) (set string, ok bool) {
	i := strings.LastIndexByte(pod, '-')
	if i < 1 {
		return "", false
	}
	return pod[:i], isOrdinal(pod[i+1:])
}

// isOrdinal says whether the text is an ordinal as Kubernetes writes it.
func isOrdinal(text string) bool {
	n, err := strconv.ParseInt(text, 10, 32)
	return err == nil && n >= 0 && strconv.FormatInt(n, 10) == text
}
