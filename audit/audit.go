// Package audit judges a live cluster: it says what would be denied if each
// object were created now.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/report/verdicts"
	"github.com/stsguard/stsguard/verdict"
)

// Cluster is what is judged.
type Cluster interface {
	// Snapshot reads the namespaces as they are now, all of them if none is
	// named.
	Snapshot(ctx context.Context, namespaces ...string) (*inventory.Snapshot, error)
}

// Options are what one run is about.
type Options struct {
	Cluster Cluster
	// Namespaces are those to judge; none means all.
	Namespaces []string
	Judge      *verdict.Judge
	// Levels are what fails and what shows, if not what the namespaces and the
	// configuration say.
	Levels verdict.Levels
}

// Run reads the cluster and judges it. What may not be read is an error in the
// report and holds nothing else up.
func Run(ctx context.Context, o Options) *report.Report {
	snapshot, err := o.Cluster.Snapshot(ctx, o.Namespaces...)
	if err != nil {
		return newReport(nil, []report.Error{{Message: fmt.Sprintf("read the cluster: %v", err)}}, report.Seen{})
	}
	judged := o.Judge.Report(ctx, snapshot.Store, o.Levels)
	var errs []report.Error
	for _, err := range judged.Errors {
		errs = append(errs, report.Error{Message: err.Error()})
	}
	notes := judged.Notes
	for _, missing := range snapshot.Unread {
		if missing.Resource == "namespaces" {
			notes = append(notes, verdict.Note{Message: fmt.Sprintf("labels of namespaces are ignored: the permission to %s is missing", missing)})
			continue
		}
		errs = append(errs, report.Error{Message: o.Judge.NotJudged(missing).Error()})
	}
	for _, name := range o.Namespaces {
		if snapshot.Permitted("namespaces", name) && snapshot.Store.Namespace(name) == nil {
			errs = append(errs, report.Error{Message: fmt.Sprintf("namespace %q is not in the cluster", name)})
		}
	}
	var findings []report.Finding
	for i := range judged.Decisions {
		d := &judged.Decisions[i]
		_, namespace, _ := d.Object.Split()
		if snapshot.Whole(namespace) || verdict.StandsAlone(d.Rule) {
			findings = append(findings, verdicts.Finding(d, ""))
		}
	}
	count := snapshot.Store.Count()
	r := newReport(findings, errs, report.Seen{StatefulSets: count.StatefulSets, Services: count.Services})
	r.Rules = verdicts.Rules(o.Judge.Catalog(), o.Judge.Modes(o.Levels))
	for _, ref := range judged.Judged {
		if _, namespace, _ := ref.Split(); !snapshot.Whole(namespace) {
			continue // it passed nothing
		}
		r.Judged = append(r.Judged, report.Judged{ID: string(ref), Object: verdicts.Object(ref)})
	}
	for _, n := range notes {
		r.Notes = append(r.Notes, report.Note{Message: n.Message})
	}
	return r
}

// newReport orders findings by object, since they stand in no file.
func newReport(findings []report.Finding, errs []report.Error, seen report.Seen) *report.Report {
	r := report.New(findings, errs, seen)
	r.Kind = report.KindAudit
	slices.SortStableFunc(r.Findings, func(a, b report.Finding) int {
		return cmp.Or(
			cmp.Compare(a.Object.Namespace, b.Object.Namespace),
			cmp.Compare(cmp.Or(a.StatefulSet, a.Object.Name), cmp.Or(b.StatefulSet, b.Object.Name)),
		)
	})
	return r
}
