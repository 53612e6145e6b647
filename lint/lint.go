// Package lint judges manifests: it reads them, has every StatefulSet and
// Service in them judged, and says in which file and line each finding stands.
package lint

import (
	"cmp"
	"context"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
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
		judged = &verdict.Report{Errors: []error{err}}
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
	r := report.New(findings, errs, report.Seen{
		Files: set.Files, Documents: set.Documents,
		StatefulSets: len(set.StatefulSets), Services: len(set.Services),
	})
	r.Preflight = told
	r.Rules, r.Judged = rules(o.Judge.Catalog(), judged), statefulSets(at, judged)
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
	f := report.Finding{
		Rule:      d.Rule.ID,
		Level:     string(d.Rule.Level),
		Message:   d.Message,
		URL:       report.RuleURL(d.Rule.ID),
		Object:    object(at, d.Object),
		Location:  report.Location(at.Locate(d.Object, d.Path)),
		Fix:       fix(d.Fix, namespace),
		Status:    report.Open,
		Reason:    d.Reason,
		Severity:  severity(d),
		Why:       d.Rule.Description,
		Advice:    d.Advice(),
		Repeats:   d.RepeatedBy != "",
		Path:      d.Path,
		Annotated: d.Annotated,
	}
	f.Excerpt = excerpt(at, d.Object, f.Location)
	if d.StatefulSet != "" {
		_, _, f.StatefulSet = d.StatefulSet.Split()
		for _, ref := range append([]inventory.Ref{d.StatefulSet}, d.Also...) {
			f.Judged = append(f.Judged, string(ref))
		}
	}
	if d.Skipped {
		f.Status = report.Skipped
	}
	for _, ref := range d.Related {
		f.Related = append(f.Related, report.Related{
			Object: object(at, ref), Location: report.Location(at.Locate(ref, "")), Excerpt: relatedExcerpt(at, ref, d.Path),
		})
	}
	return f
}

// rules are the whole catalog, so that formats which describe rules say the same
// whatever was found.
func rules(catalog policies.Catalog, judged *verdict.Report) []report.Rule {
	out := make([]report.Rule, len(catalog))
	for i, r := range catalog {
		out[i] = report.Rule{
			ID: r.ID, Title: r.Title, Description: r.Description, Remedy: r.Remedy, Level: string(r.Level), URL: report.RuleURL(r.ID),
			Judged: r.Subject == policies.Relation && judged.Modes[r.ID] != config.Off,
		}
	}
	return out
}

func statefulSets(at places, judged *verdict.Report) []report.Judged {
	out := make([]report.Judged, len(judged.Judged))
	for i, ref := range judged.Judged {
		out[i] = report.Judged{ID: string(ref), Object: object(at, ref), Location: report.Location(at.Locate(ref, ""))}
	}
	return out
}

func severity(d *verdict.Decision) report.Severity {
	switch {
	case d.Mode == config.Enforce:
		return report.SeverityError
	case d.Rule.Level == policies.Advice:
		return report.SeverityAdvice
	case d.Mode == config.Warn:
		return report.SeverityWarning
	}
	return report.SeverityNote
}

func object(at places, ref inventory.Ref) report.Object {
	kind, namespace, name := ref.Split()
	return report.Object{APIVersion: cmp.Or(at.APIVersion(ref), kind.APIVersion()), Kind: string(kind), Namespace: namespace, Name: name}
}

// fix takes over what the rule gives. An object that is missing in the default
// namespace is to be written like its neighbours, which name none.
func fix(in *policies.Fix, namespace string) *report.Fix {
	if in == nil {
		return nil
	}
	out := &report.Fix{Title: in.Title, Safe: in.Safe, Create: in.Create}
	if meta, ok := in.Create["metadata"].(map[string]any); ok && meta["namespace"] == namespace {
		delete(meta, "namespace")
	}
	for _, op := range in.Patch {
		out.Patch = append(out.Patch, report.PatchOp(op))
	}
	if in.Create != nil {
		out.Manifest = verdict.Manifest(in.Create)
	}
	return out
}
