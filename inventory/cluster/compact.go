package cluster

import (
	"maps"

	"github.com/stsguard/stsguard/inventory"
)

// mostShared bounds the strings kept for sharing, lest somebody with many
// different ones fill the memory.
const mostShared = 10_000

// compactor makes objects that stay smaller: each string comes out of the
// decoder as a copy of its own, although most are the same in many objects, or
// several times in one. It is for a single goroutine.
type compactor struct {
	shared map[string]string
	// own are the strings of the object at hand.
	own []string
}

func newCompactor() *compactor { return &compactor{shared: map[string]string{}} }

func (c *compactor) service(s *inventory.Service) *inventory.Service {
	c.begin(&s.Meta)
	s.Type = c.share(s.Type)
	s.ClusterIP = c.unique(s.ClusterIP)
	if len(s.ClusterIPs) == 1 && s.ClusterIPs[0] == inventory.None {
		s.ClusterIPs = onlyNone
	}
	s.SessionAffinity = c.share(s.SessionAffinity)
	s.Selector = c.labels(s.Selector)
	for i := range s.Ports {
		p := &s.Ports[i]
		p.Name, p.Protocol, p.TargetPort = c.share(p.Name), c.share(p.Protocol), c.share(p.TargetPort)
	}
	return s
}

// onlyNone are the cluster IPs of most headless Services.
var onlyNone = []string{inventory.None}

func (c *compactor) statefulSet(s *inventory.StatefulSet) *inventory.StatefulSet {
	c.begin(&s.Meta)
	s.ServiceName = c.unique(s.ServiceName)
	s.PodManagementPolicy = c.share(s.PodManagementPolicy)
	s.PodLabels = c.labels(s.PodLabels)
	s.Selector = c.labels(s.Selector)
	s.Labels = c.labels(s.Labels)
	// More often than not these are equal.
	if maps.Equal(s.Selector, s.PodLabels) {
		s.Selector = s.PodLabels
	}
	if maps.Equal(s.Labels, s.PodLabels) {
		s.Labels = s.PodLabels
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		p.Name, p.Protocol = c.share(p.Name), c.share(p.Protocol)
	}
	return s
}

func (c *compactor) begin(m *inventory.Meta) {
	c.own = append(c.own[:0], m.Name)
	m.Namespace = c.share(m.Namespace)
}

func (c *compactor) labels(in map[string]string) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[c.share(k)] = c.unique(v)
	}
	return out
}

// share returns the same string for equal ones of all objects.
func (c *compactor) share(s string) string {
	if known, ok := c.shared[s]; ok {
		return known
	}
	if len(c.shared) == mostShared {
		// Most of these may be of namespaces that are long gone.
		clear(c.shared)
	}
	c.shared[s] = s
	return s
}

// unique returns the same string for equal ones of one object, or of all if
// it is shared already.
func (c *compactor) unique(s string) string {
	if known, ok := c.shared[s]; ok {
		return known
	}
	for _, known := range c.own {
		if known == s {
			return known
		}
	}
	c.own = append(c.own, s)
	return s
}
