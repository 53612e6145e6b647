package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
)

// checkJUnit reads back what is written, and holds the counts against it.
func checkJUnit(t *testing.T, r *Report) *junitSuites {
	t.Helper()
	var b bytes.Buffer
	if err := NewJUnit(&b).Write(r); err != nil {
		t.Fatal(err)
	}
	var all junitSuites
	d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	if err := d.Decode(&all); err != nil {
		t.Fatalf("%v in\n%q", err, b.String())
	}
	if _, err := d.Token(); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	var total junitCounts
	names := map[string]bool{}
	for _, s := range all.Suites {
		var n junitCounts
		for _, c := range s.Cases {
			n.add(c.counts())
			if k := c.Class + "\x00" + c.Name; names[k] {
				t.Errorf("there are two cases %q of %q", c.Name, c.Class)
			} else {
				names[k] = true
			}
		}
		if s.junitCounts != n {
			t.Errorf("suite %q says %+v and has %+v", s.Name, s.junitCounts, n)
		}
		total.add(n)
	}
	if all.junitCounts != total {
		t.Errorf("the suites say %+v and have %+v", all.junitCounts, total)
	}
	return &all
}

func TestJUnit(t *testing.T) {
	var got []string
	for _, s := range checkJUnit(t, sample()).Suites {
		for _, c := range s.Cases {
			result := "passed"
			switch {
			case c.Failure != nil:
				result = "failed: " + c.Failure.Message
			case c.Error != nil:
				result = "error: " + c.Error.Message
			case c.Skipped != nil:
				result = "skipped: " + c.Skipped.Message
			case c.Out != nil:
				result = "passed, but " + strings.Split(c.Out.Text, "\n")[1]
			}
			got = append(got, s.Name+"|"+c.Class+"|"+c.Name+"|"+result)
		}
	}
	want := []string{
		"input|stsguard|judge|error: judge it: failed",
		"input|broken.yaml|read line 2, column 1|error: not valid",
		"/abs/c.yaml|/abs/c.yaml|Service shop/web: two|skipped: moving",
		"dir/a file.yaml|dir/a file.yaml|StatefulSet shop/web: one|failed: it is wrong",
		"dir/a file.yaml|dir/a file.yaml|StatefulSet shop/web: two|passed",
		"dir/b.yaml|dir/b.yaml|Service shop/web: two|passed, but dir/b.yaml:4:1: warning: that too [two]",
		"dir/z.yaml|dir/z.yaml|StatefulSet shop/web: one|passed",
		"dir/z.yaml|dir/z.yaml|StatefulSet shop/web: two|passed",
		"stsguard|stsguard|StatefulSet shop/web: new|passed, but note: of a live object [new]",
		"stsguard|stsguard|Service shop/web: two|skipped: one says it already",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What was found with several StatefulSets fails for each, and what fails
// beside what doesn't fails.
func TestJUnitOfSharedFindings(t *testing.T) {
	r := sample()
	r.Findings = []Finding{
		{Rule: "one", Message: "mild", Judged: []string{"a"}, Status: Open, Severity: SeverityWarning},
		{Rule: "one", Message: "bad", Judged: []string{"a", "b"}, Status: Open, Severity: SeverityError},
		{Rule: "two", Message: "excused", Judged: []string{"b"}, Status: Skipped, Severity: SeverityError, Reason: "moving"},
		{Rule: "two", Message: "mild", Judged: []string{"b"}, Status: Open, Severity: SeverityNote},
	}
	all := checkJUnit(t, r)
	if want := (junitCounts{Tests: 6, Failures: 2, Errors: 2}); all.junitCounts != want {
		t.Errorf("got %+v, want %+v", all.junitCounts, want)
	}
	first := all.Suites[1].Cases[0]
	if first.Failure == nil || first.Failure.Message != "bad" || !strings.Contains(first.Failure.Text, "warning: mild [one]") {
		t.Errorf("got %+v", first.Failure)
	}
}

// GitLab and Jenkins take two cases of one name for one.
func TestJUnitNamesDiffer(t *testing.T) {
	r := sample()
	r.Judged[1].Location = r.Judged[0].Location
	r.Errors = append(r.Errors, r.Errors...)
	checkJUnit(t, r)
}
