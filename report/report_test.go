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

// The order that findings come in makes no difference to any format.
func TestOrderIsTotal(t *testing.T) {
	base := sample().Findings[3]
	findings := []Finding{base}
	for _, change := range []func(*Finding){
		func(f *Finding) { f.Location.EndColumn++ },
		func(f *Finding) { f.Object.Namespace = "z" },
		func(f *Finding) { f.Severity = SeverityNote },
		func(f *Finding) { f.Reason = "for another reason" },
		func(f *Finding) { f.Advice = "Leave it." },
		func(f *Finding) { f.Path = "/metadata" },
		func(f *Finding) { f.Judged = []string{"b"} },
		func(f *Finding) { f.Status, f.Annotated = Skipped, true },
		func(f *Finding) { f.Status = Skipped },
		func(f *Finding) { f.Fix = &Fix{Title: "Mend it."} },
		func(f *Finding) { f.Fix = &Fix{Title: "Mend it.", Manifest: "kind: Service\n"} },
		func(f *Finding) { f.Related = nil },
		func(f *Finding) {
			f.Related = []Related{{f.Related[0].Object, f.Related[0].Location, []Line{{1, "kind: Service", 0, 0}}}}
		},
		func(f *Finding) { f.Excerpt = []Line{{3, "  spec:", 2, 6}} },
	} {
		f := base
		change(&f)
		findings = append(findings, f)
	}
	formats := func(findings []Finding) string {
		r := New(findings, nil, Seen{})
		r.Rules, r.Judged = sample().Rules, sample().Judged
		var b strings.Builder
		for _, w := range []Writer{NewText(&b, false), NewJSON(&b), NewSARIF(&b, ""), NewJUnit(&b), NewGitHub(&b)} {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	}
	want := formats(findings)
	for i := range findings {
		slices.Reverse(findings[:i+1])
		if formats(findings) != want {
			t.Fatalf("reversing the first %d makes a difference", i+1)
		}
	}
}

func TestQuiet(t *testing.T) {
	for name, x := range map[string]struct {
		r    *Report
		want string
	}{
		"nothing":  {New(nil, nil, Seen{}), ""},
		"a notice": {New([]Finding{{Status: Open, Severity: SeverityWarning}, {Status: Skipped, Severity: SeverityError}}, nil, Seen{}), ""},
		"an error and what could not be read": {
			New([]Finding{{Rule: "r", Message: "wrong", Status: Open, Severity: SeverityError, Why: "it matters", Advice: "Mend it."}}, []Error{{Message: "unread"}}, Seen{}),
			"error: unread\n\nerror: wrong [r]\n  Why: it matters\n  Fix: Mend it.\n\n",
		},
	} {
		var b strings.Builder
		if err := NewQuiet(&b, false).Write(x.r); err != nil {
			t.Fatal(err)
		}
		if b.String() != x.want {
			t.Errorf("%s: got %q, want %q", name, b.String(), x.want)
		}
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
		{[]Finding{open(SeverityWarning)}, make([]Error, 2), "1 warning (incomplete: 2 errors)"},
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
	for name, w := range map[string]Writer{
		"text": NewText(full{}, false), "json": NewJSON(full{}), "sarif": NewSARIF(full{}, ""), "junit": NewJUnit(full{}), "github": NewGitHub(full{}),
	} {
		if err := w.Write(New(nil, nil, Seen{})); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
