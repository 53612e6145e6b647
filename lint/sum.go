package lint

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/parallel"
	"github.com/stsguard/stsguard/report"
	"github.com/stsguard/stsguard/report/verdicts"
	"github.com/stsguard/stsguard/verdict"
)

// sum is what there is to report of several worlds, each of which is judged by
// itself.
type sum struct {
	options  Options
	findings []report.Finding
	errors   []report.Error
	seen     report.Seen
	notes    []report.Note
	judged   []report.Judged
	told     []report.Preflight
	leftOut  []manifest.LeftOut
}

func (s *sum) fail(errs []manifest.Error) {
	for _, e := range errs {
		s.errors = append(s.errors, report.Error(e))
	}
}

// judge judges one world, rendered from path if that isn't empty. Nothing of it
// is kept but what was found.
func (s *sum) judge(ctx context.Context, path string, set *manifest.Set) {
	s.fail(set.Errors)
	s.seen.Files += set.Files
	s.seen.Documents += set.Documents
	s.seen.StatefulSets += len(set.StatefulSets)
	s.seen.Services += len(set.Services)
	o := &s.options
	var at places = set
	var found *verdict.Report
	if o.Cluster == nil {
		found = o.Judge.Report(ctx, set.Store, o.levels())
	} else if len(set.Services)+len(set.StatefulSets) == 0 {
		return
	} else if p, err := play(ctx, o.Judge, o.Cluster, set, o.levels()); err != nil {
		found = &verdict.Report{Errors: []error{err}}
	} else {
		at, found = p, &p.Report
		s.told = append(s.told, report.Preflight{Context: o.Context, Path: path, Steps: p.steps, End: p.end})
	}
	for _, err := range found.Errors {
		s.errors = append(s.errors, report.Error{Message: err.Error()})
	}
	slices.SortStableFunc(found.Decisions, func(a, b verdict.Decision) int { return at.Compare(a.Object, b.Object) })
	slices.SortStableFunc(found.Judged, at.Compare)
	s.findings = append(s.findings, located(at, found.Decisions, func(d verdict.Decision) inventory.Ref { return d.Object },
		func(d verdict.Decision) report.Finding {
			return finding(at, &d, cmp.Or(o.Reading.Namespace, "default"))
		})...)
	s.judged = append(s.judged, located(at, found.Judged, func(ref inventory.Ref) inventory.Ref { return ref },
		func(ref inventory.Ref) report.Judged { return judged(at, ref) })...)
	for _, n := range found.Notes {
		s.notes = append(s.notes, report.Note{Location: report.Location(at.Locate(n.Object, "/metadata/annotations")), Message: n.Message})
	}
}

// located makes something of each in a list, which is sorted by places: files are
// spread over all cores, and what is in one is done in turn, so that each is read
// once. It takes no time to speak of, so an end of the context doesn't end it.
func located[T, R any](at places, list []T, ref func(T) inventory.Ref, f func(T) R) []R {
	out := make([]R, len(list))
	var starts []int
	for i := range list {
		if i == 0 || at.File(ref(list[i])) != at.File(ref(list[i-1])) {
			starts = append(starts, i)
		}
	}
	starts = append(starts, len(list))
	parallel.Do(context.Background(), len(starts)-1, func(n int) {
		for i := starts[n]; i < starts[n+1]; i++ {
			out[i] = f(list[i])
		}
	})
	return out
}

// report is the whole. What is wrong with a file that several worlds are made
// from comes up in each of them.
func (s *sum) report() *report.Report {
	o := &s.options
	modes := o.Judge.Modes(o.levels())
	findings := once(s.findings, sameFinding)
	if o.Suppressions != nil {
		o.Suppressions.apply(findings, o, modes, len(s.errors) == 0)
	}
	r := report.New(findings, once(s.errors, same), s.seen)
	r.Rules, r.Judged, r.Preflight = verdicts.Rules(o.Judge.Catalog(), modes), once(s.judged, same), s.told
	r.Notes = once(s.notes, same)
	for _, l := range s.leftOut {
		r.LeftOut = append(r.LeftOut, report.LeftOut(l))
	}
	slices.SortFunc(r.LeftOut, func(a, b report.LeftOut) int { return strings.Compare(a.Path, b.Path) })
	return r
}

// once keeps the first of all that have the same key.
func once[T any, K comparable](list []T, key func(T) K) []T {
	seen := map[K]bool{}
	return slices.DeleteFunc(list, func(item T) bool {
		k := key(item)
		before := seen[k]
		seen[k] = true
		return before
	})
}

func same[T comparable](item T) T { return item }

// told is what a finding says, and where.
type told struct {
	location             report.Location
	rule, message, about string
	status               report.Status
}

func sameFinding(f report.Finding) told {
	about := f.StatefulSet
	if f.Location.File == "" {
		about += " " + f.Object.String() // of a cluster
	}
	return told{f.Location, f.Rule, f.Message, about, f.Status}
}
