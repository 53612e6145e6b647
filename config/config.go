// Package config is what a user may decide: stsguard.yaml.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/stsguard/stsguard/policies"
)

// The apiVersion and kind of the file.
const (
	APIVersion = "stsguard.dev/v1alpha1"
	Kind       = "Configuration"
)

// FileName is what the command line looks for, from the working directory
// upwards.
const FileName = "stsguard.yaml"

// None is the level that includes nothing.
const None policies.Level = "none"

// Mode is what becomes of a finding.
type Mode string

// The modes, from the mildest.
const (
	Off     Mode = "none"
	Audit   Mode = "audit"
	Warn    Mode = "warn"
	Enforce Mode = "enforce"
)

var modes = []Mode{Off, Audit, Warn, Enforce}

// Compare orders modes from the mildest.
func (m Mode) Compare(other Mode) int {
	return cmp.Compare(slices.Index(modes, m), slices.Index(modes, other))
}

// AtLeast says whether m is as strong as least, or stronger.
func (m Mode) AtLeast(least Mode) bool { return m.Compare(least) >= 0 }

// AtMost returns the milder one of both.
func (m Mode) AtMost(most Mode) Mode {
	if m.AtLeast(most) {
		return most
	}
	return m
}

// Configuration is the whole file. The comments on its fields and on those below
// are what editors show.
type Configuration struct {
	// APIVersion is the version of this format.
	APIVersion string `yaml:"apiVersion"`
	// Kind tells this file from stsguard's others.
	Kind string `yaml:"kind"`
	// Defaults are the levels of namespaces that have no labels of their own.
	Defaults Defaults `yaml:"defaults"`
	// ClusterDomain is the domain that the cluster's DNS names end in.
	ClusterDomain string `yaml:"clusterDomain"`
	// Rules is what single rules are told, by their id.
	Rules map[string]Rule `yaml:"rules"`
	// Exemptions are what is never judged.
	Exemptions Exemptions `yaml:"exemptions"`
	// Exceptions let single findings pass.
	Exceptions []Exception `yaml:"exceptions"`
	// Controllers says what becomes, at most, of findings about objects that a
	// controller manages or that one of these users sends.
	Controllers Controllers `yaml:"controllers"`
	// DryRun says what becomes, at most, of findings in a dry-run that rest on
	// an object which the same dry-run may have left unstored.
	DryRun DryRun `yaml:"dryRun"`
	// AllowIgnoreAnnotations says whether the annotation stsguard.dev/ignore
	// counts.
	AllowIgnoreAnnotations bool `yaml:"allowIgnoreAnnotations"`
	// RevealOtherNamespaces lets messages in admission name the namespaces of
	// others.
	RevealOtherNamespaces bool `yaml:"revealOtherNamespaces"`
	// Policies are directories of rules besides stsguard's own. They start from
	// this file's directory, and a rule stands in DIR/ID/rule.rego.
	Policies []string `yaml:"policies"`
}

// Defaults are the levels of a namespace without labels.
type Defaults struct {
	// Enforce is the level whose findings deny, or fail the run.
	Enforce policies.Level `yaml:"enforce"`
	// Warn is the level whose findings warn, or show.
	Warn policies.Level `yaml:"warn"`
	// Audit is the level whose findings are recorded in the audit log.
	Audit policies.Level `yaml:"audit"`
}

// Rule is the configuration of one rule.
type Rule struct {
	// Mode is what becomes of the rule's findings. Without it the levels decide.
	Mode Mode `yaml:"mode"`
	// Parameters are the rule's own settings.
	Parameters map[string]any `yaml:"parameters"`
}

// Exemptions are what is never judged.
type Exemptions struct {
	// Namespaces are those in which nothing is judged.
	Namespaces []string `yaml:"namespaces"`
	// Usernames are those whose requests are not judged.
	Usernames []string `yaml:"usernames"`
}

// Exception lets one finding pass.
type Exception struct {
	// Rule is the id of the rule.
	Rule string `yaml:"rule"`
	// Namespace is the object's. Every namespace matches when it is left out.
	Namespace string `yaml:"namespace"`
	// Name is that of the finding's object or of its StatefulSet.
	Name string `yaml:"name"`
	// Reason says why the finding may pass.
	Reason string `yaml:"reason"`
	// Expires is the last day, in UTC, on which the exception counts.
	Expires Date `yaml:"expires"`
}

// Date is a day as 2027-06-30.
type Date struct{ time.Time }

// UnmarshalYAML reads a day.
func (d *Date) UnmarshalYAML(node *yaml.Node) error {
	t, err := time.Parse(time.DateOnly, node.Value)
	if err != nil {
		return fmt.Errorf("%q is not a date such as 2027-06-30", node.Value)
	}
	d.Time = t
	return nil
}

// Expired says whether the exception counts no more.
func (e Exception) Expired(now time.Time) bool {
	return !e.Expires.IsZero() && !now.Before(e.Expires.AddDate(0, 0, 1))
}

// Controllers is about what controllers do.
type Controllers struct {
	// Mode is the strongest that may become of a finding.
	Mode Mode `yaml:"mode"`
	// Usernames are those of controllers whose objects name no owner.
	Usernames []string `yaml:"usernames"`
}

// DryRun is about requests that store nothing.
type DryRun struct {
	// Mode is the strongest that may become of a finding.
	Mode Mode `yaml:"mode"`
}

// Default is the configuration without a file.
func Default() *Configuration {
	return &Configuration{
		APIVersion:             APIVersion,
		Kind:                   Kind,
		Defaults:               Defaults{Enforce: policies.Baseline, Warn: policies.Strict, Audit: policies.Strict},
		ClusterDomain:          "cluster.local",
		Exemptions:             Exemptions{Namespaces: []string{"kube-system"}},
		Controllers:            Controllers{Mode: Warn},
		DryRun:                 DryRun{Mode: Warn},
		AllowIgnoreAnnotations: true,
	}
}

// Notes are what the user should know of the configuration: the exceptions that
// count no more.
func (c *Configuration) Notes(now time.Time) []string {
	var out []string
	for _, e := range c.Exceptions {
		if e.Expired(now) {
			out = append(out, fmt.Sprintf("the exception from %s for %q expired on %s and counts no more", e.Rule, e.Name, e.Expires.Format(time.DateOnly)))
		}
	}
	return out
}

// Load reads the file, and the rules: those that come with stsguard and those in
// the file's policies. Whatever it holds that is not known is an error.
func Load(path string) (*Configuration, *policies.Rules, error) {
	f, err := Read(path)
	if err != nil {
		return nil, nil, err
	}
	return f.Parse()
}

// Find looks for [FileName] in dir and upwards; it returns "" if there is none.
func Find(dir string) (string, error) {
	for {
		path := filepath.Join(dir, FileName)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("look for %s: %w", FileName, err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}

// File is a configuration as it was read, with the rules in its policies.
type File struct {
	name  string
	data  []byte
	extra []policies.Source
	// unread says which policies could not be read.
	unread []problem
}

// Read reads the file and the rules in its policies, without judging either.
func Read(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return newFile(path, data), nil
}

func newFile(name string, data []byte) *File {
	f := &File{name: name, data: data}
	var c Configuration
	if _, err := decode(name, data, &c); err != nil {
		// Parse tells; nothing is read for a file that is wrong.
		return f
	}
	for i, dir := range c.Policies {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(filepath.Dir(name), dir)
		}
		sources, err := policies.Read(dir)
		if err != nil {
			f.unread = append(f.unread, problem{path: []string{"policies", strconv.Itoa(i)}, message: err.Error()})
		}
		f.extra = append(f.extra, sources...)
	}
	return f
}

// Equal says whether two readings gave the same.
func (f *File) Equal(other *File) bool { return reflect.DeepEqual(f, other) }

// Parse reads a configuration that stands in no file, so that no directories of
// rules are beside it. Its name stands before the line in errors.
func Parse(name string, data []byte) (*Configuration, *policies.Rules, error) {
	f := &File{name: name, data: data}
	var c Configuration
	if _, err := decode(name, data, &c); err == nil && len(c.Policies) > 0 {
		f.unread = []problem{{path: []string{"policies"}, message: "its policies can't be read from here: use --config with a copy of it beside the rules"}}
	}
	return f.Parse()
}

// Parse makes a configuration of the file. What it leaves out has the value of
// [Default].
func (f *File) Parse() (*Configuration, *policies.Rules, error) {
	c := Default()
	c.APIVersion, c.Kind = "", ""
	root, err := decode(f.name, f.data, c)
	if err != nil {
		return nil, nil, err
	}
	if err := inFile(f.name, root, slices.Clone(f.unread)); err != nil {
		return nil, nil, err
	}
	rules, err := policies.Extend(f.extra)
	if err != nil {
		return nil, nil, err
	}
	if err := inFile(f.name, root, c.problems(rules.Catalog)); err != nil {
		return nil, nil, err
	}
	return c, rules, nil
}

// decode reads YAML into a struct that has a field for everything that may stand
// there, and returns the document with its lines.
func decode(name string, data []byte, into any) (*yaml.Node, error) {
	if err := yaml.Load(data, into, yaml.WithKnownFields()); err != nil && len(bytes.TrimSpace(data)) > 0 {
		return nil, plain(name, err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, plain(name, err)
	}
	return &root, nil
}

type problem struct {
	path    []string
	line    int
	message string
}

// inFile makes one error of all problems, each with its line, nil of none.
func inFile(name string, root *yaml.Node, problems []problem) error {
	for i := range problems {
		problems[i].line = line(root, problems[i].path)
	}
	slices.SortFunc(problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.message, b.message))
	})
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("%s:%d: %s", name, p.line, p.message))
	}
	return errors.Join(errs...)
}

// problems says what is wrong beyond the file's form.
func (c *Configuration) problems(catalog policies.Catalog) []problem {
	var out []problem
	add := func(message string, path ...string) { out = append(out, problem{path: path, message: message}) }
	if c.APIVersion != APIVersion {
		add(fmt.Sprintf("apiVersion must be %s, not %q", APIVersion, c.APIVersion), "apiVersion")
	}
	if c.Kind != Kind {
		add(fmt.Sprintf("kind must be %s, not %q", Kind, c.Kind), "kind")
	}
	for key, level := range map[string]policies.Level{"enforce": c.Defaults.Enforce, "warn": c.Defaults.Warn, "audit": c.Defaults.Audit} {
		if !ValidLevel(level) {
			add(fmt.Sprintf("defaults.%s must be none, baseline or strict, not %q", key, level), "defaults", key)
		}
	}
	if len(validation.IsDNS1123Subdomain(c.ClusterDomain)) > 0 {
		add(fmt.Sprintf("clusterDomain must be a DNS domain in lower case such as cluster.local, not %q", c.ClusterDomain), "clusterDomain")
	}
	for id, r := range c.Rules {
		rule := catalog.Rule(id)
		if rule == nil {
			add(UnknownRule(id, catalog), "rules", id)
			continue
		}
		if r.Mode != "" && !slices.Contains(modes, r.Mode) {
			add(fmt.Sprintf("mode must be none, audit, warn or enforce, not %q", r.Mode), "rules", id, "mode")
		}
		for key, value := range r.Parameters {
			p, ok := rule.Parameters[key]
			if !ok {
				add(fmt.Sprintf("rule %s has no parameter %q", id, key)+meant(key, slices.Sorted(maps.Keys(rule.Parameters))), "rules", id, "parameters", key)
			} else if err := p.Check(value); err != nil {
				add(fmt.Sprintf("parameter %s %s", key, err), "rules", id, "parameters", key)
			}
		}
	}
	for i, e := range c.Exceptions {
		at := func(key string) []string { return []string{"exceptions", strconv.Itoa(i), key} }
		if catalog.Rule(e.Rule) == nil {
			add(UnknownRule(e.Rule, catalog), at("rule")...)
		}
		if e.Name == "" {
			add("an exception needs the name of the object or of its StatefulSet", at("name")...)
		}
		if strings.TrimSpace(e.Reason) == "" {
			add("an exception needs a reason", at("reason")...)
		}
	}
	for key, m := range map[string]Mode{"controllers": c.Controllers.Mode, "dryRun": c.DryRun.Mode} {
		if !slices.Contains(modes, m) {
			add(fmt.Sprintf("%s.mode must be none, audit, warn or enforce, not %q", key, m), key, "mode")
		}
	}
	return out
}

// ValidLevel says whether a namespace may have this level. Advice never denies
// and has no label.
func ValidLevel(l policies.Level) bool {
	return l == None || l == policies.Baseline || l == policies.Strict
}

// line finds the line of the value at path, or of the nearest thing above it
// that is there.
func line(n *yaml.Node, path []string) int {
	at := 1
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
		at = n.Line
	}
	for _, key := range path {
		next := (*yaml.Node)(nil)
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					at, next = n.Content[i].Line, n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(key); err == nil && i < len(n.Content) {
				next = n.Content[i]
				at = next.Line
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return at
}

// plain puts the file's name and the line before each thing that the YAML
// library found.
func plain(name string, err error) error {
	var several *yaml.LoadErrors
	if errors.As(err, &several) {
		var out []error
		for _, e := range several.Errors {
			out = append(out, plain(name, e))
		}
		return errors.Join(out...)
	}
	var one *yaml.LoadError
	if errors.As(err, &one) {
		return fmt.Errorf("%s:%d: %s", name, max(1, one.Mark.Line), wording(one.Message))
	}
	return fmt.Errorf("%s: %w", name, err)
}

// wording takes the names of Go types out of the library's message.
func wording(message string) string {
	if field, where, ok := strings.Cut(message, " not found in type "); ok {
		return "there is no " + field + meant(strings.TrimPrefix(field, "field "), fieldsOf(where))
	}
	return message
}
