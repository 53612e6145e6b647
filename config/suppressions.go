package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"

	"github.com/stsguard/stsguard/policies"
)

// KindSuppressions is the kind of a file of findings that are known.
const KindSuppressions = "Suppressions"

// Suppressions are findings that are known and fail nothing.
type Suppressions struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	// Findings are sorted, and none stands there twice.
	Findings []Suppression `yaml:"findings"`
}

// Suppression is one known finding, without what changes when lines move.
type Suppression struct {
	Known `yaml:",inline"`
	// Count is how many there are of the kind; 0 means 1.
	Count int `yaml:"count,omitempty"`
}

// Known is what a known finding is told by: its rule, its object, the
// StatefulSet whose relation was judged, if it was one, and the file.
type Known struct {
	Rule        string `yaml:"rule"`
	Object      string `yaml:"object"`
	StatefulSet string `yaml:"statefulSet,omitempty"`
	// File starts from the directory of the suppressions and has slashes.
	File string `yaml:"file"`
}

// mostEqual is more than a file can hold of one kind, and few enough to add up.
const mostEqual = 1_000_000

// Compare orders known findings by file.
func (k Known) Compare(other Known) int {
	return cmp.Or(cmp.Compare(k.File, other.File), cmp.Compare(k.Object, other.Object), cmp.Compare(k.Rule, other.Rule), cmp.Compare(k.StatefulSet, other.StatefulSet))
}

// ParseSuppressions reads a file of known findings; name stands before the line
// in errors.
func ParseSuppressions(name string, data []byte, catalog policies.Catalog) (*Suppressions, error) {
	s := &Suppressions{}
	root, err := decode(name, data, s)
	if err != nil {
		return nil, err
	}
	if err := inFile(name, root, s.problems(catalog)); err != nil {
		return nil, err
	}
	counts := map[Known]int{}
	for _, f := range s.Findings {
		counts[f.Known] += max(1, f.Count)
	}
	return NewSuppressions(counts), nil
}

// NewSuppressions sorts known findings, of each of which there are so many.
func NewSuppressions(counts map[Known]int) *Suppressions {
	s := &Suppressions{APIVersion: APIVersion, Kind: KindSuppressions, Findings: []Suppression{}}
	for k, n := range counts {
		if n == 1 {
			n = 0
		}
		s.Findings = append(s.Findings, Suppression{Known: k, Count: n})
	}
	slices.SortFunc(s.Findings, func(a, b Suppression) int { return a.Compare(b.Known) })
	return s
}

func (s *Suppressions) problems(catalog policies.Catalog) []problem {
	var out []problem
	add := func(message string, path ...string) { out = append(out, problem{path: path, message: message}) }
	if s.APIVersion != APIVersion {
		add(fmt.Sprintf("apiVersion must be %s, not %q", APIVersion, s.APIVersion), "apiVersion")
	}
	if s.Kind != KindSuppressions {
		add(fmt.Sprintf("kind must be %s, not %q", KindSuppressions, s.Kind), "kind")
	}
	for i, f := range s.Findings {
		at := func(key string) []string { return []string{"findings", strconv.Itoa(i), key} }
		if catalog.Rule(f.Rule) == nil {
			add(UnknownRule(f.Rule, catalog), at("rule")...)
		}
		if f.Object == "" {
			add("a known finding needs its object, such as StatefulSet/default/web", at("object")...)
		}
		if f.File == "" {
			add("a known finding needs its file", at("file")...)
		}
		if f.Count < 0 || f.Count > mostEqual {
			add(fmt.Sprintf("count must be from 1 to %d, not %d", mostEqual, f.Count), at("count")...)
		}
	}
	return out
}

// Format writes the file as YAML.
func (s *Suppressions) Format() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Findings that are known. stsguard lint --suppressions lets them pass, and\n# writes this file anew with --update-suppressions.\n")
	text, err := yaml.Dump(s, yaml.WithIndent(2))
	if err != nil {
		return nil, fmt.Errorf("format suppressions: %w", err)
	}
	b.Write(text)
	return b.Bytes(), nil
}
