package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Run is a run of a StatefulSet's pods, by ordinal.
type Run struct{ First, Last int64 }

// Len is how many pods there are in the run.
func (r Run) Len() int64 { return r.Last - r.First + 1 }

// Pods are the ordinals of the StatefulSet's pods. The run of one without
// replicas is empty: its Last is before its First.
func (s *StatefulSet) Pods() Run {
	first := int64(s.OrdinalsStart)
	return Run{first, first + max(0, int64(s.Replicas)) - 1}
}

// PodName is the name of the pod of that ordinal, which is its hostname too.
func (s *StatefulSet) PodName(ordinal int64) string {
	return s.Name + "-" + strconv.FormatInt(ordinal, 10)
}

// runs cuts r where pods may begin to differ for the selector: at the pods that
// it names, and where pod names grow by a digit.
func (s *StatefulSet) runs(r Run, selector map[string]string) []Run {
	cuts := []int64{r.First}
	cut := func(at int64) {
		if at > r.First && at <= r.Last {
			cuts = append(cuts, at)
		}
	}
	for power := int64(10); power <= r.Last; power *= 10 {
		cut(power)
	}
	for _, key := range []string{labelPodName, labelPodIndex} {
		if n, ok := s.podNamed(key, selector[key]); ok {
			cut(n)
			cut(n + 1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	out := make([]Run, 0, len(cuts))
	for i, first := range cuts {
		last := r.Last
		if i+1 < len(cuts) {
			last = cuts[i+1] - 1
		}
		if last >= first {
			out = append(out, Run{first, last})
		}
	}
	return out
}

// podNamed is the ordinal of the only pod that can have the label, for the
// labels that tell pods apart.
func (s *StatefulSet) podNamed(key, value string) (ordinal int64, ok bool) {
	switch key {
	case labelPodName:
		text, found := strings.CutPrefix(value, s.Name+"-")
		if !found {
			return 0, false
		}
		value = text
	case labelPodIndex:
	default:
		return 0, false
	}
	if !isOrdinal(value) {
		return 0, false
	}
	ordinal, err := strconv.ParseInt(value, 10, 64)
	return ordinal, err == nil
}

// match holds a selector against one pod.
type match struct {
	// differs says in words, in the order of their keys, which labels the pod
	// doesn't have with that value. onlyOther says that another pod of the
	// StatefulSet may have those.
	differs   []string
	onlyOther bool
	// unknown are the keys whose values on the running pod can't be told.
	unknown []string
}

// matchPod holds the Service's selector against the pod of that ordinal. Labels
// that something adds to running pods, by the keys in atRuntime, can't be told.
func (s *Service) matchPod(set *StatefulSet, ordinal int64, atRuntime []string) match {
	m := match{onlyOther: true}
	for _, key := range slices.Sorted(maps.Keys(s.Selector)) {
		want := s.Selector[key]
		got, has := set.PodLabels[key]
		switch {
		case key == labelPodName || key == labelPodIndex:
			// The controller sets them over what the template says.
			n, ok := set.podNamed(key, want)
			switch {
			case ok && n == ordinal:
			case ok:
				m.differs = append(m.differs, fmt.Sprintf("it selects %s=%s, which only pod %q has", key, want, set.PodName(n)))
			default:
				m.differs = append(m.differs, fmt.Sprintf("it selects %s=%s, which no pod of StatefulSet %q has", key, want, set.Name))
				m.onlyOther = false
			}
		case key == labelRevisionHash:
			if strings.HasPrefix(want, set.Name+"-") {
				m.unknown = append(m.unknown, key)
			} else {
				m.differs = append(m.differs, fmt.Sprintf("it selects %s=%s, which no pod of StatefulSet %q has", key, want, set.Name))
				m.onlyOther = false
			}
		case has && got == want:
		case slices.Contains(atRuntime, key):
			m.unknown = append(m.unknown, key)
		case has:
			m.differs = append(m.differs, fmt.Sprintf("it selects %s=%s, but the pods have %s=%s", key, want, key, got))
			m.onlyOther = false
		default:
			m.differs = append(m.differs, fmt.Sprintf("it selects %s=%s, but the pods have no label %s", key, want, key))
			m.onlyOther = false
		}
	}
	return m
}

// Selection is which pods of a StatefulSet a Service selects.
type Selection struct {
	Service *Service
	// Pods are the runs that it selects, in order.
	Pods []Run
	// Unknown are the keys of labels whose values on running pods decide
	// whether these are selected at all.
	Unknown []string
}

// Selection tells which pods of set the Service selects, as their template and
// their ordinals have it. Labels that something adds to running pods, by the
// keys in atRuntime, are unknown.
func (s *Service) Selection(set *StatefulSet, atRuntime []string) Selection {
	out := Selection{Service: s}
	if len(s.Selector) == 0 || s.Type == "ExternalName" {
		return out
	}
	for _, r := range set.runs(set.Pods(), s.Selector) {
		m := s.matchPod(set, r.First, atRuntime)
		if len(m.differs) > 0 {
			continue
		}
		out.Unknown = m.unknown
		if i := len(out.Pods) - 1; i >= 0 && out.Pods[i].Last == r.First-1 {
			out.Pods[i].Last = r.Last
		} else {
			out.Pods = append(out.Pods, r)
		}
	}
	return out
}
