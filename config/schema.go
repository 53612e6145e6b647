package config

import (
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"sync"

	"github.com/stsguard/stsguard/policies"
)

// Schema is the JSON schema (draft 7, which editors know) of the file, made of
// the Go types and their comments. The catalog says which rules there are, and
// what parameters they have.
func Schema(catalog policies.Catalog) map[string]any {
	s := schemer{catalog: catalog}
	out := s.of(reflect.TypeFor[Configuration](), reflect.ValueOf(*Default()))
	out["$schema"] = "http://json-schema.org/draft-07/schema#"
	out["title"] = FileName
	out["description"] = "What stsguard does about StatefulSets and the Services that govern them."
	properties := out["properties"].(map[string]any)
	properties["apiVersion"].(map[string]any)["const"] = APIVersion
	properties["kind"].(map[string]any)["const"] = Kind
	return out
}

type schemer struct{ catalog policies.Catalog }

// required lists what may not be left out, by type.
var required = map[reflect.Type][]string{
	reflect.TypeFor[Configuration](): {"apiVersion", "kind"},
	reflect.TypeFor[Exception]():     {"rule", "name", "reason"},
}

// of describes one type; its fields have the defaults that value has.
func (s schemer) of(t reflect.Type, value reflect.Value) map[string]any {
	switch t {
	case reflect.TypeFor[Mode]():
		return map[string]any{"enum": modes}
	case reflect.TypeFor[policies.Level]():
		return map[string]any{"enum": []policies.Level{None, policies.Baseline, policies.Strict}}
	case reflect.TypeFor[Date]():
		return map[string]any{"type": "string", "format": "date", "pattern": `^\d{4}-\d{2}-\d{2}$`}
	case reflect.TypeFor[map[string]Rule]():
		return s.rules()
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Slice:
		element := s.of(t.Elem(), reflect.Zero(t.Elem()))
		if t.Elem().Kind() == reflect.String {
			element["minLength"] = 1
		}
		// A key with nothing behind it is as good as one that isn't there.
		return map[string]any{"type": []string{"array", "null"}, "items": element}
	case reflect.Struct:
		properties := map[string]any{}
		for f := range t.Fields() {
			p := s.of(f.Type, value.FieldByIndex(f.Index))
			p["description"] = comment(t.Name(), f)
			if v := value.FieldByIndex(f.Index); !v.IsZero() && f.Type.Kind() != reflect.Struct {
				p["default"] = v.Interface()
			}
			if f.Type.Kind() == reflect.String && t == reflect.TypeFor[Exception]() {
				s.exception(f.Name, p)
			}
			properties[f.Tag.Get("yaml")] = p
		}
		out := object(properties)
		if names := required[t]; len(names) > 0 {
			out["type"], out["required"] = "object", names
		}
		return out
	}
	return map[string]any{"type": "string"}
}

// exception says what the fields of an exception need beyond their types.
func (s schemer) exception(field string, p map[string]any) {
	switch field {
	case "Rule":
		p["enum"] = s.catalog.IDs()
	case "Name":
		p["minLength"] = 1
	case "Reason":
		p["pattern"] = `\S`
	}
}

func (s schemer) rules() map[string]any {
	all := map[string]any{}
	for _, r := range s.catalog {
		rule := s.of(reflect.TypeFor[Rule](), reflect.Zero(reflect.TypeFor[Rule]()))
		rule["description"] = r.Title + ". " + r.Description
		parameters := map[string]any{}
		for name, p := range r.Parameters {
			of := map[string]any{"type": "boolean"}
			if _, list := p.Default.([]any); list {
				of = map[string]any{"type": "array", "items": map[string]any{"type": "string", "minLength": 1}}
			}
			of["description"], of["default"] = p.Description, p.Default
			parameters[name] = of
		}
		properties := rule["properties"].(map[string]any)
		if len(parameters) == 0 {
			delete(properties, "parameters")
		} else {
			given := object(parameters)
			given["description"] = properties["parameters"].(map[string]any)["description"]
			properties["parameters"] = given
		}
		all[r.ID] = rule
	}
	return object(all)
}

func object(properties map[string]any) map[string]any {
	return map[string]any{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
}

//go:embed config.go
var source string

// comments are those on the fields of the types in config.go, by "Type.Field".
var comments = sync.OnceValue(func() map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		panic(fmt.Sprintf("config.go, which was compiled, can't be parsed: %v", err))
	}
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok {
			if fields, ok := t.Type.(*ast.StructType); ok {
				for _, f := range fields.Fields.List {
					for _, name := range f.Names {
						out[t.Name.Name+"."+name.Name] = f.Doc.Text()
					}
				}
			}
		}
		return true
	})
	return out
})

// comment is what the field's comment says, with the name that it has in the
// file.
func comment(typeName string, f reflect.StructField) string {
	text := strings.Join(strings.Fields(comments()[typeName+"."+f.Name]), " ")
	if rest, ok := strings.CutPrefix(text, f.Name+" "); ok {
		return f.Tag.Get("yaml") + " " + rest
	}
	return text
}
