package manifest

import (
	gojson "encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/json"

	"github.com/stsguard/stsguard/inventory"
)

// shape is what the JSON of a value must look like to be decoded into a type of
// the API. It knows only what is right: what is wrong with a value that doesn't
// fit, if anything is, decoding tells.
type shape struct {
	form form
	bits int          // of a whole number
	own  reflect.Type // that decides by itself
	// kept says that the value is of use once it was found to fit.
	kept bool
	// fields are those that an object may have, below is the shape of all others
	// and of a list's items.
	fields map[string]*shape
	below  *shape
}

type form int

const (
	anyForm form = iota
	textForm
	boolForm
	wholeForm
	objectForm
	listForm
	ownForm
)

// anything fits and is kept, ignored fits and isn't.
var anything, ignored = whatever(true), whatever(false)

func whatever(kept bool) *shape {
	s := &shape{kept: kept}
	s.below = s
	return s
}

// shapeOf is the shape of an object of the kind: of all of it, as the API has it,
// of which is kept what is of use.
func shapeOf(kind string) *shape {
	switch {
	case kind == string(inventory.KindService):
		return serviceShape()
	case kind == string(inventory.KindStatefulSet):
		return statefulSetShape()
	case workloads[kind] != nil:
		return workloadShape()
	}
	return anything
}

var (
	serviceShape     = objectShape[corev1.Service, inventory.ServiceJSON]()
	statefulSetShape = objectShape[appsv1.StatefulSet, inventory.StatefulSetJSON]()
	workloadShape    = objectShape[workloadJSON, workloadJSON]()
)

// objectShape makes the shape of type T when it is asked for, of which is kept
// what type Kept has. What the object is, it says itself.
func objectShape[T, Kept any]() func() *shape {
	return sync.OnceValue(func() *shape {
		s := newShape(reflect.TypeFor[T](), reflect.TypeFor[Kept]())
		s.fields["apiVersion"] = &shape{form: textForm, kept: true, below: ignored}
		s.fields["kind"] = s.fields["apiVersion"]
		s.fields["metadata"].fields["generateName"].kept = true
		return s
	})
}

// newShape is the shape of type t, of which is kept what the other has: nothing
// if that is nil.
func newShape(t, kept reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if kept != nil && kept.Kind() == reflect.Pointer {
		kept = kept.Elem()
	}
	s := &shape{kept: kept != nil, below: ignored}
	elem := func() reflect.Type {
		if kept == nil {
			return nil
		}
		return kept.Elem()
	}
	switch kind := t.Kind(); {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[gojson.Unmarshaler]()):
		s.form, s.own, s.below = ownForm, t, anything
	case kind == reflect.String:
		s.form = textForm
	case kind == reflect.Bool:
		s.form = boolForm
	case kind == reflect.Int32, kind == reflect.Int64:
		s.form, s.bits = wholeForm, t.Bits()
	case kind == reflect.Map:
		s.form, s.below = objectForm, newShape(t.Elem(), elem())
	case kind == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		s.form, s.below = listForm, newShape(t.Elem(), elem())
	case kind == reflect.Struct:
		s.form, s.fields = objectForm, map[string]*shape{}
		s.addFields(t, kept)
	default:
		s.form, s.own, s.below = ownForm, t, anything
	}
	return s
}

func (s *shape) addFields(t, kept reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && f.Anonymous {
			s.addFields(f.Type, kept)
			continue
		}
		var of reflect.Type
		if kept != nil {
			of = fieldType(kept, name)
		}
		s.fields[name] = newShape(f.Type, of)
	}
}

// field is the shape of an object's field.
func (s *shape) field(key []byte) *shape {
	if f := s.fields[string(key)]; f != nil {
		return f
	}
	return s.below
}

// fits says whether a value is of the shape, if what is in it is.
func (s *shape) fits(value []byte) bool {
	switch {
	case s.form == anyForm:
		return true
	case s.form == ownForm:
		own := reflect.New(s.own).Interface()
		if u, ok := own.(gojson.Unmarshaler); ok {
			return u.UnmarshalJSON(value) == nil
		}
		return json.UnmarshalCaseSensitivePreserveInts(value, own) == nil
	case value[0] == 'n': // as good as not there
		return true
	}
	switch s.form {
	case textForm:
		return value[0] == '"'
	case boolForm:
		return value[0] == 't' || value[0] == 'f'
	case wholeForm:
		_, err := strconv.ParseInt(string(value), 10, s.bits)
		return err == nil
	case objectForm:
		return value[0] == '{'
	}
	return value[0] == '['
}
