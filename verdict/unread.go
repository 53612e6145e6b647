package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
)

// Without keeps the decisions that stand even though some of the namespace's
// Services or StatefulSets may not be read: those of rules that look at the
// StatefulSet alone.
func (j *Judge) Without(decisions []Decision) []Decision {
	return slices.DeleteFunc(decisions, func(d Decision) bool { return !standsAlone(d.Rule) })
}

// NotJudged says which rules were not judged for want of a permission.
func (j *Judge) NotJudged(missing inventory.Permission) error {
	var ids []string
	for _, r := range j.engine.Catalog {
		if !standsAlone(r) {
			ids = append(ids, r.ID)
		}
	}
	return fmt.Errorf("not judged for want of the permission to %s: %s", missing, strings.Join(ids, ", "))
}

func standsAlone(r *policies.Rule) bool { return r.Subject == policies.Relation && r.Alone }
