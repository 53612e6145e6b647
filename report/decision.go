package report

import (
	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/verdict"
)

// NewFinding says what became of a finding. Where its objects stand is not known
// here. The namespace is the one that manifests needn't name.
func NewFinding(d *verdict.Decision, namespace string) Finding {
	f := Finding{
		Rule:      d.Rule.ID,
		Level:     string(d.Rule.Level),
		Message:   d.Message,
		URL:       ruleURL(d.Rule),
		Object:    NewObject(d.Object),
		Fix:       newFix(d.Fix, namespace),
		Status:    Open,
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
		f.Status = Skipped
	}
	for _, ref := range d.Related {
		f.Related = append(f.Related, Related{Object: NewObject(ref)})
	}
	return f
}

// NewObject names the object.
func NewObject(ref inventory.Ref) Object {
	kind, namespace, name := ref.Split()
	return Object{APIVersion: kind.APIVersion(), Kind: string(kind), Namespace: namespace, Name: name}
}

// NewRules are the whole catalog, so that formats which describe rules say the
// same whatever was found.
func NewRules(catalog policies.Catalog, judged *verdict.Report) []Rule {
	out := make([]Rule, len(catalog))
	for i, r := range catalog {
		out[i] = Rule{
			ID: r.ID, Title: r.Title, Description: r.Description, Remedy: r.Remedy, Level: string(r.Level), URL: ruleURL(r),
			Judged: r.Subject == policies.Relation && judged.Modes[r.ID] != config.Off,
		}
	}
	return out
}

// ruleURL is where to read about the rule; what users wrote is nowhere but where
// they say.
func ruleURL(r *policies.Rule) string {
	switch {
	case r.File == "":
		return RuleURL(r.ID)
	case len(r.Related) > 0:
		return r.Related[0]
	}
	return ""
}

func severity(d *verdict.Decision) Severity {
	switch {
	case d.Mode == config.Enforce:
		return SeverityError
	case d.Rule.Level == policies.Advice:
		return SeverityAdvice
	case d.Mode == config.Warn:
		return SeverityWarning
	}
	return SeverityNote
}

// newFix takes over what the rule gives. An object that is missing in the
// default namespace is to be written like its neighbours, which name none.
func newFix(in *policies.Fix, namespace string) *Fix {
	if in == nil {
		return nil
	}
	out := &Fix{Title: in.Title, Safe: in.Safe, Create: in.Create}
	if meta, ok := in.Create["metadata"].(map[string]any); ok && meta["namespace"] == namespace {
		delete(meta, "namespace")
	}
	for _, op := range in.Patch {
		out.Patch = append(out.Patch, PatchOp(op))
	}
	if in.Create != nil {
		out.Manifest = verdict.Manifest(in.Create)
	}
	return out
}
