package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

var workflowCommand = regexp.MustCompile(`^::(error|warning|notice) ((file|line|endLine|col|endColumn|title)=[^:,\r\n]*,?)+::[^\r\n]*$`)

// checkGitHub holds every line against the form of a workflow command.
func checkGitHub(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := NewGitHub(&b).Write(r); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	want := len(r.Errors)
	for _, f := range r.Findings {
		if f.Status == Open {
			want++
		}
	}
	if len(lines) != want && text != "" || text == "" && want > 0 {
		t.Errorf("%d lines, want %d:\n%s", len(lines), want, text)
	}
	for _, line := range lines {
		if text != "" && !workflowCommand.MatchString(line) {
			t.Errorf("not a command of ours: %q", line)
		}
	}
	return text
}

func TestGitHub(t *testing.T) {
	const want = `::error title=stsguard::judge it: failed
::error file=broken.yaml,line=2,col=1,title=stsguard::not valid
::notice title=new::of a live object%0AFix: Mend it.
::error file=dir/a file.yaml,line=3,endLine=3,col=5,endColumn=9,title=one::it is wrong%0Ain detail%0AService "web" is at dir/b.yaml:1:1%0AFix: Mend it.%0Akind: Service
::warning file=dir/b.yaml,line=4,endLine=4,col=1,endColumn=5,title=two::that too%0ADoes not fail the run: a friend manages it.%0AFix: Mend it.
`
	if got := checkGitHub(t, sample()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := checkGitHub(t, New(nil, nil, Seen{})); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

// A file may bear any name, and a manifest hold any.
func TestGitHubIsNotInjected(t *testing.T) {
	r := New([]Finding{{
		Rule: "r", Message: "StatefulSet \"x\n::add-mask::secret\r\n::error::100%\"", Location: at("a,line=1::x\n::debug::%0A", 1, 1), Status: Open,
		Severity: SeverityError, Advice: "a\n::b::c", Related: []Related{{Object{Kind: "Service", Name: "\n::c::"}, at("\n::d::", 1, 1), nil}},
	}}, []Error{{Message: "\n::stop-commands::x"}}, Seen{})
	const want = `::error title=stsguard::\n::stop-commands::x
::error file=a%2Cline=1%3A%3Ax\n%3A%3Adebug%3A%3A%250A,line=1,col=1,title=r::StatefulSet "x%0A::add-mask::secret\r%0A::error::100%25"%0AService "\n::c::" is at \n::d:::1:1%0AFix: a\n::b::c
`
	if got := checkGitHub(t, r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
