package manifest

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory"
)

// TestShapesKnowWhatIsRead: what an inventory reads must be a field of the API,
// or it would be dropped as unknown, and of a type that holds what the API's does.
func TestShapesKnowWhatIsRead(t *testing.T) {
	kinds := map[form][]reflect.Kind{
		textForm: {reflect.String}, boolForm: {reflect.Bool}, wholeForm: {reflect.Int32, reflect.Int64},
		objectForm: {reflect.Struct, reflect.Map}, listForm: {reflect.Slice},
	}
	var check func(path string, s *shape, into reflect.Type)
	check = func(path string, s *shape, into reflect.Type) {
		if into.Kind() == reflect.Pointer {
			into = into.Elem()
		}
		switch {
		case s.form == ownForm && s.own == into:
		case !slices.Contains(kinds[s.form], into.Kind()):
			t.Errorf("%s: a %s holds it", path, into)
		case into.Kind() == reflect.Struct:
			for i := range into.NumField() {
				f := into.Field(i)
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if below := s.fields[name]; below == nil {
					t.Errorf("%s: the API has no field %s", path, name)
				} else if !slices.Equal(below.index, f.Index) {
					t.Errorf("%s is dropped", path)
				} else {
					check(path+"."+name, below, f.Type)
				}
			}
		case into.Kind() == reflect.Map && into != reflect.TypeFor[map[string]string]():
			t.Errorf("%s: only maps of strings are known, not %s", path, into)
		case into.Kind() == reflect.Slice:
			check(path+"[]", s.below, into.Elem())
		}
	}
	check("service", serviceShape(), reflect.TypeFor[inventory.ServiceJSON]())
	check("statefulSet", statefulSetShape(), reflect.TypeFor[inventory.StatefulSetJSON]())
	check("workload", workloadShape(), reflect.TypeFor[workloadJSON]())
}

// TestRandomObjects holds the quick reader against the library on objects that
// have any of the fields of the API, some of them of a wrong type.
func TestRandomObjects(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	rounds := 1_500
	if testing.Short() {
		rounds = 500
	}
	fitting := 0
	for i := range rounds {
		apiVersion, kind, object := "v1", "Service", reflect.TypeFor[corev1.Service]()
		if i%2 == 0 {
			apiVersion, kind, object = "apps/v1", "StatefulSet", reflect.TypeFor[appsv1.StatefulSet]()
		}
		value := randomObject(random, object, 0, random.IntN(2)*150).(map[string]any)
		value["apiVersion"], value["kind"] = apiVersion, kind
		text, err := yaml.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		_, f := checkQuick(t, text)
		fitting += f
		if t.Failed() {
			t.Fatalf("in:\n%s", text)
		}
	}
	if fitting < rounds/4 {
		t.Errorf("knew the shape of %d objects only", fitting)
	}
}

// randomObject is a value for the type, one of so many in it of another type,
// none if that is 0.
func randomObject(random *rand.Rand, t reflect.Type, depth, wrong int) any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	of := func(values ...any) any { return values[random.IntN(len(values))] }
	if depth > 0 && wrong > 0 && random.IntN(wrong) == 0 {
		return of("a", "1", 1, -1, 1.5, int64(1)<<31, true, "true", nil, "", []any{}, []any{"a"}, map[string]any{}, map[string]any{"name": "a"})
	}
	switch t {
	case reflect.TypeFor[intstr.IntOrString]():
		return of(80, "http", "80", nil)
	case reflect.TypeFor[resource.Quantity]():
		return of("500m", "1Gi", 1, 0.5, "1e3")
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return of("2026-01-02T15:04:05Z", nil)
	case reflect.TypeFor[metav1.FieldsV1]():
		return map[string]any{"f:spec": map[string]any{}}
	}
	switch t.Kind() {
	case reflect.String:
		return of("a", "web-0.db.shop", "ClusterIP", "None", "", "10.0.0.1", "a: b # c\nd", "true")
	case reflect.Bool:
		return of(true, false)
	case reflect.Int32, reflect.Int64:
		return of(0, 1, 80, 1<<31-1)
	case reflect.Slice:
		out := make([]any, random.IntN(3))
		for i := range out {
			out[i] = randomObject(random, t.Elem(), depth+1, wrong)
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for range random.IntN(3) {
			out[of("a", "b", "app.kubernetes.io/name", "stsguard.dev/ignore").(string)] = randomObject(random, t.Elem(), depth+1, wrong)
		}
		return out
	}
	out := map[string]any{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		often := strings.Contains(" metadata name spec template containers ports selector serviceName ", " "+name+" ")
		if name != "" && (often || random.IntN(4+depth) == 0) {
			out[name] = randomObject(random, f.Type, depth+1, wrong)
		}
	}
	if random.IntN(20) == 0 {
		out["unknown"] = of("a", 1, map[string]any{"b": []any{nil}})
	}
	return out
}
