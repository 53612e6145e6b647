package explain

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/report"
)

// Of more than most neighbours with the same prospect a person is shown the
// first few.
const (
	most  = 10
	first = 3
)

// WriteText writes the explanation for a person. Remedy says what to do about
// what the rule of that id finds; it may know of none. The errors of WriteText
// say that the output could not be written.
func (e *Explanation) WriteText(w io.Writer, remedy func(rule string) string) error {
	var b bytes.Buffer
	for _, err := range e.Errors {
		fmt.Fprintln(&b, err)
	}
	for i := range e.StatefulSets {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		t := text{&e.StatefulSets[i], &b}
		t.write(remedy)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the explanation: %w", err)
	}
	return nil
}

// text writes about one StatefulSet.
type text struct {
	*StatefulSet
	b *bytes.Buffer
}

func (t text) write(remedy func(string) string) {
	fmt.Fprintf(t.b, "%s\n", report.Printable(fmt.Sprintf("StatefulSet %q%s: %s", t.Name, at(t.Location), t.headline())))
	t.say(t.governedBy())
	if t.ServiceName != "" {
		t.b.WriteByte('\n')
		t.table()
	}
	if len(t.Reasons) > 0 {
		t.b.WriteByte('\n')
	}
	fixes := []string{}
	for _, r := range t.Reasons {
		t.say("Why: " + sentence(r.Message) + t.holdsFor(r))
		if fix := remedy(r.Code); fix != "" && !slices.Contains(fixes, fix) {
			fixes = append(fixes, fix)
		}
	}
	for _, fix := range fixes {
		t.say("Fix: " + fix)
	}
	if len(t.Services)+len(t.Selected)+len(t.Siblings) > 0 {
		t.b.WriteByte('\n')
	}
	for _, s := range t.Services {
		t.say(t.selects(s))
	}
	if len(t.Selected) > 0 {
		t.say(fmt.Sprintf("Service %q selects pods of %s, too: its own name leads to those.", t.ServiceName, list(t.Selected)))
	}
	if len(t.Siblings) > 0 {
		t.say(fmt.Sprintf("It is also the governing Service of %s.", list(t.Siblings)))
	}
}

func (t text) say(s string) { t.b.WriteString(report.Fold("  ", s)) }

// headline says how the pods fare, all in all.
func (t text) headline() string {
	lead, names, are, work, resolve := "", fmt.Sprintf("the DNS names of its %d pods", t.Replicas), "are", "work", "resolve"
	none := fmt.Sprintf("none of its %d pods has a DNS name", t.Replicas)
	switch {
	case t.Replicas <= 0:
		lead, names, none = "it has no replicas; ", "the DNS names of its pods", "its pods would have no DNS names"
	case t.Replicas == 1:
		names, are, work, resolve, none = "the DNS name of its pod", "is", "works", "resolves", "its pod has no DNS name"
	}
	all := func(is func(inventory.PodRun) bool) bool {
		return !slices.ContainsFunc(t.names.Pods, func(p inventory.PodRun) bool { return !is(p) })
	}
	guaranteed := int64(0)
	for _, p := range t.names.Pods {
		if p.Guaranteed() {
			guaranteed += p.Len()
		}
	}
	switch {
	case t.Guaranteed:
		return lead + names + " " + are + " guaranteed"
	case guaranteed == 1:
		return fmt.Sprintf("of %s, 1 is guaranteed", names)
	case guaranteed > 1:
		return fmt.Sprintf("of %s, %d are guaranteed", names, guaranteed)
	case all(func(p inventory.PodRun) bool { return p.CoreDNS == inventory.Never }):
		return lead + none
	case all(func(p inventory.PodRun) bool { return p.CoreDNS == inventory.Unknown }):
		return lead + "whether " + names + " " + resolve + " can't be told"
	case all(func(p inventory.PodRun) bool {
		return p.Specification == inventory.NotPromised && p.CoreDNS != inventory.Unknown
	}):
		return lead + names + " " + work + " on CoreDNS, but " + are + " not guaranteed"
	}
	return lead + names + " " + are + " not guaranteed"
}

// governedBy describes the Service that serviceName names.
func (t text) governedBy() string {
	in := fmt.Sprintf("In namespace %q, ", t.Namespace)
	s := t.Governing
	switch {
	case t.ServiceName == "":
		return in + "without serviceName."
	case s == nil && slices.ContainsFunc(t.Reasons, func(r Reason) bool { return r.Code == inventory.ReasonUnread }):
		return in + fmt.Sprintf("governed by Service %q, which may not be read.", t.ServiceName)
	case s == nil:
		return in + fmt.Sprintf("governed by Service %q, which was not found.", t.ServiceName)
	}
	is := "which has a cluster IP"
	switch {
	case s.Type == "ExternalName":
		is = "which is an ExternalName"
	case s.Headless:
		is = "which is headless"
	case s.Type != "ClusterIP":
		is = "which is a " + s.Type
	}
	if s.Type != "ExternalName" {
		is += " and " + selector(s.Selector)
		if s.PublishNotReadyAddresses {
			is += ", ready or not"
		}
	}
	return in + fmt.Sprintf("governed by Service %q%s, %s.", s.Name, at(s.Location), is)
}

func selector(labels map[string]string) string {
	if len(labels) == 0 {
		return "has no selector"
	}
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return "selects " + strings.Join(pairs, ",")
}

// table has a line for each name, pods first.
func (t text) table() {
	w := tabwriter.NewWriter(t.b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i, c := range cells {
			cells[i] = report.Printable(c)
		}
		fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	row("DNS NAME", "TYPE", "SPECIFICATION", "COREDNS", "ANSWER")
	for _, p := range t.names.Pods {
		last := p.Last
		if p.Len() > most {
			last = p.First + first - 1
		}
		specification, coreDNS, answer := words(string(p.Specification)), words(string(p.CoreDNS)), "the pod's address"
		if p.CoreDNS == inventory.Never {
			answer = "-"
		}
		for ordinal := p.First; ordinal <= last; ordinal++ {
			row(t.names.PodName(ordinal), "A", specification, coreDNS, answer)
		}
		if last < p.Last {
			row(fmt.Sprintf("... and %d more like these, up to %s", p.Last-last, t.names.StatefulSet.PodName(p.Last)), "A", specification, coreDNS, answer)
		}
	}
	for _, r := range t.Records {
		row(r.Name, r.Type, words(r.Specification), words(r.CoreDNS), r.answer())
	}
	_ = w.Flush() // into memory
}

// words writes an outcome for a person.
func words(outcome string) string { return strings.ReplaceAll(outcome, "-", " ") }

// answer says what a record leads to.
func (r Record) answer() string {
	switch {
	case r.CoreDNS == string(inventory.Never):
		return "-"
	case r.Answer == "alias":
		return r.Target
	case r.Answer == "service":
		return fmt.Sprintf("the Service, port %d", r.Port)
	case r.Answer == "cluster-ip" && len(r.Addresses) > 0:
		return strings.Join(r.Addresses, ", ")
	case r.Answer == "cluster-ip":
		return "the cluster IP it will be given"
	case r.Type == "SRV" && r.Port > 0:
		return fmt.Sprintf("each pod's name, port %d", r.Port)
	case r.Type == "SRV":
		return "each pod's name"
	}
	return "each pod's address"
}

// holdsFor names the pods that a reason is about, unless it is all of them or
// it is about the Service's own names.
func (t text) holdsFor(r Reason) string {
	var pods []string
	all := true
	for _, p := range t.names.Pods {
		if slices.Contains(p.Reasons, inventory.Reason(r)) {
			pods = append(pods, podRun(t.names.StatefulSet, p.Run, " to "))
		} else {
			all = false
		}
	}
	if all || len(pods) == 0 {
		return ""
	}
	return " This is about " + strings.Join(pods, " and ") + "."
}

// selects says what another Service does with the pods.
func (t text) selects(s Selecting) string {
	of := "these pods"
	switch {
	case len(s.Pods) == 0:
		of = "none of the pods there are"
	case len(t.names.Pods) > 0 && !slices.Equal(s.Pods, podRuns(t.names.StatefulSet, []inventory.Run{t.names.StatefulSet.Pods()})):
		of = strings.ReplaceAll(strings.Join(s.Pods, " and "), "..", " to ")
	}
	verb := "selects"
	if len(s.Unknown) > 0 {
		verb = "may select"
		of += ", which depends on " + strings.Join(s.Unknown, " and ") + " of the running pods"
	}
	is, gives := "has a cluster IP", "clients may use it, and no pod has a name below it."
	if s.Headless {
		is, gives = "is headless", "no pod has a name below it, since serviceName doesn't name it."
	}
	return fmt.Sprintf("Service %q%s %s and %s %s: %s", s.Name, at(s.Location), is, verb, of, gives)
}

// at says where an object stands, with a space before it.
func at(l *report.Location) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf(" (%s:%d:%d)", l.File, l.Line, l.Column)
}

func list(objects []Object) string {
	var out []string
	for _, o := range objects {
		out = append(out, fmt.Sprintf("%s %q%s", o.Kind, o.Name, at(o.Location)))
	}
	return strings.Join(out, ", ")
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(r)) + s[size:]
	if strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}
