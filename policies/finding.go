package policies

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stsguard/stsguard/inventory"
)

// Finding is one thing that one rule found wrong with one object.
type Finding struct {
	Rule *Rule
	// Object is what it is reported on.
	Object inventory.Ref
	// StatefulSet is the one whose relation was judged, empty for other
	// subjects.
	StatefulSet inventory.Ref
	// Path is a JSON pointer into the object.
	Path string
	// Message says in its first line what is wrong with which object. More
	// lines may say more.
	Message string
	// AtMostWarn says that the rule itself wants no denial here.
	AtMostWarn bool
	// Fix is nil if the rule has none.
	Fix *Fix
}

// Fix is how a rule would mend what it found.
type Fix struct {
	// Title is empty where the rule's remedy says it all.
	Title string `json:"title"`
	// Safe says that it can be applied to a manifest unseen: there is no other
	// way to mend it, and nothing that clients see changes.
	Safe bool `json:"safe"`
	// Inject says that the mutating webhook may apply it to the object under
	// admission.
	Inject bool `json:"inject"`
	// Object is the one that the patch is for, empty if that is the finding's.
	Object inventory.Ref `json:"object"`
	// Patch is a JSON patch (RFC 6902) of the object.
	Patch []PatchOp `json:"patch"`
	// Create is an object that is missing.
	Create map[string]any `json:"create"`
}

// PatchOp is one operation of a JSON patch.
type PatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Headline is the message's first line.
func (f *Finding) Headline() string {
	line, _, _ := strings.Cut(f.Message, "\n")
	return line
}

// Advice says what to do about it.
func (f *Finding) Advice() string {
	if f.Fix != nil && f.Fix.Title != "" {
		return f.Fix.Title
	}
	return f.Rule.Remedy
}

// readFinding takes over what a rule gave. Whatever it should not have given
// is an error: half a finding would be a rule that passes.
func (r *Rule) readFinding(value any) (Finding, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return Finding{}, fmt.Errorf("rule %s: finding: %w", r.ID, err)
	}
	var f struct {
		Object     inventory.Ref `json:"object"`
		Path       string        `json:"path"`
		Msg        string        `json:"msg"`
		AtMostWarn bool          `json:"atMostWarn"`
		Fix        *Fix          `json:"fix"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Finding{}, fmt.Errorf("rule %s: finding: %w", r.ID, err)
	}
	if f.Object == "" || f.Msg == "" {
		return Finding{}, fmt.Errorf("rule %s: finding has no object or no msg: %s", r.ID, raw)
	}
	return Finding{Rule: r, Object: f.Object, Path: f.Path, Message: f.Msg, AtMostWarn: f.AtMostWarn, Fix: f.Fix}, nil
}
