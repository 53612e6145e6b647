// Package lint judges manifests: it reads them, has every StatefulSet and
// Service in them judged, and says in which file and line each finding stands.
package lint

import (
	"cmp"
	"context"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/report/verdicts"
	"github.com/stsguard/stsguard/verdict"
)

// Options are what one run is about.
type Options struct {
	// Paths are files, directories, or "-" for standard input; none means the
	// working directory.
	Paths   []string
	Reading manifest.Options
	Judge   *verdict.Judge
	// FailOn is the level whose findings fail the run, Show the one whose
	// findings are in the report besides those; empty is the configuration's,
	// and in a cluster the namespace's.
	FailOn, Show policies.Level
	// Suppressions are what is known already; nil is nothing.
	Suppressions *Suppressions
	// Cluster, if it isn't nil, is what the manifests would be applied to, and
	// Context what to call it.
	Cluster Cluster
	Context string
}

// places knows where the objects of a world stand.
type places interface {
	Locate(ref inventory.Ref, pointer string) manifest.Location
	APIVersion(ref inventory.Ref) string
	Excerpt(ref inventory.Ref, l manifest.Location, before, after int) []manifest.Line
}

// Run reads and judges. What can't be read, or can't be judged, is an error in
// the report and holds nothing else up.
func Run(ctx context.Context, o Options) *report.Report {
	found := manifest.Find(ctx, o.Paths, o.Reading)
	set := manifest.Read(ctx, found.Files, o.Reading)
	var errs []report.Error
	for _, e := range append(found.Errors, set.Errors...) {
		errs = append(errs, report.Error(e))
	}
	var at places = set
	var judged *verdict.Report
	var told *report.Preflight
	asked := verdict.Levels{Enforce: o.FailOn, Warn: o.Show}
	if o.Cluster == nil {
		judged = o.Judge.Report(ctx, set.Store, asked)
	} else if p, err := play(ctx, o.Judge, o.Cluster, set, asked); err != nil {
		judged = &verdict.Report{Errors: []error{err}, Modes: o.Judge.Modes(asked)}
	} else {
		at, judged, told = p, &p.Report, &report.Preflight{Context: o.Context, Steps: p.steps, End: p.end}
	}
	for _, err := range judged.Errors {
		errs = append(errs, report.Error{Message: err.Error()})
	}
	findings := make([]report.Finding, 0, len(judged.Decisions))
	for i := range judged.Decisions {
		findings = append(findings, finding(at, &judged.Decisions[i], cmp.Or(o.Reading.Namespace, "default")))
	}
	if o.Suppressions != nil {
		o.Suppressions.apply(findings, &o, judged.Modes, len(errs) == 0)
	}
	r := report.New(findings, errs, report.Seen{
		Files: set.Files, Documents: set.Documents,
		StatefulSets: len(set.StatefulSets), Services: len(set.Services),
	})
	r.Preflight = told
	r.Rules, r.Judged = verdicts.Rules(o.Judge.Catalog(), judged), statefulSets(at, judged)
	for _, n := range judged.Notes {
		r.Notes = append(r.Notes, report.Note{Location: report.Location(at.Locate(n.Object, "/metadata/annotations")), Message: n.Message})
	}
	for _, l := range found.LeftOut {
		r.LeftOut = append(r.LeftOut, report.LeftOut(l))
	}
	for _, c := range found.Charts {
		r.LeftOut = append(r.LeftOut, report.LeftOut{Path: c.Path, Reason: "Helm chart: render it with `helm template` and lint the result"})
	}
	return r
}

func finding(at places, d *verdict.Decision, namespace string) report.Finding {
	f := verdicts.Finding(d, namespace)
	f.Object = object(at, d.Object)
	f.Location = report.Location(at.Locate(d.Object, d.Path))
	f.Excerpt = excerpt(at, d.Object, f.Location)
	for i, ref := range d.Related {
		f.Related[i] = report.Related{
			Object: object(at, ref), Location: report.Location(at.Locate(ref, "")), Excerpt: relatedExcerpt(at, ref, d.Path),
		}
	}
	return f
}

func statefulSets(at places, judged *verdict.Report) []report.Judged {
	out := make([]report.Judged, len(judged.Judged))
	for i, ref := range judged.Judged {
		out[i] = report.Judged{ID: string(ref), Object: object(at, ref), Location: report.Location(at.Locate(ref, ""))}
	}
	return out
}

func object(at places, ref inventory.Ref) report.Object {
	o := verdicts.Object(ref)
	o.APIVersion = cmp.Or(at.APIVersion(ref), o.APIVersion)
	return o
}
