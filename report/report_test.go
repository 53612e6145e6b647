package report

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func at(file string, line, column int) Location {
	return Location{File: file, Line: line, Column: column}
}

func TestNewSortsAndCounts(t *testing.T) {
	sorted := []Finding{
		{Rule: "b", Level: "advice", Location: at("a.yaml", 9, 9), Status: Open},
		{Rule: "b", Level: "baseline", Location: at("b.yaml", 2, 1), Status: Open, Severity: SeverityError},
		{Rule: "a", Level: "strict", Location: at("b.yaml", 10, 1), Status: Open},
		{Rule: "a", Level: "baseline", Location: at("b.yaml", 10, 2), Status: Skipped, Severity: SeverityError},
		{Rule: "b", Level: "strict", Location: at("b.yaml", 10, 2), Status: Open},
	}
	shuffled := []Finding{sorted[3], sorted[1], sorted[4], sorted[0], sorted[2]}
	r := New(shuffled, []Error{{File: "b.yaml"}, {File: "a.yaml"}}, Seen{Files: 2})
	for i, f := range r.Findings {
		if f.Location != sorted[i].Location || f.Rule != sorted[i].Rule {
			t.Errorf("finding %d is %s at %v", i, f.Rule, f.Location)
		}
	}
	if r.Errors[0].File != "a.yaml" {
		t.Errorf("errors: %v", r.Errors)
	}
	if want := (Summary{Seen: Seen{Files: 2}, Findings: ByLevel{1, 2, 1}, Skipped: 1, Errors: 2}); r.Summary != want {
		t.Errorf("summary is %+v, want %+v", r.Summary, want)
	}
	if !r.Failed() {
		t.Error("an open error does not fail the run")
	}
	if New(sorted[3:4], nil, Seen{}).Failed() {
		t.Error("a skipped error fails the run")
	}
}

func TestTextSummary(t *testing.T) {
	open := func(s Severity) Finding { return Finding{Status: Open, Severity: s} }
	skipped := Finding{Status: Skipped, Severity: SeverityError}
	repeated := Finding{Status: Skipped, Repeats: true}
	for _, x := range []struct {
		findings []Finding
		errs     []Error
		want     string
	}{
		{nil, nil, "no findings"},
		{[]Finding{repeated}, nil, "no findings"},
		{[]Finding{skipped}, nil, "no findings, 1 skipped"},
		{[]Finding{open(SeverityError), skipped, repeated}, nil, "1 error, 1 skipped"},
		{[]Finding{open(SeverityWarning), open(SeverityError), open(SeverityAdvice), open(SeverityError), open(SeverityAdvice)}, nil, "2 errors, 1 warning, 2 advice"},
		{[]Finding{open(SeverityWarning)}, make([]Error, 2), "1 warning (incomplete: 2 errors in the input)"},
	} {
		want := "1 file, 0 StatefulSets, 2 Services: " + x.want
		if got := New(x.findings, x.errs, Seen{Files: 1, Services: 2}).summary(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTextColor(t *testing.T) {
	r := New([]Finding{{
		Rule: "some-rule", Message: "it is wrong", Location: at("a.yaml", 1, 2), Status: Open,
		Severity: SeverityWarning, Why: "it matters", Advice: "mend it", Reason: "a friend manages it",
	}}, nil, Seen{})
	var plain, colored strings.Builder
	for b, color := range map[*strings.Builder]bool{&plain: false, &colored: true} {
		if err := NewText(b, color).Write(r); err != nil {
			t.Fatal(err)
		}
	}
	const want = `a.yaml:1:2: warning: it is wrong [some-rule]
  Does not fail the run: a friend manages it.
  Why: it matters
  Fix: mend it

0 files, 0 StatefulSets, 0 Services: 1 warning
`
	if plain.String() != want {
		t.Errorf("without colour:\n%s", plain.String())
	}
	const first = "\x1b[1ma.yaml:1:2: \x1b[0m\x1b[1;33mwarning:\x1b[0m it is wrong [some-rule]\n"
	if !strings.HasPrefix(colored.String(), first) {
		t.Errorf("with colour:\n%q", colored.String())
	}
	without := strings.NewReplacer("\x1b[1m", "", "\x1b[1;33m", "", "\x1b[0m", "").Replace(colored.String())
	if without != want {
		t.Errorf("colour changes the text:\n%s", without)
	}
}

func TestFold(t *testing.T) {
	long := strings.Repeat("word ", 40)
	lines := strings.Split(Fold("  ", "Fix: "+long), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "  Fix: word") || !strings.HasPrefix(lines[1], "       word") {
		t.Errorf("%q", lines)
	}
	if slices.ContainsFunc(lines, func(l string) bool { return len(l) > width }) {
		t.Errorf("too wide: %q", lines)
	}
	unbreakable := strings.Repeat("x", 2*width)
	if got := Fold("", unbreakable); got != unbreakable+"\n" {
		t.Errorf("%q", got)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain äöü 漢字":          "plain äöü 漢字",
		"\x1b[31mred":           `\x1b[31mred`,
		"two\nlines\tand a tab": `two\nlines\tand a tab`,
		"right\u202eto left":    `right\u202eto left`,
		"no \xff text":          `no � text`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) is %q, want %q", in, got, want)
		}
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestOutputThatCannotBeWritten(t *testing.T) {
	for name, w := range map[string]Writer{"text": NewText(full{}, false), "json": NewJSON(full{})} {
		if err := w.Write(New(nil, nil, Seen{})); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
