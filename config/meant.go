package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/stsguard/stsguard/policies"
)

// UnknownRule says that no rule has this id, and which ones there are.
func UnknownRule(id string, catalog policies.Catalog) string {
	message := fmt.Sprintf("there is no rule %q", id)
	if hint := meant(id, catalog.IDs()); hint != "" {
		return message + hint
	}
	return message + "; the rules are " + strings.Join(catalog.IDs(), ", ")
}

// meant is the end of a message about a word that is none of the known: the
// nearest of these, if it is near.
func meant(word string, known []string) string {
	best, least := "", 2+len(word)/5
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// fieldsOf lists what may stand in a struct of the files, by the name of its
// type.
func fieldsOf(typeName string) []string {
	var out []string
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Map, reflect.Slice:
			visit(t.Elem())
		case reflect.Struct:
			for f := range t.Fields() {
				name := f.Tag.Get("yaml")
				if name == "" {
					continue
				}
				if t.String() == typeName {
					out = append(out, name)
				}
				visit(f.Type)
			}
		}
	}
	visit(reflect.TypeFor[Configuration]())
	return out
}
