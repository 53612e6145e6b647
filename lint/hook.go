package lint

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
)

// hook is when Helm sends an object: most are none of its hooks and have the
// zero value.
type hook struct {
	// phase is negative before those that are none, and positive after them.
	phase, weight int
	// name decides between hooks of one weight.
	name string
	// anew says that Helm deletes what is there and creates it again.
	anew bool
}

// hookOf reads the annotations of an object. It says false if neither an
// install nor an upgrade sends it.
func hookOf(set *manifest.Set, ref inventory.Ref, name string) (hook, bool) {
	events := list(set.Annotation(ref, "helm.sh/hook"))
	if len(events) == 0 {
		return hook{}, true
	}
	h := hook{name: name}
	switch {
	case slices.Contains(events, "pre-install") || slices.Contains(events, "pre-upgrade"):
		h.phase = -1
	case slices.Contains(events, "post-install") || slices.Contains(events, "post-upgrade"):
		h.phase = 1
	default:
		return hook{}, false
	}
	// Helm takes what is no number for 0.
	h.weight, _ = strconv.Atoi(set.Annotation(ref, "helm.sh/hook-weight"))
	policies := list(set.Annotation(ref, "helm.sh/hook-delete-policy"))
	h.anew = len(policies) == 0 || slices.Contains(policies, "before-hook-creation")
	return h, true
}

// list reads an annotation with several values.
func list(annotation string) []string {
	if annotation == "" {
		return nil
	}
	var out []string
	for v := range strings.SplitSeq(annotation, ",") {
		out = append(out, strings.ToLower(strings.TrimSpace(v)))
	}
	return out
}

func (h hook) compare(other hook) int {
	return cmp.Or(cmp.Compare(h.phase, other.phase), cmp.Compare(h.weight, other.weight), cmp.Compare(h.name, other.name))
}
