// Package verdicts writes verdicts down for a report.
package verdicts

import (
	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/verdict"
)

// Finding says what became of a finding. Where its objects stand is not known
// here. The namespace is the one that manifests needn't name.
func Finding(d *verdict.Decision, namespace string) report.Finding {
	f := report.Finding{
		Rule:      d.Rule.ID,
		Level:     string(d.Rule.Level),
		Message:   d.Message,
		URL:       ruleURL(d.Rule),
		Object:    Object(d.Object),
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
		f.Related = append(f.Related, report.Related{Object: Object(ref)})
	}
	return f
}

// Object names the object.
func Object(ref inventory.Ref) report.Object {
	kind, namespace, name := ref.Split()
	return report.Object{APIVersion: kind.APIVersion(), Kind: string(kind), Namespace: namespace, Name: name}
}

// Rules are the whole catalog, so that formats which describe rules say the
// same whatever was found.
func Rules(catalog policies.Catalog, modes map[string]config.Mode) []report.Rule {
	out := make([]report.Rule, len(catalog))
	for i, r := range catalog {
		out[i] = report.Rule{
			ID: r.ID, Title: r.Title, Description: r.Description, Remedy: r.Remedy, Level: string(r.Level), URL: ruleURL(r),
			Judged: r.Subject == policies.Relation && modes[r.ID] != config.Off,
		}
	}
	return out
}

// ruleURL is where to read about the rule; what users wrote is nowhere but where
// they say.
func ruleURL(r *policies.Rule) string {
	switch {
	case r.File == "":
		return report.RuleURL(r.ID)
	case len(r.Related) > 0:
		return r.Related[0]
	}
	return ""
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

// fix takes over what the rule gives. A patch of another object than the
// finding's has no place in a report. An object that is missing in the default
// namespace is to be written like its neighbours, which name none.
func fix(in *policies.Fix, namespace string) *report.Fix {
	if in == nil || in.Object != "" {
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
