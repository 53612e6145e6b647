package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The limits of GitHub's code scanning: beyond them an upload is refused.
const (
	sarifMaxResults     = 25_000
	sarifMaxDescription = 1024 // code points
)

type sarifWriter struct {
	w       io.Writer
	version string
}

// NewSARIF returns a Writer of SARIF 2.1.0 that stays within what GitHub's code
// scanning takes. The version is the program's, and is said if it is a semantic one, with
// or without a v before it.
//
// URIs are relative to the working directory, which should be the repository's
// root; a file elsewhere has the URI that its displayed path makes. What is
// excused is a suppressed result, less what only repeats another finding. What no
// file shows is left out and counted, since one such result has all refused.
func NewSARIF(w io.Writer, version string) Writer { return sarifWriter{w, version} }

type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool                `json:"tool"`
		Invocations []sarifInvocation        `json:"invocations"`
		BaseIDs     map[string]sarifArtifact `json:"originalUriBaseIds"`
		Results     []sarifResult            `json:"results"`
		ColumnKind  string                   `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		InformationURI  string      `json:"informationUri"`
		SemanticVersion string      `json:"semanticVersion,omitempty"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string             `json:"id"`
		ShortDescription sarifText          `json:"shortDescription"`
		FullDescription  sarifText          `json:"fullDescription"`
		Help             sarifText          `json:"help"`
		HelpURI          string             `json:"helpUri"`
		Default          sarifConfiguration `json:"defaultConfiguration"`
		Properties       sarifProperties    `json:"properties"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifConfiguration struct {
		Level string `json:"level"`
	}
	sarifProperties struct {
		Precision string   `json:"precision"`
		Severity  string   `json:"problem.severity"`
		Tags      []string `json:"tags"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Related      []sarifLocation    `json:"relatedLocations,omitempty"`
		Fingerprints sarifFingerprints  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	// The key is the only one that GitHub looks at.
	sarifFingerprints struct {
		Primary string `json:"primaryLocationLineHash"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
	sarifLocation struct {
		ID       int            `json:"id,omitempty"`
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
		Message  *sarifText     `json:"message,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI         string     `json:"uri,omitempty"`
		BaseID      string     `json:"uriBaseId,omitempty"`
		Description *sarifText `json:"description,omitempty"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
		EndLine     int `json:"endLine,omitempty"`
		EndColumn   int `json:"endColumn,omitempty"`
	}
	sarifLogical struct {
		Name     string `json:"name"`
		FullName string `json:"fullyQualifiedName"`
		Kind     string `json:"kind"`
	}
)

var semantic = regexp.MustCompile(`^\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?$`)

const sarifRoot = "%SRCROOT%"

func (s sarifWriter) Write(r *Report) error {
	run := sarifRun{
		Tool: sarifTool{sarifDriver{
			Name:            "stsguard",
			InformationURI:  "https://github.com/stsguard/stsguard",
			SemanticVersion: semantic.FindString(strings.TrimPrefix(s.version, "v")),
			Rules:           []sarifRule{},
		}},
		BaseIDs:    map[string]sarifArtifact{sarifRoot: {Description: &sarifText{Text: "The directory that stsguard ran in."}}},
		ColumnKind: "unicodeCodePoints",
	}
	index := map[string]int{}
	for i, rule := range r.Rules {
		index[rule.ID] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, newSARIFRule(rule))
	}
	notifications := []sarifNotification{}
	for _, e := range r.Errors {
		n := sarifNotification{Level: "error", Message: sarifText{Text: Printable(e.Message)}}
		if e.File != "" {
			n.Locations = []sarifLocation{{Physical: physical(Location{File: e.File, Line: e.Line, Column: e.Column})}}
		}
		notifications = append(notifications, n)
	}
	var findings []*Finding
	nowhere := 0
	for i := range r.Findings {
		switch f := &r.Findings[i]; {
		case f.Repeats:
		case f.inFile().File == "":
			nowhere++
		default:
			findings = append(findings, f)
		}
	}
	if nowhere > 0 {
		notifications = append(notifications, sarifNotification{Level: "warning", Message: sarifText{Text: fmt.Sprintf(
			"%s left out: GitHub's code scanning takes none without a file. Other formats have them.",
			count(nowhere, "finding about what is in the cluster alone is", "findings about what is in the cluster alone are"))}})
	}
	if left := len(findings) - sarifMaxResults; left > 0 {
		findings = mostSevere(findings, sarifMaxResults)
		notifications = append(notifications, sarifNotification{Level: "warning", Message: sarifText{Text: fmt.Sprintf(
			"%s left out: GitHub's code scanning takes no more than %d. Check fewer files in one run to see them.",
			count(left, "finding is", "findings are"), sarifMaxResults)}})
	}
	run.Invocations = []sarifInvocation{{Successful: len(r.Errors) == 0, Notifications: notifications}}
	run.Results = make([]sarifResult, len(findings))
	seen := map[string]int{}
	for i, f := range findings {
		rule, known := index[f.Rule]
		if !known {
			rule = -1
		}
		run.Results[i] = newSARIFResult(f, rule, seen)
	}

	e := json.NewEncoder(s.w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}); err != nil {
		return fmt.Errorf("write the report as SARIF: %w", err)
	}
	return nil
}

func newSARIFRule(rule Rule) sarifRule {
	level := map[string]string{"baseline": "error", "strict": "warning"}[rule.Level]
	severity := cmp.Or(level, "recommendation")
	return sarifRule{
		ID:               rule.ID,
		ShortDescription: sarifText{Text: atMost(rule.Title, sarifMaxDescription)},
		FullDescription:  sarifText{Text: atMost(rule.Description, sarifMaxDescription)},
		Help: sarifText{
			Text:     rule.Title + ".\n\nWhy: " + rule.Description + "\n\nFix: " + rule.Remedy + "\n\nRead more: " + rule.URL,
			Markdown: "**" + rule.Title + ".**\n\n**Why:** " + rule.Description + "\n\n**Fix:** " + rule.Remedy + "\n\n[Read more](" + rule.URL + ")",
		},
		HelpURI:    rule.URL,
		Default:    sarifConfiguration{cmp.Or(level, "note")},
		Properties: sarifProperties{Precision: "high", Severity: severity, Tags: []string{"dns", "kubernetes", "statefulset", rule.Level}},
	}
}

var sarifLevels = map[Severity]string{
	SeverityError:   "error",
	SeverityWarning: "warning",
	SeverityAdvice:  "note",
	SeverityNote:    "note",
}

// newSARIFResult counts in seen how often a fingerprint was given.
func newSARIFResult(f *Finding, rule int, seen map[string]int) sarifResult {
	at := sarifLocation{Logical: []sarifLogical{{
		Name:     Printable(f.Object.Name),
		FullName: Printable(f.Object.Namespace + "/" + f.Object.Kind + "/" + f.Object.Name),
		Kind:     "resource",
	}}}
	at.Physical = physical(f.inFile())
	out := sarifResult{RuleID: f.Rule, RuleIndex: rule, Level: sarifLevels[f.Severity], Locations: []sarifLocation{at}}
	lines := append([]string{f.headline() + "."}, f.details()...)
	for _, rel := range f.Related {
		if rel.Location.File == "" {
			continue
		}
		name, id := Printable(rel.Object.name()), len(out.Related)+1
		out.Related = append(out.Related, sarifLocation{ID: id, Physical: physical(rel.Location), Message: &sarifText{Text: name}})
		lines = append(lines, fmt.Sprintf("See [%s](%d).", strings.NewReplacer("[", "(", "]", ")").Replace(name), id))
	}
	out.Message.Text = strings.Join(append(lines, f.remedy()...), "\n")
	print := f.fingerprint()
	seen[print]++
	out.Fingerprints.Primary = fmt.Sprintf("%s:%d", print, seen[print])
	if f.Status == Skipped {
		kind := "external"
		if f.Annotated {
			kind = "inSource"
		}
		out.Suppressions = []sarifSuppression{{Kind: kind, Status: "accepted", Justification: Printable(f.Reason)}}
	}
	return out
}

// inFile is where to show the finding: where its object stands or, if that is in
// a cluster, where another one stands that it is about. There may be neither.
func (f *Finding) inFile() Location {
	l := f.Location
	for _, rel := range f.Related {
		if l.File == "" {
			l = rel.Location
		}
	}
	return l
}

// fingerprint says which finding it is, wherever it moves within its file.
func (f *Finding) fingerprint() string {
	h := sha256.New()
	for _, part := range []string{f.Rule, f.Location.File, f.Object.Kind, f.Object.Namespace, f.Object.Name, f.StatefulSet, f.Path} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func physical(l Location) *sarifPhysical {
	p := &sarifPhysical{Artifact: artifact(l.File)}
	if l.Line > 0 {
		p.Region = &sarifRegion{StartLine: l.Line, StartColumn: l.Column, EndLine: l.EndLine, EndColumn: l.EndColumn}
	}
	return p
}

// artifact is the URI of a file as it is displayed, with slashes.
func artifact(file string) sarifArtifact {
	file = strings.ToValidUTF8(file, "\uFFFD")
	switch {
	case strings.HasPrefix(file, "/"):
		return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: file}).String()}
	case len(file) > 2 && file[1] == ':' && file[2] == '/':
		return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: "/" + file}).String()}
	}
	return sarifArtifact{URI: (&url.URL{Path: file}).String(), BaseID: sarifRoot}
}

// mostSevere keeps n findings in their order: errors first, excused ones last.
func mostSevere(findings []*Finding, n int) []*Finding {
	rank := func(f *Finding) int {
		if f.Status == Skipped {
			return len(severities)
		}
		return slices.Index(severities, f.Severity)
	}
	order := make([]int, len(findings))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rank(findings[a]), rank(findings[b])) })
	kept := order[:n]
	slices.Sort(kept)
	out := make([]*Finding, n)
	for i, k := range kept {
		out[i] = findings[k]
	}
	return out
}

var severities = []Severity{SeverityError, SeverityWarning, SeverityAdvice, SeverityNote}

// atMost cuts a text that is longer than n code points.
func atMost(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}
