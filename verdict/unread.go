package verdict

import (
	"fmt"
	"strings"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
)

// NotJudged says which rules were not judged for want of a permission.
func (j *Judge) NotJudged(missing inventory.Permission) error {
	var ids []string
	for _, r := range j.engine.Catalog {
		if !StandsAlone(r) {
			ids = append(ids, r.ID)
		}
	}
	return fmt.Errorf("not judged for want of the permission to %s: %s", missing, strings.Join(ids, ", "))
}

// StandsAlone says whether the rule can be judged even where not all of a
// namespace's Services or StatefulSets may be read: it looks at the StatefulSet
// alone.
func StandsAlone(r *policies.Rule) bool { return r.Subject == policies.Relation && r.Alone }
