package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/inventory"
)

// world is a StatefulSet with its pods, as a cluster has it, and Services.
type world struct {
	set      *appsv1.StatefulSet
	services []*corev1.Service
	sets     []*appsv1.StatefulSet
	options  Options
}

func newWorld(change ...func(*world)) *world {
	labels := map[string]string{"app": "web"}
	w := &world{set: &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "1", Generation: 7, ResourceVersion: "9"},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: "web", Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "web", Image: "web", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}},
			}},
		},
		Status: appsv1.StatefulSetStatus{ReadyReplicas: 2, UpdatedReplicas: 2, CurrentRevision: "web-a", UpdateRevision: "web-a"},
	}, options: Options{Kubectl: "kubectl -n shop"}}
	for _, c := range change {
		c(w)
	}
	return w
}

// plan makes the plan, with the text that a person reads.
func (w *world) plan(t *testing.T) (*Plan, string, error) {
	t.Helper()
	store := &inventory.Store{}
	in := World{Reader: store, StatefulSet: inJSON(t, w.set), ClusterDomain: "cluster.local", Headless: map[string]any{
		"spec": map[string]any{"selector": map[string]any{"app": "web"}, "ports": []any{map[string]any{"name": "http", "port": 8080, "protocol": "TCP"}}},
	}}
	for _, set := range append([]*appsv1.StatefulSet{w.set}, w.sets...) {
		store.PutStatefulSet(inventory.FromStatefulSet(set))
	}
	for _, s := range w.services {
		store.PutService(inventory.FromService(s))
		if s.Name == w.set.Spec.ServiceName {
			in.Governing = inJSON(t, s)
		}
	}
	for i := range *w.set.Spec.Replicas {
		in.Pods = append(in.Pods, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-%d", i), OwnerReferences: []metav1.OwnerReference{{UID: w.set.UID, Controller: new(true)}}},
			Spec:       corev1.PodSpec{Subdomain: w.set.Spec.ServiceName},
		})
	}
	p, err := New(in, w.options)
	if err != nil {
		return nil, "", err
	}
	var b strings.Builder
	if err := p.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return p, strings.Join(strings.Fields(b.String()), " "), nil
}

func inJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// with puts a Service in: one with a cluster IP, unless it is changed.
func with(name string, change ...func(*corev1.Service)) func(*world) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "web"},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	s.Spec.Ports[0].TargetPort.IntVal = 8080
	for _, c := range change {
		c(s)
	}
	return func(w *world) { w.services = append(w.services, s) }
}

func headless(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }

func selecting(app string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": app} }
}

func statefulSet(change func(*appsv1.StatefulSet)) func(*world) {
	return func(w *world) { change(w.set) }
}

func options(change func(*Options)) func(*world) {
	return func(w *world) { change(&w.options) }
}

// beside puts another StatefulSet in, governed by the same Service.
func beside(w *world) {
	w.sets = append(w.sets, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "cold", Namespace: "shop"}, Spec: appsv1.StatefulSetSpec{ServiceName: w.set.Spec.ServiceName}})
}

func TestWhatAPlanSays(t *testing.T) {
	retention := func(s *appsv1.StatefulSet) {
		s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
	}
	for name, test := range map[string]struct {
		world *world
		says  []string
		not   []string
	}{
		"owner": {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) {
			s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Database", Name: "shop", UID: "5", Controller: new(true)}}
		})), []string{`Database "shop" manages the StatefulSet`, "ownerReferences: - apiVersion: example.com/v1"}, nil},
		"argo by annotation": {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) {
			s.Annotations = map[string]string{argoTracking: "x"}
		})), []string{"Argo CD applies the StatefulSet"}, nil},
		"argo by label":     {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Labels = map[string]string{argoInstance: "x"} })), []string{"Argo CD applies the StatefulSet"}, nil},
		"flux":              {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Labels = map[string]string{fluxKustomize: "apps"} })), []string{`suspend Kustomization "apps" meanwhile`}, nil},
		"flux with a chart": {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Labels = map[string]string{fluxHelm: "apps"} })), []string{`suspend HelmRelease "apps" meanwhile`}, nil},
		"finalizers":        {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Finalizers = []string{"example.com/keep"} })), []string{"has finalizers (example.com/keep)"}, nil},
		"nobody":            {newWorld(with("web")), nil, []string{"Before you begin", "manages the StatefulSet", "applies the StatefulSet"}},
		"not ready":         {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Status.ReadyReplicas = 1 })), []string{"Only 1 of 2 pods are ready"}, nil},
		"rollout":           {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Status.UpdateRevision = "web-b" })), []string{"A rollout is under way", "'{.status.updateRevision}'=web-b"}, nil},
		"on delete": {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
			s.Status.UpdateRevision, s.Status.UpdatedReplicas = "web-b", 1
		})), []string{"1 of 2 pods don't have the StatefulSet's latest template yet", "for pod in web-1 web-0; do"}, []string{"rollout restart", "A rollout is under way"}},
		"one pod":    {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas, s.Status.ReadyReplicas = new(int32(1)), 1 })), []string{"nobody serves meanwhile"}, nil},
		"slow pods":  {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Spec.MinReadySeconds = 30 })), []string{"ready for 30 seconds"}, nil},
		"no pods":    {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(0)) })), []string{"in 3 steps", "Pods: there are none."}, []string{"Restart the pods", "endpointslices"}},
		"no volumes": {newWorld(with("web"), statefulSet(retention)), []string{"in 4 steps", "whenDeleted: Delete"}, []string{"Volumes:", "persistentvolumeclaims"}},
		"peers": {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) {
			s.Spec.Template.Spec.Containers[0].Args = []string{"--join=web-0.web"}
		})), []string{`look pods up by their names below "web", which end when the pods restart`}, nil},
		"applied": {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) {
			s.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: `{"secret": "of the old one"}`, "a": "b"}
		})), []string{"annotations: a: b", "its annotation is missing"}, []string{"of the old one"}},
		"applied on the server": {newWorld(with("web"), statefulSet(func(s *appsv1.StatefulSet) {
			s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "gitops", Operation: metav1.ManagedFieldsOperationApply}, {Manager: "scaler", Operation: metav1.ManagedFieldsOperationUpdate}}
		})), []string{`"gitops" applies the StatefulSet on the server's side`}, []string{"\"scaler\"", "managedFields"}},
		"near miss": {newWorld(with("peers", headless)), []string{`Service "peers" is there already`, `With --keep-name a Service "web" is created`, "web-0.web.shop.svc.cluster.local, which does not resolve, becomes"}, []string{"Create headless"}},
		"alias": {newWorld(with("web", func(s *corev1.Service) {
			s.Spec = corev1.ServiceSpec{Type: "ExternalName", ExternalName: "db.example.com"}
		})), []string{"web-0.web.shop.svc.cluster.local, which does not resolve, becomes"}, nil},
		"siblings":         {newWorld(with("web"), beside, options(func(o *Options) { o.KeepName = true })), []string{`Service "web" also governs StatefulSet "cold".`}, nil},
		"for others, too":  {newWorld(with("web", headless, selecting("cold")), beside), []string{`Create headless Service "web-headless"`}, []string{"Let Service"}},
		"without selector": {newWorld(with("web", headless, func(s *corev1.Service) { s.Spec.Selector = nil })), []string{"if something writes its endpoints, leave it as it is", "service-without-selector"}, nil},
		"excused before": {newWorld(with("web"), options(func(o *Options) { o.KeepName = true }), statefulSet(func(s *appsv1.StatefulSet) {
			s.Annotations = map[string]string{annotationIgnore: "port-unnamed", annotationIgnoreReason: "it's so"}
		})), []string{"stsguard.dev/ignore=port-unnamed,service-external-name,service-not-headless", `'stsguard.dev/ignore-reason=it'\''s so'`}, nil},
		"client Service there": {newWorld(with("web"), with("web-client"), options(func(o *Options) { o.KeepName = true })), []string{"in 1 step", `an alias of "web-client"`}, []string{"for clients ", "annotate service"}},
		"two IP families": {newWorld(with("web", func(s *corev1.Service) {
			s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = new(corev1.IPFamilyPolicyPreferDualStack), []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		})), []string{"ipFamilies: - IPv6 - IPv4 ipFamilyPolicy: PreferDualStack"}, nil},
		"a port no container has": {newWorld(with("web", func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "admin", Port: 9, Protocol: corev1.ProtocolTCP})
			s.Spec.Ports[1].TargetPort.Type, s.Spec.Ports[1].TargetPort.StrVal = 1, "admin"
			s.Spec.Ports[0].AppProtocol = new("http")
		})), []string{"ports: - appProtocol: http name: http port: 8080 protocol: TCP selector:"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, text, err := test.world.plan(t)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range test.says {
				if !strings.Contains(text, s) {
					t.Errorf("doesn't say %q:\n%s", s, text)
				}
			}
			for _, s := range test.not {
				if strings.Contains(text, s) {
					t.Errorf("says %q:\n%s", s, text)
				}
			}
		})
	}
}

func TestNoPlan(t *testing.T) {
	for name, test := range map[string]struct {
		world *world
		want  string
	}{
		"on its way out":  {newWorld(statefulSet(func(s *appsv1.StatefulSet) { s.DeletionTimestamp = new(metav1.Now()) })), "is being deleted"},
		"several":         {newWorld(with("web"), with("a", headless), with("b", headless)), "choose one of a, b with --service"},
		"nothing to keep": {newWorld(statefulSet(func(s *appsv1.StatefulSet) { s.Spec.ServiceName = "" }), options(func(o *Options) { o.KeepName = true })), "no serviceName that --keep-name could keep"},
		"name too long": {newWorld(statefulSet(func(s *appsv1.StatefulSet) {
			s.Spec.ServiceName = ""
			s.Name = strings.Repeat("a", 60)
		})), "choose one with --service"},
		"name of another":   {newWorld(with("web"), with("web-headless")), `there is a Service "web-headless" already, and it is not headless`},
		"endpoints by hand": {newWorld(with("web", func(s *corev1.Service) { s.Spec.Selector = nil }), options(func(o *Options) { o.KeepName = true })), "has no selector"},
		"kept for others":   {newWorld(with("web", selecting("cold")), beside, options(func(o *Options) { o.KeepName = true })), "leave --keep-name out"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := test.world.plan(t); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestWhatIsNotKnownIsKept has a field of a StatefulSet that this program's
// Kubernetes has never heard of.
func TestWhatIsNotKnownIsKept(t *testing.T) {
	w := newWorld(with("web"))
	in := strings.Replace(string(inJSON(t, w.set)), `"serviceName"`, `"inventedLater":{"by":9007199254740993},"serviceName"`, 1)
	store := &inventory.Store{}
	store.PutStatefulSet(inventory.FromStatefulSet(w.set))
	p, err := New(World{Reader: store, StatefulSet: []byte(in)}, Options{Service: "peers", Kubectl: "kubectl"})
	if err != nil {
		t.Fatal(err)
	}
	if text := p.Steps[1].Commands; !strings.Contains(text, "  inventedLater:\n    by: 9007199254740993\n") || strings.Contains(text, "resourceVersion") {
		t.Errorf("the manifest is\n%s", text)
	}
}

// TestQuote asks bash.
func TestQuote(t *testing.T) {
	for _, word := range []string{"plain", "arn:aws:eks:eu-west-1:1:cluster/x", "it's", "a b", "$(id)", "", "~", "*", `\`, "ü", "a\nb", "#"} {
		out, err := exec.Command("bash", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q became %q (%v)", word, out, err)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestPlanThatCannotBeWritten(t *testing.T) {
	if err := (&Plan{}).WriteText(full{}); err == nil || err.Error() != "write the plan: no space" {
		t.Error(err)
	}
}
