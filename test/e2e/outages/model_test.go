package outages

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// What the tests know of a cluster, and the baseline rules written down anew
// from what they promise. None of stsguard's own code is used: otherwise both
// could be wrong in the same way.

// kind is how a Service came by its cluster IP, or by none.
type kind string

const (
	headless kind = "headless"
	address  kind = "address"
	alias    kind = "alias" // an ExternalName
	// unset leaves it to the API server, and to the mutating webhook: no
	// stored Service is of this kind.
	unset kind = "unset"
)

// service is a Service that selects the pods with one label, or none if app is
// empty.
type service struct {
	kind   kind
	app    string
	ignore string // a rule
}

// set is a StatefulSet.
type set struct {
	governing string // its serviceName
	app       string // its pods' label
	ignore    string
}

// state is one namespace. It is never changed: with makes another one.
type state struct {
	unenforced bool
	services   map[string]service
	sets       map[string]set
}

// part says which of a namespace's objects it is about.
type part struct {
	kind string // Service, StatefulSet or Namespace
	name string
}

// put is the state with an object in place of the one that it has; nil is
// none.
func (s state) put(p part, object any) state {
	switch p.kind {
	case "Service":
		s.services = replaced(s.services, p.name, object)
	case "StatefulSet":
		s.sets = replaced(s.sets, p.name, object)
	case "Namespace":
		s.unenforced = object.(bool)
	}
	return s
}

func replaced[V any](m map[string]V, name string, object any) map[string]V {
	m = maps.Clone(m)
	if object == nil {
		delete(m, name)
		return m
	}
	if m == nil {
		m = map[string]V{}
	}
	m[name] = object.(V)
	return m
}

// get is an object of the state, or nil.
func (s state) get(p part) any {
	switch p.kind {
	case "Service":
		if v, ok := s.services[p.name]; ok {
			return v
		}
	case "StatefulSet":
		if v, ok := s.sets[p.name]; ok {
			return v
		}
	case "Namespace":
		return s.unenforced
	}
	return nil
}

// violation is one rule that one StatefulSet breaks.
type violation struct {
	rule, set string
	// service is the one that exposes the pods.
	service string
	// excused says that an annotation asks to ignore it.
	excused bool
	// mild says that it never denies.
	mild bool
	// silent says that nobody hears of it, for what it follows from is excused.
	silent bool
}

func (v violation) governing() bool { return v.service == "" }

// violations are those of a whole namespace.
func (s state) violations() []violation {
	var out []violation
	for name, st := range s.sets {
		governing, found := s.services[st.governing]
		stands := false
		add := func(rule string) {
			excused := st.ignore == rule || found && governing.ignore == rule
			out = append(out, violation{rule: rule, set: name, excused: excused})
			stands = stands || !excused
		}
		switch {
		case st.governing == "":
			add("service-name-missing")
		case !found:
			add("service-not-found")
		case governing.kind == alias:
			add("service-external-name")
		default:
			if governing.kind == address {
				add("service-not-headless")
			}
			if governing.app != "" && governing.app != st.app {
				add("selector-mismatch")
			}
		}
		if found && governing.kind == headless {
			continue
		}
		for other, sv := range s.services {
			if other == st.governing || sv.kind != address || sv.app == "" || sv.app != st.app {
				continue
			}
			const rule = "clusterip-exposure"
			excused := st.ignore == rule || found && governing.ignore == rule || sv.ignore == rule
			out = append(out, violation{rule: rule, set: name, service: other, excused: excused, mild: !found, silent: !stands})
		}
	}
	return out
}

// review is a request as admission gets it: nil is no object.
type review struct {
	part
	old, new any
}

// denials are what a request is to be denied for in a namespace, each as a
// rule and the StatefulSets that it is about.
func (s state) denials(r review) []string {
	if s.unenforced || r.kind == "Namespace" || r.kind == "StatefulSet" && r.new == nil {
		return nil
	}
	before, after := s.put(r.part, r.old), s.put(r.part, r.new)
	if r.new == nil {
		return before.inUse(r)
	}
	was := before.violations()
	var out []string
	for _, v := range after.violations() {
		if r.kind == "StatefulSet" && v.set != r.name || v.excused || v.mild || v.silent {
			continue
		}
		// The moment when a Service is created is the one to get it right.
		created := r.kind == "Service" && r.old == nil && after.sets[v.set].governing == r.name
		if !slices.ContainsFunc(was, func(w violation) bool { return w.set == v.set && excuses(w, v, created) }) {
			out = append(out, v.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// excuses says whether, for what was wrong before, something is not new.
func excuses(was, is violation, created bool) bool {
	if created && was.governing() {
		return false
	}
	same := was.rule == is.rule && was.service == is.service
	return same || was.governing() && is.governing() && !was.excused
}

// inUse denies the deletion of a Service that still governs a StatefulSet.
func (s state) inUse(r review) []string {
	const rule = "service-in-use"
	var governed []string
	heeded := r.old.(service).ignore != rule
	all := true
	for name, st := range s.sets {
		if st.governing == r.name {
			governed = append(governed, name)
			all = all && st.ignore == rule
		}
	}
	if len(governed) == 0 || !heeded || all {
		return nil
	}
	slices.Sort(governed)
	return []string{rule + " " + strings.Join(governed, " ")}
}

// String is what the denial of it says, so far as the tests look.
func (v violation) String() string { return v.rule + " " + v.set }

func TestModel(t *testing.T) {
	right := state{
		services: map[string]service{"north": {kind: headless, app: "a"}, "south": {kind: alias}},
		sets:     map[string]set{"db": {governing: "north", app: "a"}, "web": {governing: "south", app: "b"}},
	}
	db, north, other := part{"StatefulSet", "db"}, part{"Service", "north"}, part{"Service", "west"}
	for name, c := range map[string]struct {
		in   state
		r    review
		want []string
	}{
		"a right pair":           {right, review{db, nil, set{"north", "a", ""}}, nil},
		"no name":                {right, review{db, nil, set{"", "a", ""}}, []string{"service-name-missing db"}},
		"not there":              {right, review{db, nil, set{"east", "a", ""}}, []string{"service-not-found db"}},
		"alias":                  {right, review{db, nil, set{"south", "a", ""}}, []string{"service-external-name db"}},
		"other labels":           {right, review{db, set{"north", "a", ""}, set{"north", "b", ""}}, []string{"selector-mismatch db"}},
		"ignored":                {right, review{db, nil, set{"north", "b", "selector-mismatch"}}, nil},
		"ignored no more":        {right, review{db, set{"north", "b", "selector-mismatch"}, set{"north", "b", ""}}, nil},
		"wrong before":           {right, review{part{"StatefulSet", "web"}, set{"south", "b", ""}, set{"south", "a", ""}}, nil},
		"deleted":                {right, review{db, set{"north", "a", ""}, nil}, nil},
		"not enforced":           {state{unenforced: true}, review{db, nil, set{"", "a", ""}}, nil},
		"Service in use":         {right, review{north, service{headless, "a", ""}, nil}, []string{"service-in-use db"}},
		"Service not in use":     {right, review{other, service{headless, "a", ""}, nil}, nil},
		"Service with address":   {right, review{north, nil, service{address, "c", ""}}, []string{"selector-mismatch db", "service-not-headless db"}},
		"Service made an alias":  {right, review{north, service{headless, "a", ""}, service{alias, "a", ""}}, []string{"service-external-name db"}},
		"Service beside a right": {right, review{other, nil, service{address, "a", ""}}, nil},
		"Service that exposes":   {right, review{other, nil, service{address, "b", ""}}, []string{"clusterip-exposure web"}},
	} {
		if got := c.in.denials(c.r); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
