package lint

import (
	"cmp"
	"slices"
	"strings"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/report"
)

// excerpt is the line that a finding is about, between its neighbours.
func excerpt(at places, ref inventory.Ref, l report.Location) []report.Line {
	return reportLines(at.Excerpt(ref, manifest.Location(l), 1, 1))
}

// relatedExcerpt is what there is to see of another object that a finding about
// the field at path is about: its name, and what the field is held against. What
// was rendered may have them from other files than the object, whose lines would
// be taken for that one's.
func relatedExcerpt(at places, ref inventory.Ref, path string) []report.Line {
	kind, _, _ := ref.Split()
	pointer := "/spec/serviceName"
	switch {
	case kind != inventory.KindService:
	case strings.HasPrefix(path, "/spec/template/metadata/labels"):
		pointer = "/spec/selector"
	case at.Locate(ref, "/spec/clusterIP") != at.Locate(ref, "/spec"):
		pointer = "/spec/clusterIP"
	default:
		pointer = "/spec/type"
	}
	file := at.Locate(ref, "").File
	show := func(pointer string, after int) []manifest.Line {
		l := at.Locate(ref, pointer)
		if l.File != file {
			return nil
		}
		return at.Excerpt(ref, l, 0, after)
	}
	field := show(pointer, 1)
	if len(field) > 1 && (pointer != "/spec/selector" || !strings.HasSuffix(field[0].Text, ":")) {
		// Only a selector that begins on its next line needs that.
		field = field[:1]
	}
	lines := reportLines(slices.Concat(show("/metadata/name", 0), field))
	for i := range lines {
		// They show what is there, and not what is wrong.
		lines[i].Start, lines[i].End = 0, 0
	}
	slices.SortFunc(lines, func(a, b report.Line) int { return cmp.Compare(a.Number, b.Number) })
	return slices.CompactFunc(lines, func(a, b report.Line) bool { return a.Number == b.Number })
}

func reportLines(lines []manifest.Line) []report.Line {
	var out []report.Line
	for _, l := range lines {
		out = append(out, report.Line(l))
	}
	return out
}
