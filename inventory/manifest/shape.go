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

// shape is what a value must look like to be of a type of the API. It knows only
// what is right: what is wrong with a value that doesn't fit, if anything is,
// decoding tells.
type shape struct {
	form form
	bits int          // of a whole number
	own  reflect.Type // that decides by itself
	// json says that the value is wanted as JSON.
	json bool
	// index is where the struct that its object is read into holds the value; nil
	// is nowhere.
	index []int
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

// anything fits and is wanted as JSON, ignored fits and isn't.
var anything, ignored = whatever(true), whatever(false)

func whatever(json bool) *shape {
	s := &shape{json: json}
	s.below = s
	return s
}

// slotOf is the slot of a variable for an object of the kind, which must be of
// the API's shape. Of other kinds any object fits, and there is no variable.
func slotOf(kind string) (to slot, variable any) {
	switch {
	case kind == string(inventory.KindService):
		return newSlot[inventory.ServiceJSON](serviceShape())
	case kind == string(inventory.KindStatefulSet):
		return newSlot[inventory.StatefulSetJSON](statefulSetShape())
	case workloads[kind] != nil:
		return newSlot[workloadJSON](workloadShape())
	}
	return slot{shape: anything}, nil
}

var (
	serviceShape     = objectShape[corev1.Service, inventory.ServiceJSON]()
	statefulSetShape = objectShape[appsv1.StatefulSet, inventory.StatefulSetJSON]()
	workloadShape    = objectShape[workloadJSON, workloadJSON]()
)

// objectShape makes the shape of type T when it is asked for, to be read into type
// Into. What the object is, it says itself.
func objectShape[T, Into any]() func() *shape {
	return sync.OnceValue(func() *shape {
		s := newShape(reflect.TypeFor[T](), reflect.TypeFor[Into]())
		s.fields["apiVersion"] = &shape{form: textForm, json: true, below: ignored}
		s.fields["kind"] = s.fields["apiVersion"]
		return s
	})
}

// newShape is the shape of type t, to be read into the other: nowhere if that is
// nil.
func newShape(t, into reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if into != nil && into.Kind() == reflect.Pointer {
		into = into.Elem()
	}
	s := &shape{below: ignored}
	elem := func() reflect.Type {
		if into == nil {
			return nil
		}
		return into.Elem()
	}
	switch kind := t.Kind(); {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[gojson.Unmarshaler]()):
		s.form, s.own, s.json, s.below = ownForm, t, true, anything
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
		s.addFields(t, into)
	default:
		s.form, s.own, s.json, s.below = ownForm, t, true, anything
	}
	return s
}

func (s *shape) addFields(t, into reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && f.Anonymous {
			s.addFields(f.Type, into)
			continue
		}
		var held reflect.StructField
		if into != nil {
			held = fieldNamed(into, name)
		}
		s.fields[name] = newShape(f.Type, held.Type)
		s.fields[name].index = held.Index
	}
}

// slot is a place for a value of a shape.
type slot struct {
	*shape
	// into is a variable for the value, or a map that has it under the key. The
	// zero Value has no use for it.
	into reflect.Value
	key  []byte
}

func newSlot[T any](s *shape) (to slot, variable any) {
	v := new(T)
	return slot{shape: s, into: reflect.ValueOf(v).Elem()}, v
}

// variable is what the value is stored in, behind the pointer to it if there is one.
func (s slot) variable() reflect.Value {
	if s.into.Kind() != reflect.Pointer {
		return s.into
	}
	if s.into.IsNil() {
		s.into.Set(reflect.New(s.into.Type().Elem()))
	}
	return s.into.Elem()
}

// open says whether the shape has what a bracket begins, and makes room for it.
func (s slot) open(bracket byte) bool {
	switch {
	case s.form == anyForm || s.form == ownForm:
		return true
	case s.form != objectForm && bracket == '{' || s.form != listForm && bracket == '[':
		return false
	case s.into.IsValid():
		switch v := s.variable(); v.Kind() {
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 0, 2))
		}
	}
	return true
}

// field is the slot for an object's field.
func (s slot) field(key []byte) slot {
	below := s.fields[string(key)]
	if below == nil {
		below = s.below
	}
	switch {
	case !s.into.IsValid():
	case s.fields == nil:
		return slot{below, s.variable(), key}
	case below.index != nil:
		return slot{shape: below, into: s.variable().FieldByIndex(below.index)}
	}
	return slot{shape: below}
}

// item is the slot for a list's next item.
func (s slot) item() slot {
	if !s.into.IsValid() {
		return slot{shape: s.below}
	}
	list := s.variable()
	n := list.Len()
	list.Grow(1)
	list.SetLen(n + 1)
	return slot{shape: s.below, into: list.Index(n)}
}

// putText stores a string, if the shape has one there.
func (s slot) putText(text []byte) bool {
	switch {
	case s.form == anyForm || s.form == ownForm:
		return true
	case s.form != textForm:
		return false
	case s.key != nil:
		s.into.Interface().(map[string]string)[string(s.key)] = string(text)
	case s.into.IsValid():
		s.variable().SetString(string(text))
	}
	return true
}

// put stores another scalar, given as JSON, if the shape has one there.
func (s slot) put(value []byte) bool {
	switch {
	case s.form == anyForm || s.form == ownForm:
		return true
	case value[0] == 'n': // as good as not there
		return s.key == nil || s.putText(nil)
	case s.form == boolForm && (value[0] == 't' || value[0] == 'f'):
		if s.into.IsValid() {
			s.variable().SetBool(value[0] == 't')
		}
		return true
	case s.form == wholeForm:
		n, err := strconv.ParseInt(string(value), 10, s.bits)
		if err == nil && s.into.IsValid() {
			s.variable().SetInt(n)
		}
		return err == nil
	}
	return false
}

// putOwn stores a value, given as JSON, if the type that decides takes it.
func (s slot) putOwn(value []byte) bool {
	own := reflect.New(s.own)
	if u, ok := own.Interface().(gojson.Unmarshaler); ok {
		if u.UnmarshalJSON(value) != nil {
			return false
		}
	} else if json.UnmarshalCaseSensitivePreserveInts(value, own.Interface()) != nil {
		return false
	}
	if s.into.IsValid() && value[0] != 'n' {
		s.variable().Set(own.Elem())
	}
	return true
}
