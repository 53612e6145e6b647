package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/verdict"
)

const (
	// The API server cuts warnings at 256 characters when there is much to
	// say, and gives up after 4,096 in all.
	mostWarnings    = 10
	mostDenials     = 5
	warningLength   = 255
	annotationBytes = 1024
)

// answer is what becomes of a request. The zero value denies.
type answer struct {
	allowed  bool
	message  string
	warnings []string
	findings string
	patch    []policies.PatchOp
}

// validated puts an admission into words.
func validated(a *verdict.Admission) *answer {
	out := &answer{allowed: !a.Denied()}
	var denials []string
	more := 0
	for i := range a.Decisions {
		switch d := &a.Decisions[i]; d.Mode {
		case config.Enforce:
			if len(denials) == mostDenials {
				more++
				continue
			}
			denials = append(denials, strings.TrimRight(verdict.Explain(&d.Finding), "\n"))
		case config.Warn:
			out.warnings = append(out.warnings, verdict.Line(&d.Finding))
		}
	}
	if more > 0 {
		denials = append(denials, fmt.Sprintf("and %d more", more))
	}
	out.message = strings.Join(denials, "\n\n")
	out.warnings = warnings(append(out.warnings, a.Notes...))
	out.findings = annotation(a.Decisions)
	return out
}

// mutated puts an injection into words; nil allows the object as it is.
func mutated(in *verdict.Injection) *answer {
	out := &answer{allowed: true}
	if in == nil {
		return out
	}
	out.patch = in.Patch
	changes := make([]string, len(in.Patch))
	for i, op := range in.Patch {
		changes[i] = fmt.Sprintf("%s: %v", op.Path[strings.LastIndexByte(op.Path, '/')+1:], op.Value)
	}
	out.warnings = warnings([]string{fmt.Sprintf("[%s] %s: stsguard has set %s",
		in.Finding.Rule.ID, in.Finding.Headline(), strings.Join(changes, ", "))})
	return out
}

// warnings makes of each text a line that the API server passes on: it drops
// those with a control character without a word.
func warnings(texts []string) []string {
	var out []string
	for _, text := range texts {
		line := cut(strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, text)), warningLength)
		if line != "" && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	if more := len(out) - mostWarnings + 1; more > 1 {
		out = append(out[:mostWarnings-1], fmt.Sprintf("stsguard has %d more warnings", more))
	}
	return out
}

// cut shortens a text to so many characters, at the end of a sentence if it has
// any: half an advice reads like another one.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	if i := strings.LastIndex(string(runes[:most+1]), ". "); i > 0 {
		return text[:i+1]
	}
	return string(runes[:most-1]) + "…"
}

// annotation names the findings for the audit log.
func annotation(decisions []verdict.Decision) string {
	var b strings.Builder
	for i := range decisions {
		d := &decisions[i]
		entry := fmt.Sprintf("%s %s", d.Rule.ID, d.Object)
		if i > 0 && b.Len()+len(entry) > annotationBytes {
			fmt.Fprintf(&b, "; %d more", len(decisions)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(entry)
	}
	return b.String()
}

// encode writes the AdmissionReview that answers the request of this uid.
func (a *answer) encode(uid string) ([]byte, error) {
	if a.allowed && len(a.warnings) == 0 && len(a.patch) == 0 && a.findings == "" && plain(uid) {
		return append(append(append(make([]byte, 0, 192),
			`{"kind":"`+reviewKind+`","apiVersion":"`+reviewVersion+`","response":{"uid":"`...), uid...), `","allowed":true}}`...), nil
	}
	response := &admissionv1.AdmissionResponse{UID: types.UID(uid), Allowed: a.allowed, Warnings: a.warnings}
	if !a.allowed {
		response.Result = &metav1.Status{
			Status:  metav1.StatusFailure,
			Code:    http.StatusForbidden,
			Reason:  metav1.StatusReasonForbidden,
			Message: a.message,
		}
	}
	if a.findings != "" {
		response.AuditAnnotations = map[string]string{"findings": a.findings}
	}
	if len(a.patch) > 0 {
		patch, err := json.Marshal(a.patch)
		if err != nil {
			return nil, fmt.Errorf("write the patch: %w", err)
		}
		response.Patch, response.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
	}
	body, err := json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: reviewVersion, Kind: reviewKind},
		Response: response,
	})
	if err != nil {
		return nil, fmt.Errorf("write the answer: %w", err)
	}
	return body, nil
}

// plain says whether the text can stand in JSON as it is.
func plain(text string) bool {
	for i := range len(text) {
		c := text[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
