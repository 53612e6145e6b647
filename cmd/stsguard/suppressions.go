package main

import (
	"fmt"

	"github.com/stsguard/stsguard/lint"
)

// mostGone is how many findings that are gone are named.
const mostGone = 10

// tellKnown says which known findings are gone, or writes the file without them.
func (c *Command) tellKnown(known *lint.Suppressions, f *lintFlags, complete bool) error {
	if f.updateSuppressions && !complete {
		c.note("%s is left as it is: not everything could be read and judged, and what it knows there would be lost", f.suppressions)
		return nil
	}
	gone := 0
	for i, k := range known.Gone {
		gone += max(1, k.Count)
		if i >= mostGone {
			continue
		}
		about := ""
		if k.Count > 1 {
			about = fmt.Sprintf(" (%d of them)", k.Count)
		}
		c.note("gone: %s of %s in %s%s", k.Rule, k.Object, k.File, about)
	}
	if more := len(known.Gone) - mostGone; more > 0 {
		c.note("gone: and %d more", more)
	}
	if !f.updateSuppressions {
		if gone > 0 {
			c.note("%s can shrink: run again with --update-suppressions", f.suppressions)
		}
		return nil
	}
	text, changed, err := known.Text()
	if err != nil {
		return err
	}
	if !changed {
		c.note("%s is up to date: %d known", f.suppressions, known.Total)
		return nil
	}
	if err := writeFile(f.suppressions, text); err != nil {
		return fmt.Errorf("write suppressions to %s: %w", f.suppressions, reason(err))
	}
	c.note("%s is written: %d known, %d of them new, %d gone", f.suppressions, known.Total, known.Added, gone)
	return nil
}
