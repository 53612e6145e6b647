// Package lint judges manifests: it reads them, rendering those that need it, has
// every StatefulSet and Service in them judged, and says in which file and line
// each finding stands.
package lint

import (
	"cmp"
	"context"
	"fmt"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/inventory/render"
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
	// Rendering is for the charts among what is found.
	Rendering render.Options
	Judge     *verdict.Judge
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

// levels are what the run asks for.
func (o *Options) levels() verdict.Levels {
	return verdict.Levels{Enforce: o.FailOn, Warn: o.Show}
}

// places knows where the objects of a world stand.
type places interface {
	Locate(ref inventory.Ref, pointer string) manifest.Location
	// Compare orders objects so that each file is read once to locate them.
	Compare(a, b inventory.Ref) int
	// File is the one that the object stands in.
	File(ref inventory.Ref) string
	APIVersion(ref inventory.Ref) string
	Excerpt(ref inventory.Ref, l manifest.Location, before, after int) []manifest.Line
}

// Run reads and judges. What can't be read, or can't be judged, is an error in
// the report and holds nothing else up.
func Run(ctx context.Context, o Options) *report.Report {
	found := manifest.Find(ctx, o.Paths, o.Reading)
	s := &sum{options: o, leftOut: found.LeftOut}
	s.fail(found.Errors)
	for w := range render.Worlds(ctx, found, o.Rendering) {
		s.leftOut = append(s.leftOut, w.LeftOut...)
		s.fail(w.Errors)
		if o.Suppressions != nil {
			for _, source := range w.Sources {
				o.Suppressions.saw(source.Path)
			}
		}
		s.judge(ctx, w.Path, manifest.Read(ctx, w.Sources, o.Reading))
	}
	return s.report()
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
	for i, id := range f.Judged {
		f.Judged[i] = judged(at, inventory.Ref(id)).ID
	}
	return f
}

// judged describes a StatefulSet that was judged. A Ref is of one world, and an
// overlay's StatefulSet the same as its base's.
func judged(at places, ref inventory.Ref) report.Judged {
	j := report.Judged{Object: object(at, ref), Location: report.Location(at.Locate(ref, ""))}
	j.ID = fmt.Sprintf("%s:%d:%d %s", j.Location.File, j.Location.Line, j.Location.Column, j.Object)
	return j
}

func object(at places, ref inventory.Ref) report.Object {
	o := verdicts.Object(ref)
	o.APIVersion = cmp.Or(at.APIVersion(ref), o.APIVersion)
	return o
}
