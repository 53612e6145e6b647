package manifest

import (
	"bytes"
	gojson "encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/json"
)

// mistakes compares JSON that couldn't be decoded with the type it was meant
// for. The decoder's own error names one mistake of several, no list index and
// no map key, and for some types no field at all.
func mistakes(t reflect.Type, data []byte, pointer string) []problem {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[gojson.Unmarshaler]()):
		// It decides for itself.
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		var fields map[string]gojson.RawMessage
		if json.UnmarshalCaseSensitivePreserveInts(data, &fields) != nil {
			break
		}
		var found []problem
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if ft := fieldType(t, name); ft != nil {
				found = append(found, mistakes(ft, fields[name], pointer+"/"+escape.Replace(name))...)
			}
		}
		return found
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		var items []gojson.RawMessage
		if json.UnmarshalCaseSensitivePreserveInts(data, &items) != nil {
			break
		}
		var found []problem
		for i, item := range items {
			found = append(found, mistakes(t.Elem(), item, pointer+"/"+strconv.Itoa(i))...)
		}
		return found
	}
	err := json.UnmarshalCaseSensitivePreserveInts(data, reflect.New(t).Interface())
	if err == nil {
		return nil
	}
	message := describe(t, data)
	if message == "" {
		message = strings.TrimPrefix(err.Error(), "json: ")
	}
	return []problem{{pointer: pointer, message: strings.TrimPrefix(display(pointer)+": ", ": ") + message}}
}

// fieldType returns the type that a key's value has, nil if it is unknown.
func fieldType(t reflect.Type, name string) reflect.Type {
	if t.Kind() == reflect.Map {
		return t.Elem()
	}
	return fieldNamed(t, name).Type
}

// fieldNamed is the field of a struct that has the name in JSON, the zero value if
// there is none.
func fieldNamed(t reflect.Type, name string) reflect.StructField {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == name:
			return f
		case tag == "" && f.Anonymous:
			if below := fieldNamed(f.Type, name); below.Type != nil {
				below.Index = append(f.Index, below.Index...)
				return below
			}
		}
	}
	return reflect.StructField{}
}

// describe says what is wrong with a value for which type; empty if it can't.
func describe(t reflect.Type, data []byte) string {
	switch t {
	case reflect.TypeFor[intstr.IntOrString]():
		return "must be an integer or a string, not " + got(data)
	case reflect.TypeFor[resource.Quantity]():
		return "must be a quantity such as 500m or 10Gi, not " + quote(data)
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return "must be a time such as 2006-01-02T15:04:05Z, not " + quote(data)
	}
	var text string
	_ = gojson.Unmarshal(data, &text)
	switch t.Kind() {
	case reflect.String:
		if c := data[0]; c != '{' && c != '[' {
			return "must be a string, not " + got(data) + " (put it in quotes)"
		}
		return "must be a string, not " + got(data)
	case reflect.Bool:
		if text == "true" || text == "false" {
			return "must be true or false, not a string (take the quotes away)"
		}
		return "must be true or false, not " + got(data)
	case reflect.Int32, reflect.Int64:
		if _, err := strconv.Atoi(text); err == nil {
			return "must be an integer, not a string (take the quotes away)"
		}
		if n, err := strconv.ParseFloat(string(data), 64); err == nil && n == math.Trunc(n) && t.Kind() == reflect.Int32 {
			return fmt.Sprintf("must be an integer of 32 bits, not %s", data)
		} else if err == nil {
			return fmt.Sprintf("must be an integer, not %s", data)
		}
		return "must be an integer, not " + got(data)
	case reflect.Struct, reflect.Map:
		return "must be a mapping, not " + got(data)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "must be a string in base64"
		}
		return "must be a list, not " + got(data)
	}
	return ""
}

// got names the kind of a JSON value.
func got(data []byte) string {
	switch data[0] {
	case '{':
		return "a mapping"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	}
	return "a number"
}

// quote shows a scalar as it is.
func quote(data []byte) string {
	if data[0] == '{' || data[0] == '[' || len(data) > 60 {
		return got(data)
	}
	return string(data)
}
