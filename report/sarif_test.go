package report

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func writeSARIF(t *testing.T, r *Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := NewSARIF(&b, "v1.2.3").Write(r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sarifSchema is the schema that OASIS publishes with the standard, at
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json.
var sarifSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	return c.Compile("testdata/sarif-schema-2.1.0.json")
})

// readSARIF refuses what the standard's schema refuses.
func readSARIF(t *testing.T, data []byte) *sarifRun {
	t.Helper()
	schema, err := sarifSchema()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	var log sarifLog
	if err := json.Unmarshal(data, &log); err != nil {
		t.Fatal(err)
	}
	return &log.Runs[0]
}

// The schema must be one that refuses something.
func TestSARIFSchemaRefuses(t *testing.T) {
	schema, err := sarifSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`{"version": "2.1.0"}`,
		`{"version": "2.1.0", "runs": [{"results": []}]}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "colour": 1}]}`,
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(value) == nil {
			t.Errorf("%s is taken for valid", text)
		}
	}
}

// sample has one of everything.
func sample() *Report {
	service := Object{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "web"}
	set := Object{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: "shop", Name: "web"}
	r := New([]Finding{
		{
			Rule: "one", Level: "baseline", Message: "it is wrong\nin detail", Object: set, StatefulSet: "web", Judged: []string{"a"}, Path: "/spec/serviceName",
			Location: Location{"dir/a file.yaml", 3, 5, 3, 9}, Severity: SeverityError, Status: Open, Why: "it matters", Advice: "Mend it.", URL: RuleURL("one"),
			Related: []Related{{service, Location{"dir/b.yaml", 1, 1, 1, 11}, nil}}, Fix: &Fix{Manifest: "kind: Service\n"},
		},
		{
			Rule: "two", Level: "strict", Message: "that too", Object: service, Path: "/spec", Location: Location{"dir/b.yaml", 4, 1, 4, 5},
			Severity: SeverityWarning, Status: Open, Why: "it matters", Advice: "Mend it.", Reason: "a friend manages it", URL: RuleURL("two"),
		},
		{
			Rule: "two", Level: "strict", Message: "excused", Object: service, Location: Location{"/abs/c.yaml", 4, 1, 4, 5},
			Severity: SeverityWarning, Status: Skipped, Annotated: true, Reason: "moving", Advice: "Mend it.", URL: RuleURL("two"),
		},
		{Rule: "two", Message: "repeated", Object: service, Severity: SeverityWarning, Status: Skipped, Repeats: true, Reason: "one says it already"},
		{Rule: "new", Level: "advice", Message: "of a live object", Object: set, Severity: SeverityNote, Status: Open, Why: "it matters", Advice: "Mend it.", URL: RuleURL("new")},
	}, []Error{{"broken.yaml", 2, 1, "not valid"}, {Message: "judge it: failed"}}, Seen{Files: 3})
	r.Rules = []Rule{
		{ID: "new", Title: "New", Description: "it matters", Remedy: "Mend it.", Level: "advice", URL: RuleURL("new")},
		{ID: "one", Title: "One", Description: "it matters", Remedy: "Mend it.", Level: "baseline", URL: RuleURL("one"), Judged: true},
		{ID: "two", Title: "Two", Description: strings.Repeat("ä", 2000), Remedy: "Mend it.", Level: "strict", URL: RuleURL("two"), Judged: true},
	}
	r.Judged = []Judged{{"a", set, at("dir/a file.yaml", 1, 1)}, {"b", set, at("dir/z.yaml", 1, 1)}}
	return r
}

func TestSARIF(t *testing.T) {
	run := readSARIF(t, writeSARIF(t, sample()))
	if v := run.Tool.Driver.SemanticVersion; v != "1.2.3" {
		t.Errorf("version %q", v)
	}
	var got []string
	for _, res := range run.Results {
		rule := run.Tool.Driver.Rules[res.RuleIndex]
		if rule.ID != res.RuleID {
			t.Errorf("%s has the index of %s", res.RuleID, rule.ID)
		}
		uri := ""
		if p := res.Locations[0].Physical; p != nil {
			uri = p.Artifact.URI
		}
		suppressed := ""
		for _, s := range res.Suppressions {
			suppressed = s.Kind + " " + s.Justification
		}
		got = append(got, strings.Join([]string{res.RuleID, res.Level, uri, suppressed, res.Message.Text}, "|"))
	}
	want := []string{
		"two|warning|file:///abs/c.yaml|inSource moving|excused.\nFix: Mend it.",
		"one|error|dir/a%20file.yaml||it is wrong.\nin detail\nSee [Service \"web\"](1).\nFix: Mend it.\nkind: Service",
		"two|warning|dir/b.yaml||that too.\nDoes not fail the run: a friend manages it.\nFix: Mend it.",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, rule := range run.Tool.Driver.Rules {
		if n := utf8.RuneCountInString(rule.FullDescription.Text); n > sarifMaxDescription {
			t.Errorf("%s has a description of %d characters", rule.ID, n)
		}
	}
	inv := run.Invocations[0]
	if inv.Successful || len(inv.Notifications) != 3 || !strings.HasPrefix(inv.Notifications[2].Message.Text, "1 finding ") {
		t.Errorf("invocation: %+v", inv)
	}
	if !readSARIF(t, writeSARIF(t, New(nil, nil, Seen{}))).Invocations[0].Successful {
		t.Error("a run that found nothing did not go well")
	}
}

// GitHub refuses a whole upload for one result without a file: a finding on what
// is in a cluster is shown where the manifest is that it came up with.
func TestSARIFOfACluster(t *testing.T) {
	service := Object{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "web"}
	live := Finding{Rule: "one", Message: "of a live object", Status: Open, Severity: SeverityError, Advice: "Mend it."}
	beside := live
	beside.Related = []Related{{Object: service}, {Object: service, Location: at("web.yaml", 3, 1)}}
	run := readSARIF(t, writeSARIF(t, New([]Finding{live, beside}, nil, Seen{})))
	if len(run.Results) != 1 || run.Results[0].Locations[0].Physical.Artifact.URI != "web.yaml" {
		t.Errorf("results: %+v", run.Results)
	}
}

// An alert stays the same one while its object moves, and no two are one.
func TestSARIFFingerprints(t *testing.T) {
	prints := func(r *Report) []string {
		var out []string
		for _, res := range readSARIF(t, writeSARIF(t, r)).Results {
			out = append(out, res.Fingerprints.Primary)
		}
		return out
	}
	base := Finding{Rule: "r", Object: Object{Kind: "Service", Namespace: "n", Name: "a"}, StatefulSet: "s", Path: "/spec", Location: at("a.yaml", 3, 1), Severity: SeverityError, Status: Open}
	findings := []Finding{base, base}
	for _, change := range []func(*Finding){
		func(f *Finding) { f.Rule = "r2" },
		func(f *Finding) { f.Object.Kind = "StatefulSet" },
		func(f *Finding) { f.Object.Namespace = "n2" },
		func(f *Finding) { f.Object.Name = "a2" },
		func(f *Finding) { f.Object.Namespace, f.Object.Name = "na", "" },
		func(f *Finding) { f.StatefulSet = "s2" },
		func(f *Finding) { f.Path = "/spec/ports/0" },
		func(f *Finding) { f.Location.File = "b.yaml" },
	} {
		f := base
		change(&f)
		findings = append(findings, f)
	}
	before := prints(New(findings, nil, Seen{}))
	if n := len(slices.Compact(slices.Sorted(slices.Values(before)))); n != len(findings) {
		t.Errorf("%d fingerprints of %d findings: %v", n, len(findings), before)
	}
	moved := slices.Clone(findings)
	for i := range moved {
		moved[i].Location.Line += 40
		moved[i].Location.Column += 2
		moved[i].Message = "in other words"
	}
	if after := prints(New(moved, nil, Seen{})); !slices.Equal(before, after) {
		t.Errorf("moved from\n%v to\n%v", before, after)
	}
}

// GitHub refuses what is larger.
func TestSARIFLimits(t *testing.T) {
	var findings []Finding
	for i := range sarifMaxResults + 3 {
		f := Finding{
			Rule: "r", Level: "strict", Severity: SeverityWarning, Status: Open, Object: Object{Kind: "StatefulSet", Name: fmt.Sprintf("web-%d", i)},
			Message: fmt.Sprintf("StatefulSet \"web-%d\" is wrong", i), Location: at(fmt.Sprintf("%05d.yaml", i), 1, 1), Advice: "Mend it.",
			Related: []Related{{Object{Kind: "Service", Name: fmt.Sprint("web", i)}, at(fmt.Sprintf("%05d-service.yaml", i), 1, 1), nil}},
		}
		if i == 7 {
			f.Status = Skipped
		}
		if i > sarifMaxResults {
			f.Severity = SeverityError
		}
		findings = append(findings, f)
	}
	data := writeSARIF(t, New(findings, nil, Seen{}))
	var log sarifLog
	if err := json.Unmarshal(data, &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if n := len(run.Results); n != sarifMaxResults {
		t.Errorf("%d results", n)
	}
	kept := map[string]bool{}
	for i, res := range run.Results {
		kept[res.Locations[0].Physical.Artifact.URI] = true
		if i > 0 && res.Locations[0].Physical.Artifact.URI < run.Results[i-1].Locations[0].Physical.Artifact.URI {
			t.Fatal("the results are not in order")
		}
	}
	for file, want := range map[string]bool{"00007.yaml": false, "25002.yaml": true, "25001.yaml": true, "25000.yaml": false, "24999.yaml": false, "24998.yaml": true} {
		if kept[file] != want {
			t.Errorf("%s is there: %v", file, kept[file])
		}
	}
	notes := run.Invocations[0].Notifications
	if len(notes) != 1 || !strings.HasPrefix(notes[0].Message.Text, "3 findings are left out: ") {
		t.Errorf("notifications: %v", notes)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(data)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if zipped.Len() > 10<<20 {
		t.Errorf("%d bytes, zipped", zipped.Len())
	}
}

func TestSARIFVersion(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "1.2.3", "1.2.3-rc.1+dirty": "1.2.3-rc.1+dirty", "v0.0.0-20260101000000-abcdef012345": "0.0.0-20260101000000-abcdef012345", "(devel)": "", "": "",
	} {
		var b bytes.Buffer
		if err := NewSARIF(&b, version).Write(New(nil, nil, Seen{})); err != nil {
			t.Fatal(err)
		}
		if got := readSARIF(t, b.Bytes()).Tool.Driver.SemanticVersion; got != want {
			t.Errorf("%q becomes %q", version, got)
		}
	}
}

// FuzzFormats writes findings with any text in any place: SARIF stays valid,
// JUnit well-formed, GitHub gets its own commands and no others, and the same
// bytes come out twice.
func FuzzFormats(f *testing.F) {
	f.Add("web", "dir/a.yaml", "it is wrong\nin detail", "moving", 3, 5)
	f.Add("a\x00b\x1b[2J\u202e", "::error file=x::y\n::set-output name=a::b", "]]>\n##[error]x\r\n::add-mask::x", "%0A::debug::", 0, 0)
	f.Add("[x](http://localhost)", "/abs/C:\\ü %20?#.yaml", "{0} \xff\xfe", "\ufffe", 1, -1)
	f.Add("", "", "", "", -1, 1<<40)
	f.Fuzz(func(t *testing.T, name, file, message, reason string, line, column int) {
		r := sample()
		line, column = max(line, 0), max(column, 1)
		for i := range r.Findings {
			x := &r.Findings[i]
			x.Object.Name, x.Message, x.Reason, x.Location = name, message, reason, Location{file, line, column, line, column + 1}
		}
		r.Errors[0] = Error{file, line, column, message}
		r.Judged[0].Location.File, r.Judged[1].Object.Name = file, name
		first := writeSARIF(t, r)
		readSARIF(t, first)
		if again := writeSARIF(t, r); !bytes.Equal(first, again) {
			t.Error("SARIF differs from run to run")
		}
		checkJUnit(t, r)
		checkGitHub(t, r)
	})
}
