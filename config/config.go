// Package config is what a user may decide: stsguard.yaml.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

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

// Configuration is the whole file.
type Configuration struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Defaults   Defaults `yaml:"defaults"`
	// Rules is by rule id.
	Rules      map[string]Rule `yaml:"rules"`
	Exemptions Exemptions      `yaml:"exemptions"`
	Exceptions []Exception     `yaml:"exceptions"`
	// Controllers says what becomes, at most, of findings about objects that a
	// controller manages or that one of these users sends.
	Controllers Controllers `yaml:"controllers"`
	// DryRun says what becomes, at most, of findings in a dry-run that rest on
	// an object which the same dry-run may have left unstored.
	DryRun DryRun `yaml:"dryRun"`
	// AllowIgnoreAnnotations says whether stsguard.dev/ignore counts.
	AllowIgnoreAnnotations bool `yaml:"allowIgnoreAnnotations"`
	// RevealOtherNamespaces lets messages in admission name the namespaces of
	// others.
	RevealOtherNamespaces bool `yaml:"revealOtherNamespaces"`
}

// Defaults are the levels of a namespace without labels.
type Defaults struct {
	Enforce policies.Level `yaml:"enforce"`
	Warn    policies.Level `yaml:"warn"`
	Audit   policies.Level `yaml:"audit"`
}

// Rule is the configuration of one rule.
type Rule struct {
	// Mode is empty where the levels decide.
	Mode       Mode           `yaml:"mode"`
	Parameters map[string]any `yaml:"parameters"`
}

// Exemptions are what is never judged.
type Exemptions struct {
	Namespaces []string `yaml:"namespaces"`
	Usernames  []string `yaml:"usernames"`
}

// Exception lets one finding pass.
type Exception struct {
	Rule string `yaml:"rule"`
	// Namespace matches every namespace when it is empty.
	Namespace string `yaml:"namespace"`
	// Name is that of the finding's object or its StatefulSet.
	Name   string `yaml:"name"`
	Reason string `yaml:"reason"`
	// Expires is the last day, in UTC, on which it counts; none if it is zero.
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
	Mode      Mode     `yaml:"mode"`
	Usernames []string `yaml:"usernames"`
}

// DryRun is about requests that store nothing.
type DryRun struct {
	Mode Mode `yaml:"mode"`
}

// Default is the configuration without a file.
func Default() *Configuration {
	return &Configuration{
		APIVersion:             APIVersion,
		Kind:                   Kind,
		Defaults:               Defaults{Enforce: policies.Baseline, Warn: policies.Strict, Audit: policies.Strict},
		Exemptions:             Exemptions{Namespaces: []string{"kube-system"}},
		Controllers:            Controllers{Mode: Warn},
		DryRun:                 DryRun{Mode: Warn},
		AllowIgnoreAnnotations: true,
	}
}

// Load reads the file. Whatever it holds that is not known is an error.
func Load(path string, catalog policies.Catalog) (*Configuration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data, catalog)
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

// Parse reads a configuration; name stands before the line in errors. What the
// file leaves out has the value of [Default].
func Parse(name string, data []byte, catalog policies.Catalog) (*Configuration, error) {
	c := Default()
	c.APIVersion, c.Kind = "", ""
	if err := yaml.Load(data, c, yaml.WithKnownFields()); err != nil && len(bytes.TrimSpace(data)) > 0 {
		return nil, plain(name, err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, plain(name, err)
	}
	problems := c.problems(catalog)
	for i := range problems {
		problems[i].line = line(&root, problems[i].path)
	}
	slices.SortFunc(problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.message, b.message))
	})
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("%s:%d: %s", name, p.line, p.message))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

type problem struct {
	path    []string
	line    int
	message string
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
	for id, r := range c.Rules {
		rule := catalog.Rule(id)
		if rule == nil {
			add(unknownRule(id, catalog), "rules", id)
			continue
		}
		if r.Mode != "" && !slices.Contains(modes, r.Mode) {
			add(fmt.Sprintf("mode must be none, audit, warn or enforce, not %q", r.Mode), "rules", id, "mode")
		}
		for key, value := range r.Parameters {
			p, ok := rule.Parameters[key]
			if !ok {
				add(fmt.Sprintf("rule %s has no parameter %q", id, key), "rules", id, "parameters", key)
			} else if err := p.Check(value); err != nil {
				add(fmt.Sprintf("parameter %s %s", key, err), "rules", id, "parameters", key)
			}
		}
	}
	for i, e := range c.Exceptions {
		at := func(key string) []string { return []string{"exceptions", strconv.Itoa(i), key} }
		if catalog.Rule(e.Rule) == nil {
			add(unknownRule(e.Rule, catalog), at("rule")...)
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

func unknownRule(id string, catalog policies.Catalog) string {
	return fmt.Sprintf("there is no rule %q; the rules are %s", id, strings.Join(catalog.IDs(), ", "))
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
	if field, _, ok := strings.Cut(message, " not found in type"); ok {
		return "there is no " + field
	}
	return message
}
