package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
)

// generated checks that a file is what it is made from. With UPDATE=1 in the
// environment it is written anew.
func generated(t *testing.T, file string, want []byte) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what it is made from: run make update", file)
	}
}

// TestInstallFile holds deploy/install.yaml against the chart.
func TestInstallFile(t *testing.T) {
	var out strings.Builder
	out.WriteString("# The chart in deploy/chart with its default values, for kubectl. docs/install.md\n# says how to use it; make update makes it anew.\n")
	for _, o := range objects(t, values(t, "createNamespace=true")) {
		out.WriteString("---\n" + o.text)
	}
	generated(t, path("deploy", "install.yaml"), []byte(out.String()))
}

// value is one of the chart's.
type value struct {
	// path has a dot before each key but the first.
	path, description string
	node              *yaml.Node
}

func (v value) decoded(t *testing.T) any {
	t.Helper()
	var out any
	if err := v.node.Decode(&out); err != nil {
		t.Fatalf("%s: %v", v.path, err)
	}
	return out
}

// chartValues are all that values.yaml has a comment for, in its order.
func chartValues(t *testing.T) []value {
	t.Helper()
	data, err := os.ReadFile(path("deploy", "chart", "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	var out []value
	var visit func(n *yaml.Node, above string)
	visit = func(n *yaml.Node, above string) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, v := n.Content[i], n.Content[i+1]
			at := above + key.Value
			comment := strings.TrimPrefix(key.HeadComment, "# ")
			switch {
			case comment != "":
				if strings.Contains(comment, "\n") {
					t.Errorf("values.yaml:%d: the comment of %s has several lines", key.Line, at)
				}
				out = append(out, value{at, comment, v})
			case v.Kind == yaml.MappingNode && len(v.Content) > 0:
				visit(v, at+".")
			default:
				t.Errorf("values.yaml:%d: %s has no comment", key.Line, at)
			}
		}
	}
	visit(document.Content[0], "")
	return out
}

// TestReadme holds the tables in the chart's README against values.yaml and
// against what it may do.
func TestReadme(t *testing.T) {
	file := path("deploy", "chart", "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| value | default | what it is |\n|---|---|---|\n")
	for _, v := range chartValues(t) {
		standard, err := json.Marshal(v.decoded(t))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", v.path, standard, v.description)
	}
	text := between(t, string(readme), "values", table.String())
	table.Reset()
	table.WriteString("| in | on | verbs | for |\n|---|---|---|---|\n")
	for _, r := range rights {
		what := strings.Join(r.resources, ", ")
		if r.name != "" {
			what += " called " + r.name
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", r.in, what, strings.Join(r.verbs, ", "), r.why)
	}
	generated(t, file, []byte(between(t, text, "rights", table.String())))
}

// between puts text between the two comments with this name.
func between(t *testing.T, readme, name, text string) string {
	t.Helper()
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->\n"
	before, rest, ok := strings.Cut(readme, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("the README has no place for %s", name)
	}
	return before + begin + text + end + after
}

// limits are what values may be, beyond the type of their default.
var limits = map[string]map[string]any{
	"name":                            {"pattern": `^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`},
	"image.repository":                {"minLength": 1, "pattern": `^[^:@]+(:[0-9]+/[^:@]+)?$`},
	"image.tag":                       {"pattern": `^[A-Za-z0-9_.-]*$`},
	"image.digest":                    {"pattern": `^(sha256:[0-9a-f]{64})?$`},
	"image.pullPolicy":                {"enum": []any{"Always", "IfNotPresent", "Never"}},
	"imagePullSecrets":                {"items": fields("name")},
	"replicas":                        {"minimum": 1},
	"rules":                           {"additionalProperties": map[string]any{"type": "string", "minLength": 1}, "propertyNames": map[string]any{"pattern": `^[a-z0-9]+(-[a-z0-9]+)*$`}},
	"webhooks.failurePolicy.validate": failurePolicy,
	"webhooks.failurePolicy.delete":   failurePolicy,
	"webhooks.failurePolicy.mutate":   failurePolicy,
	"webhooks.timeoutSeconds":         {"minimum": 1, "maximum": 30},
	"certificates.source":             {"enum": []any{"self", "cert-manager", "secret"}},
	"certificates.lifetime":           {"pattern": `^([0-9]+(h|m|s))+$`},
	"certificates.issuer":             {"additionalProperties": false, "properties": stringsOf("name", "kind", "group")},
	"clientCertificates.names":        {"items": map[string]any{"type": "string", "minLength": 1}},
	"metrics.serviceMonitor.interval": {"pattern": `^([0-9]+(h|m|s|ms))+$`},
	"log.level":                       {"enum": []any{"debug", "info", "warn", "error"}},
	"log.format":                      {"enum": []any{"json", "text"}},
	"shutdownDelaySeconds":            {"minimum": 0, "maximum": 300},
	"resources":                       {"additionalProperties": false, "properties": map[string]any{"requests": free, "limits": free, "claims": map[string]any{"type": "array"}}},
	"spreadOverNodes":                 {"enum": []any{"DoNotSchedule", "ScheduleAnyway"}},
	"tolerations":                     {"items": free},
	"affinity":                        {"additionalProperties": false, "properties": map[string]any{"nodeAffinity": free, "podAffinity": free, "podAntiAffinity": free}},
	"ports.webhook":                   port,
	"ports.health":                    port,
	"ports.metrics":                   port,
	"networkPolicy.apiServerPorts":    {"minItems": 1, "items": map[string]any{"type": "integer", "minimum": 1, "maximum": 65535}},
	"networkPolicy.metricsFrom":       {"items": free},
}

var (
	free          = map[string]any{"type": "object"}
	failurePolicy = map[string]any{"enum": []any{"Fail", "Ignore"}}
	// Others are for root alone.
	port = map[string]any{"minimum": 1024, "maximum": 65535}
)

func stringsOf(names ...string) map[string]any {
	out := map[string]any{}
	for _, n := range names {
		out[n] = map[string]any{"type": "string", "minLength": 1}
	}
	return out
}

// fields is an object that has these texts, and needs them.
func fields(names ...string) map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": stringsOf(names...), "required": names}
}

// TestSchema holds values.schema.json against values.yaml, the limits above and
// the schema of stsguard.yaml.
func TestSchema(t *testing.T) {
	root := map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
	known := maps.Clone(limits)
	for _, v := range chartValues(t) {
		if strings.HasPrefix(v.path, "config.") {
			continue
		}
		standard := v.decoded(t)
		s := map[string]any{"description": v.description, "default": standard}
		switch standard.(type) {
		case string:
			s["type"] = "string"
		case bool:
			s["type"] = "boolean"
		case int:
			s["type"] = "integer"
		case []any:
			s["type"] = "array"
		case map[string]any:
			s["type"] = "object"
			s["additionalProperties"] = map[string]any{"type": "string"}
		default:
			t.Fatalf("%s has a default of type %T", v.path, standard)
		}
		maps.Copy(s, known[v.path])
		delete(known, v.path)
		in := root
		keys := strings.Split(v.path, ".")
		for _, key := range keys[:len(keys)-1] {
			all := in["properties"].(map[string]any)
			if all[key] == nil {
				all[key] = map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
			}
			in = all[key].(map[string]any)
		}
		in["properties"].(map[string]any)[keys[len(keys)-1]] = s
	}
	for _, left := range slices.Sorted(maps.Keys(known)) {
		t.Errorf("there is no value %s", left)
	}
	properties := root["properties"].(map[string]any)
	// Helm hands it to charts that others depend on.
	properties["global"] = map[string]any{"type": "object", "description": "Of no meaning here."}
	addConfig(t, root)
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "Values of the chart stsguard"

	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		t.Fatal(err)
	}
	generated(t, path("deploy", "chart", "values.schema.json"), out.Bytes())
}

// addConfig describes the value config: all of stsguard.yaml that the chart
// doesn't write by itself. Which rules there are is known as long as there are
// none of the user's own.
func addConfig(t *testing.T, root map[string]any) {
	t.Helper()
	rules, err := policies.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(config.Schema(rules.Catalog))
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	properties := s["properties"].(map[string]any)
	for _, own := range []string{"apiVersion", "kind", "policies"} {
		delete(properties, own)
	}
	builtin := properties["rules"].(map[string]any)
	rule := properties["exceptions"].(map[string]any)["items"].(map[string]any)["properties"].(map[string]any)["rule"].(map[string]any)
	properties["rules"] = map[string]any{"type": builtin["type"], "description": builtin["description"]}
	root["properties"].(map[string]any)["config"] = map[string]any{
		"type": "object", "description": "What stsguard.yaml says, see the project's README.", "additionalProperties": false, "properties": properties,
	}
	root["if"] = map[string]any{"properties": map[string]any{"rules": map[string]any{"maxProperties": 0}}}
	root["then"] = map[string]any{"properties": map[string]any{"config": map[string]any{"properties": map[string]any{
		"rules":      builtin,
		"exceptions": map[string]any{"items": map[string]any{"properties": map[string]any{"rule": map[string]any{"enum": rule["enum"]}}}},
	}}}}
	delete(rule, "enum")
}
