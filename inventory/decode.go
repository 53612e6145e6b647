package inventory

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/json"
)

// FromService reads a typed Service.
func FromService(s *corev1.Service) *Service {
	return newService(metaOf(&s.ObjectMeta), &serviceSpec{
		Type:                     s.Spec.Type,
		ClusterIP:                s.Spec.ClusterIP,
		ClusterIPs:               s.Spec.ClusterIPs,
		ExternalName:             s.Spec.ExternalName,
		Selector:                 s.Spec.Selector,
		PublishNotReadyAddresses: s.Spec.PublishNotReadyAddresses,
		SessionAffinity:          s.Spec.SessionAffinity,
		ExternalIPs:              s.Spec.ExternalIPs,
		Ports:                    s.Spec.Ports,
	})
}

// FromStatefulSet reads a typed StatefulSet.
func FromStatefulSet(s *appsv1.StatefulSet) *StatefulSet {
	spec := statefulSetSpec{
		ServiceName:         s.Spec.ServiceName,
		Replicas:            s.Spec.Replicas,
		Ordinals:            s.Spec.Ordinals,
		PodManagementPolicy: s.Spec.PodManagementPolicy,
	}
	if s.Spec.Selector != nil {
		spec.Selector.MatchLabels = s.Spec.Selector.MatchLabels
	}
	spec.Template.Metadata.Labels = s.Spec.Template.Labels
	pod := &s.Spec.Template.Spec
	spec.Template.Spec.InitContainers = narrowContainers(pod.InitContainers)
	spec.Template.Spec.Containers = narrowContainers(pod.Containers)
	return newStatefulSet(metaOf(&s.ObjectMeta), s.Labels, &spec)
}

// FromNamespace reads a typed Namespace.
func FromNamespace(n *corev1.Namespace) *Namespace {
	return &Namespace{
		Name:        n.Name,
		Labels:      ours(n.Labels),
		Terminating: n.DeletionTimestamp != nil,
	}
}

// ServiceJSON is a Service as it stands in JSON, for whoever decodes one as a
// part of something else. Fields that no rule looks at are skipped unread.
type ServiceJSON struct {
	Metadata narrowMeta  `json:"metadata"`
	Spec     serviceSpec `json:"spec"`
}

// Service is what was decoded.
func (s *ServiceJSON) Service() *Service { return newService(s.Metadata.meta(), &s.Spec) }

// StatefulSetJSON is a StatefulSet as it stands in JSON, for whoever decodes
// one as a part of something else. Fields that no rule looks at are skipped
// unread.
type StatefulSetJSON struct {
	Metadata narrowMeta      `json:"metadata"`
	Spec     statefulSetSpec `json:"spec"`
}

// StatefulSet is what was decoded.
func (s *StatefulSetJSON) StatefulSet() *StatefulSet {
	return newStatefulSet(s.Metadata.meta(), s.Metadata.Labels, &s.Spec)
}

// DecodeService reads a Service from JSON.
func DecodeService(data []byte) (*Service, error) {
	var s ServiceJSON
	if err := decode(data, &s); err != nil {
		return nil, fmt.Errorf("decode Service: %w", err)
	}
	return s.Service(), nil
}

// DecodeStatefulSet reads a StatefulSet from JSON.
func DecodeStatefulSet(data []byte) (*StatefulSet, error) {
	var s StatefulSetJSON
	if err := decode(data, &s); err != nil {
		return nil, fmt.Errorf("decode StatefulSet: %w", err)
	}
	return s.StatefulSet(), nil
}

// decode reads JSON as the API server does: keys are case-sensitive. A null
// where an object is expected is refused, since it would pass for an empty one.
func decode(data []byte, into any) error {
	if t := strings.TrimSpace(string(data[:min(len(data), 64)])); !strings.HasPrefix(t, "{") {
		return fmt.Errorf("not a JSON object")
	}
	return json.UnmarshalCaseSensitivePreserveInts(data, into)
}

type narrowMeta struct {
	Name              string                  `json:"name"`
	GenerateName      string                  `json:"generateName"`
	Namespace         string                  `json:"namespace"`
	Labels            map[string]string       `json:"labels"`
	Annotations       map[string]string       `json:"annotations"`
	OwnerReferences   []metav1.OwnerReference `json:"ownerReferences"`
	DeletionTimestamp *metav1.Time            `json:"deletionTimestamp"`
}

type serviceSpec struct {
	Type                     corev1.ServiceType     `json:"type"`
	ClusterIP                string                 `json:"clusterIP"`
	ClusterIPs               []string               `json:"clusterIPs"`
	ExternalName             string                 `json:"externalName"`
	Selector                 map[string]string      `json:"selector"`
	PublishNotReadyAddresses bool                   `json:"publishNotReadyAddresses"`
	SessionAffinity          corev1.ServiceAffinity `json:"sessionAffinity"`
	ExternalIPs              []string               `json:"externalIPs"`
	Ports                    []corev1.ServicePort   `json:"ports"`
}

type statefulSetSpec struct {
	ServiceName         string                         `json:"serviceName"`
	Replicas            *int32                         `json:"replicas"`
	Ordinals            *appsv1.StatefulSetOrdinals    `json:"ordinals"`
	PodManagementPolicy appsv1.PodManagementPolicyType `json:"podManagementPolicy"`
	Selector            struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	Template struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
		Spec struct {
			InitContainers []container `json:"initContainers"`
			Containers     []container `json:"containers"`
		} `json:"spec"`
	} `json:"template"`
}

type container struct {
	RestartPolicy  *corev1.ContainerRestartPolicy `json:"restartPolicy"`
	Command        []string                       `json:"command"`
	Args           []string                       `json:"args"`
	Env            []envVar                       `json:"env"`
	Ports          []corev1.ContainerPort         `json:"ports"`
	LivenessProbe  *handlers                      `json:"livenessProbe"`
	ReadinessProbe *handlers                      `json:"readinessProbe"`
	StartupProbe   *handlers                      `json:"startupProbe"`
	Lifecycle      *struct {
		PostStart *handlers `json:"postStart"`
		PreStop   *handlers `json:"preStop"`
	} `json:"lifecycle"`
}

type envVar struct {
	Value string `json:"value"`
}

// handlers is what a probe or a lifecycle hook does.
type handlers struct {
	Exec *struct {
		Command []string `json:"command"`
	} `json:"exec"`
}

func newService(m Meta, s *serviceSpec) *Service {
	out := &Service{
		Meta:                     m,
		Type:                     string(s.Type),
		ClusterIP:                s.ClusterIP,
		ClusterIPs:               s.ClusterIPs,
		ExternalName:             s.ExternalName,
		PublishNotReadyAddresses: s.PublishNotReadyAddresses,
		SessionAffinity:          string(s.SessionAffinity),
		ExternalIPs:              s.ExternalIPs,
	}
	if len(s.Selector) > 0 {
		out.Selector = s.Selector
	}
	if out.Type == "" {
		out.Type = string(corev1.ServiceTypeClusterIP)
	}
	if out.SessionAffinity == "" {
		out.SessionAffinity = string(corev1.ServiceAffinityNone)
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		port := ServicePort{
			Name:       p.Name,
			Protocol:   string(p.Protocol),
			Port:       p.Port,
			TargetPort: p.TargetPort.String(),
			NodePort:   p.NodePort,
		}
		if port.Protocol == "" {
			port.Protocol = string(corev1.ProtocolTCP)
		}
		if port.TargetPort == "" || port.TargetPort == "0" {
			port.TargetPort = fmt.Sprint(p.Port)
		}
		out.Ports = append(out.Ports, port)
	}
	return out
}

func newStatefulSet(m Meta, labels map[string]string, s *statefulSetSpec) *StatefulSet {
	out := &StatefulSet{
		Meta:                m,
		Labels:              labels,
		ServiceName:         s.ServiceName,
		Selector:            s.Selector.MatchLabels,
		PodLabels:           s.Template.Metadata.Labels,
		Replicas:            1,
		PodManagementPolicy: string(s.PodManagementPolicy),
	}
	if s.Replicas != nil {
		out.Replicas = *s.Replicas
	} else {
		out.ReplicasUnset = true
	}
	if s.Ordinals != nil {
		out.OrdinalsStart = s.Ordinals.Start
	}
	if out.PodManagementPolicy == "" {
		out.PodManagementPolicy = string(appsv1.OrderedReadyPodManagement)
	}
	for i := range s.Template.Spec.Containers {
		out.addPorts(&s.Template.Spec.Containers[i])
	}
	for i := range s.Template.Spec.InitContainers {
		// Such a one is a sidecar, and runs as long as the others.
		c := &s.Template.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out.addPorts(c)
		}
	}
	out.MentionsPeers, out.MentionsOwnPods = s.mentions(out.Name)
	return out
}

func (s *StatefulSet) addPorts(c *container) {
	for _, p := range c.Ports {
		port := ContainerPort{Name: p.Name, Protocol: string(p.Protocol), Port: p.ContainerPort}
		if port.Protocol == "" {
			port.Protocol = string(corev1.ProtocolTCP)
		}
		s.Ports = append(s.Ports, port)
	}
}

// mentions says what the containers look up directly below the governing
// Service: some pod's name, as in "web-0.nginx", and one that is, or may be, a
// pod's of the StatefulSet, as in "$(POD_NAME).nginx.default.svc".
func (s *statefulSetSpec) mentions(set string) (peers, own bool) {
	if s.ServiceName == "" {
		return false, false
	}
	look := func(text string) bool {
		for {
			before, rest, found := strings.Cut(text, "."+s.ServiceName)
			if !found {
				return own
			}
			if !continuesName(rest) {
				of, ok := podBefore(before)
				peers = peers || ok
				own = own || ok && (of == "" || of == set)
			}
			text = rest
		}
	}
	for _, list := range [][]container{s.Template.Spec.InitContainers, s.Template.Spec.Containers} {
		for i := range list {
			if list[i].anyText(look) {
				return peers, own
			}
		}
	}
	return peers, own
}

// podBefore says whether text ends in a pod's name, and of which StatefulSet;
// that is empty where the name is put together only when the container runs. A
// word that is no pod's name is part of something else: a package, a file, a
// host outside.
func podBefore(text string) (set string, ok bool) {
	word := strings.LastIndexFunc(text, func(r rune) bool { return !isWord(r) }) + 1
	if word > 0 && strings.IndexByte("$%)}]`", text[word-1]) >= 0 {
		return "", true
	}
	return setOfPod(text[word:])
}

// isWord says whether a name or a variable can have the character.
func isWord(r rune) bool {
	return r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// continuesName says whether text goes on with the DNS label before it.
func continuesName(text string) bool {
	if text == "" {
		return false
	}
	return isWord(rune(text[0]))
}

func (c *container) anyText(match func(string) bool) bool {
	lists := [][]string{c.Command, c.Args}
	hooks := []*handlers{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe}
	if c.Lifecycle != nil {
		hooks = append(hooks, c.Lifecycle.PostStart, c.Lifecycle.PreStop)
	}
	for _, h := range hooks {
		if h != nil && h.Exec != nil {
			lists = append(lists, h.Exec.Command)
		}
	}
	for _, list := range lists {
		for _, text := range list {
			if match(text) {
				return true
			}
		}
	}
	for _, e := range c.Env {
		if match(e.Value) {
			return true
		}
	}
	return false
}

func narrowContainers(in []corev1.Container) []container {
	out := make([]container, len(in))
	for i := range in {
		c := &in[i]
		n := container{RestartPolicy: c.RestartPolicy, Command: c.Command, Args: c.Args, Ports: c.Ports}
		for _, e := range c.Env {
			n.Env = append(n.Env, envVar{Value: e.Value})
		}
		n.LivenessProbe = narrowProbe(c.LivenessProbe)
		n.ReadinessProbe = narrowProbe(c.ReadinessProbe)
		n.StartupProbe = narrowProbe(c.StartupProbe)
		if c.Lifecycle != nil {
			n.Lifecycle = &struct {
				PostStart *handlers `json:"postStart"`
				PreStop   *handlers `json:"preStop"`
			}{narrowHook(c.Lifecycle.PostStart), narrowHook(c.Lifecycle.PreStop)}
		}
		out[i] = n
	}
	return out
}

func narrowProbe(p *corev1.Probe) *handlers {
	if p == nil {
		return nil
	}
	return narrowExec(p.Exec)
}

func narrowHook(h *corev1.LifecycleHandler) *handlers {
	if h == nil {
		return nil
	}
	return narrowExec(h.Exec)
}

func narrowExec(e *corev1.ExecAction) *handlers {
	if e == nil {
		return nil
	}
	return &handlers{Exec: &struct {
		Command []string `json:"command"`
	}{e.Command}}
}

func metaOf(m *metav1.ObjectMeta) Meta {
	n := narrowMeta{
		Name:              m.Name,
		Namespace:         m.Namespace,
		Annotations:       m.Annotations,
		OwnerReferences:   m.OwnerReferences,
		DeletionTimestamp: m.DeletionTimestamp,
	}
	return n.meta()
}

func (n *narrowMeta) meta() Meta {
	m := Meta{
		Namespace:   n.Namespace,
		Name:        n.Name,
		Annotations: ours(n.Annotations),
		Deleting:    n.DeletionTimestamp != nil,
	}
	for _, o := range n.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			m.Controller = o.Kind + "/" + o.Name
		}
	}
	return m
}

// ours keeps the labels or annotations that speak to stsguard.
func ours(all map[string]string) map[string]string {
	var out map[string]string
	for k, v := range all {
		if strings.HasPrefix(k, AnnotationPrefix) {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}
