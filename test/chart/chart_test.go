// Package chart holds the Helm chart against the types of Kubernetes, against
// what the webhook reads and calls, and against a real API server; and it makes
// what is generated from the chart.
package chart

import (
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	helmchart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/inventory/render"
)

// Where the documentation installs it.
const (
	release   = "stsguard"
	namespace = "stsguard-system"
)

// path is where a file of the repository is.
func path(elem ...string) string { return filepath.Join(append([]string{"..", ".."}, elem...)...) }

var chartDir = path("deploy", "chart")

// object is one that was rendered.
type object struct {
	kind, name string
	text       string
	// typed is nil for kinds that Kubernetes doesn't have.
	typed runtime.Object
}

// values are those of expressions as in --set.
func values(t *testing.T, set ...string) map[string]any {
	t.Helper()
	v, err := render.Values(nil, set)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// template renders all files of the chart, by name, as Helm does.
func template(t *testing.T, in string, v map[string]any) (map[string]string, error) {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return templateChart(c, in, v)
}

func templateChart(c *helmchart.Chart, in string, v map[string]any) (map[string]string, error) {
	all, err := commonutil.ToRenderValues(c, v, common.ReleaseOptions{Name: release, Namespace: in, Revision: 1, IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// notes are what Helm shows after an installation.
func notes(t *testing.T, set ...string) string {
	t.Helper()
	files, err := template(t, namespace, values(t, set...))
	if err != nil {
		t.Fatal(err)
	}
	return files["stsguard/templates/NOTES.txt"]
}

// objects renders the chart and decodes each object as strictly as can be, in
// the order in which Helm installs them.
func objects(t *testing.T, v map[string]any) []object {
	t.Helper()
	return objectsIn(t, namespace, v)
}

func objectsIn(t *testing.T, in string, v map[string]any) []object {
	t.Helper()
	files, err := template(t, in, v)
	if err != nil {
		t.Fatal(err)
	}
	delete(files, "stsguard/templates/NOTES.txt")
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		t.Fatal(err)
	}
	if len(hooks) > 0 {
		t.Errorf("%d hooks: kubectl and GitOps tools know none", len(hooks))
	}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []object
	for _, m := range manifests {
		var u unstructured.Unstructured
		if err := yaml.UnmarshalStrict([]byte(m.Content), &u.Object); err != nil {
			t.Fatalf("%s: %v\n%s", m.Name, err, m.Content)
		}
		if strings.Contains(m.Content, "<no value>") {
			t.Errorf("%s: a value is missing\n%s", m.Name, m.Content)
		}
		o := object{kind: u.GetKind(), name: u.GetName(), text: strings.TrimSpace(m.Content) + "\n"}
		if !foreign[u.GetAPIVersion()+" "+u.GetKind()] {
			if o.typed, _, err = decoder.Decode([]byte(m.Content), nil, nil); err != nil {
				t.Fatalf("%s: %v\n%s", m.Name, err, m.Content)
			}
		}
		out = append(out, o)
	}
	return out
}

// foreign are the kinds of others that the chart may make.
var foreign = map[string]bool{
	"cert-manager.io/v1 Certificate":          true,
	"cert-manager.io/v1 Issuer":               true,
	"monitoring.coreos.com/v1 ServiceMonitor": true,
}

// find is the object of this type and name; ok says whether there is one.
func find[T runtime.Object](all []object, name string) (found T, ok bool) {
	for _, o := range all {
		if typed, is := o.typed.(T); is && o.name == name {
			return typed, true
		}
	}
	return found, false
}

// get is the object of this type and name, which must be there.
func get[T runtime.Object](t *testing.T, all []object, name string) T {
	t.Helper()
	found, ok := find[T](all, name)
	if !ok {
		t.Fatalf("no %T called %q", found, name)
	}
	return found
}
