// Package migrate follows the plans of stsguard migrate to the letter, on a
// cluster in which pods run, names are answered and stsguard enforces.
package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

var (
	cp      *controlplane.ControlPlane
	cluster *guarded.Guarded
	// bin is the directory of the program.
	bin string
)

// patience is for a machine busy with builds.
const patience = 2 * time.Minute

type tests struct{ *testing.M }

func (t tests) Run() int {
	code, err := t.prepared()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func (t tests) prepared() (int, error) {
	var err error
	if bin, err = os.MkdirTemp(cp.Dir, "bin"); err != nil {
		return 0, err
	}
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/stsguard/stsguard/cmd/stsguard").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build stsguard: %w\n%s", err, out)
	}
	if cluster, err = guarded.Guard(context.Background(), cp, guarded.Options{}); err != nil {
		return 0, err
	}
	return t.M.Run(), nil
}

func TestMain(m *testing.M) {
	os.Exit(controlplane.Run(tests{m}, &cp, controlplane.Options{Nodes: 2, DNS: true}))
}

// scene is a StatefulSet "web" in a namespace of its own, as it was before
// anybody guarded the cluster.
type scene struct {
	*testing.T
	namespace, dir string
	claims         map[string]claim
}

// claim is what must not change of one.
type claim struct {
	uid    types.UID
	volume string
}

// newScene creates the objects, and waits until the pods are ready.
func newScene(t *testing.T, namespace string, set *appsv1.StatefulSet, services ...*corev1.Service) *scene {
	t.Helper()
	s := &scene{T: t, namespace: namespace, dir: t.TempDir()}
	ctx := t.Context()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{"stsguard.dev/enforce": "none"}}}
	if _, err := cluster.Client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, service := range services {
		if _, err := cluster.Client.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(set.Spec.VolumeClaimTemplates) > 0 {
		for i := range *set.Spec.Replicas {
			s.addVolume(fmt.Sprintf("%s-%d", namespace, i))
		}
	}
	if _, err := cluster.Client.AppsV1().StatefulSets(namespace).Create(ctx, set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until("the pods are ready", func() (string, bool) {
		set := s.set()
		return fmt.Sprintf("%+v", set.Status), set.Status.ReadyReplicas == *set.Spec.Replicas
	})
	s.run("kubectl label namespace " + namespace + " stsguard.dev/enforce-")
	s.claims = s.claimsNow()
	return s
}

func (s *scene) addVolume(name string) {
	s.Helper()
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		StorageClassName:       "by-hand-" + s.namespace,
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/" + name}},
	}}
	if _, err := cluster.Client.CoreV1().PersistentVolumes().Create(s.Context(), volume, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) set() *appsv1.StatefulSet {
	s.Helper()
	set, err := cluster.Client.AppsV1().StatefulSets(s.namespace).Get(s.Context(), "web", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return set
}

func (s *scene) services() map[string]corev1.ServiceSpec {
	s.Helper()
	list, err := cluster.Client.CoreV1().Services(s.namespace).List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]corev1.ServiceSpec{}
	for _, service := range list.Items {
		out[service.Name] = service.Spec
	}
	return out
}

func (s *scene) pods() map[string]types.UID {
	s.Helper()
	list, err := cluster.Client.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]types.UID{}
	for _, pod := range list.Items {
		out[pod.Name] = pod.UID
	}
	return out
}

func (s *scene) claimsNow() map[string]claim {
	s.Helper()
	list, err := cluster.Client.CoreV1().PersistentVolumeClaims(s.namespace).List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]claim{}
	for _, c := range list.Items {
		out[c.Name] = claim{c.UID, c.Spec.VolumeName}
	}
	return out
}

// until waits for something, which says what it is meanwhile.
func (s *scene) until(what string, done func() (string, bool)) {
	s.Helper()
	var now string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var ok bool
		if now, ok = done(); ok {
			return
		}
	}
	s.Fatalf("waited in vain until %s; it is so:\n%s", what, now)
}

// try runs what somebody pastes into bash.
func (s *scene) try(commands string) (stdout, stderr string, err error) {
	c := exec.CommandContext(s.Context(), "bash", "-c", "set -e\n"+commands)
	c.Dir = s.dir
	c.Env = append(os.Environ(), cp.Env()...)
	c.Env = append(c.Env, "PATH="+strings.Join([]string{bin, filepath.Dir(cp.KubectlPath), os.Getenv("PATH")}, string(os.PathListSeparator)))
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

func (s *scene) run(commands string) string {
	s.Helper()
	out, errs, err := s.try(commands)
	if err != nil {
		s.Fatalf("%v\n%s%s%s", err, commands, out, errs)
	}
	return out
}

// plan is what stsguard migrate prints.
func (s *scene) plan(flags ...string) *plan {
	s.Helper()
	text := s.run("stsguard migrate statefulset/web -n " + s.namespace + " " + strings.Join(flags, " "))
	p, err := parse(text)
	if err != nil {
		s.Fatalf("%v in\n%s", err, text)
	}
	return p
}

// follow takes the first steps of a plan.
func (s *scene) follow(p *plan, steps int) {
	s.Helper()
	for _, step := range p.steps[:steps] {
		before := s.pods()
		s.run(step.commands)
		s.check(step)
		now := s.pods()
		if strings.HasPrefix(step.text, "No pod restarts") {
			if !maps.Equal(before, now) {
				s.Errorf("step %q restarted pods: %v before, %v now", step.title, before, now)
			}
		} else if !strings.HasPrefix(step.text, "Every pod restarts") {
			s.Errorf("step %q doesn't say whether pods restart", step.title)
		} else {
			for name, uid := range before {
				if now[name] == uid {
					s.Errorf("step %q did not restart %s", step.title, name)
				}
			}
		}
		s.keepsClaims(step.title)
	}
}

// check runs what the plan has one look at, until it prints what it should.
func (s *scene) check(step step) {
	s.Helper()
	for _, c := range step.checks {
		s.until(c.command+" prints\n"+c.prints, func() (string, bool) {
			out, errs, err := s.try(c.command)
			return out + errs, err == nil && out == c.prints
		})
	}
}

func (s *scene) keepsClaims(when string) {
	s.Helper()
	if now := s.claimsNow(); !maps.Equal(s.claims, now) {
		s.Errorf("after %s the claims are not those that they were: %v before, %v now", when, s.claims, now)
	}
}

// back goes back from a step to where the plan began.
func (s *scene) back(p *plan, from int) {
	s.Helper()
	for n := from; n > 0; n = p.steps[n-1].then {
		step := p.steps[n-1]
		s.run(step.back)
		s.until("the pods are ready", func() (string, bool) {
			set := s.set()
			return fmt.Sprintf("%+v", set.Status), set.Status.ObservedGeneration == set.Generation && set.Status.ReadyReplicas == *set.Spec.Replicas
		})
		s.keepsClaims("going back from " + step.title)
	}
}

// lookUp asks CoreDNS.
func lookUp(ctx context.Context, host string) ([]string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, cp.DNS)
	}}
	return resolver.LookupHost(ctx, host)
}

// resolve waits until each pod's name below the Service leads to that pod.
func (s *scene) resolve(service string) {
	s.Helper()
	for name := range s.pods() {
		host := fmt.Sprintf("%s.%s.%s.svc.cluster.local.", name, service, s.namespace)
		s.until(host+" leads to the pod", func() (string, bool) {
			pod, err := cluster.Client.CoreV1().Pods(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err.Error(), false
			}
			addresses, err := lookUp(s.Context(), host)
			return fmt.Sprint(addresses, err, pod.Status.PodIP), err == nil && slices.Equal(addresses, []string{pod.Status.PodIP})
		})
	}
}

// same says that the world is what it was before the plan.
func (s *scene) same(set *appsv1.StatefulSet, services map[string]corev1.ServiceSpec) {
	s.Helper()
	now := s.set()
	// A restart stays written down in the template.
	set, now = set.DeepCopy(), now.DeepCopy()
	delete(now.Spec.Template.Annotations, "kubectl.kubernetes.io/restartedAt")
	if len(now.Spec.Template.Annotations) == 0 {
		now.Spec.Template.Annotations = nil
	}
	if !equality.Semantic.DeepEqual(set.Spec, now.Spec) {
		s.Errorf("the StatefulSet was\n%s\nand is\n%s", inJSON(set.Spec), inJSON(now.Spec))
	}
	if is := s.services(); !equality.Semantic.DeepEqual(services, is) {
		s.Errorf("the Services were\n%s\nand are\n%s", inJSON(services), inJSON(is))
	}
	for name := range s.pods() {
		pod, err := cluster.Client.CoreV1().Pods(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
		if err != nil {
			s.Fatal(err)
		}
		if pod.Spec.Subdomain != set.Spec.ServiceName {
			s.Errorf("%s has the subdomain %q", name, pod.Spec.Subdomain)
		}
	}
}

func inJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// stateful is a StatefulSet of three pods.
func stateful(change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	labels := map[string]string{"app": "web"}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.StatefulSetSpec{
		ServiceName: "web", Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
		},
	}}
	for _, c := range change {
		c(set)
	}
	return set
}

func named(service string) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) { set.Spec.ServiceName = service }
}

// storing gives each pod a volume of its own.
func storing(namespace string, deleted appsv1.PersistentVolumeClaimRetentionPolicyType) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) {
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: deleted, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType}
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("by-hand-" + namespace),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}}}
		set.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	}
}

func onDelete(set *appsv1.StatefulSet) {
	set.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
}

func partitioned(set *appsv1.StatefulSet) {
	set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(2))}
}

// serving is a Service for the pods.
func serving(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"},
		Ports:    []corev1.ServicePort{{Name: "http", Port: 8080}},
	}}
	for _, c := range change {
		c(s)
	}
	return s
}

func headless(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }

func alias(s *corev1.Service) {
	s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.example.com"}
}

func nodePort(s *corev1.Service) {
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports[0].Port = 80
	s.Spec.Ports[0].TargetPort.IntVal = 8080
}

// everything is a Service with all that an ExternalName may not have.
func everything(s *corev1.Service) {
	nodePort(s)
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"}
	s.Spec.LoadBalancerClass = new("example.com/none")
	s.Spec.LoadBalancerIP = "192.0.2.1"
	s.Spec.ExternalIPs = []string{"192.0.2.2"}
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	s.Annotations = map[string]string{"example.com/of": "the load balancer"}
}

func selecting(app string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": app} }
}

// TestPlans follows each plan to its end, where names resolve and nothing is
// left to be done, and then all the way back.
func TestPlans(t *testing.T) {
	const retain, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	for name, test := range map[string]struct {
		set      *appsv1.StatefulSet
		services []*corev1.Service
		flags    []string
		// service is the one to govern in the end.
		service string
		steps   int
	}{
		"cluster-ip":      {stateful(storing("cluster-ip", retain)), []*corev1.Service{serving("web")}, nil, "web-headless", 4},
		"claims-deleted":  {stateful(storing("claims-deleted", remove)), []*corev1.Service{serving("web", nodePort)}, nil, "web-headless", 6},
		"other-name":      {stateful(), []*corev1.Service{serving("web")}, []string{"--service", "peers"}, "peers", 4},
		"missing":         {stateful(storing("missing", remove)), nil, nil, "web", 1},
		"no-name":         {stateful(named("")), nil, nil, "web-headless", 4},
		"no-name-beside":  {stateful(named("")), []*corev1.Service{serving("peers", headless)}, nil, "peers", 3},
		"near-miss":       {stateful(), []*corev1.Service{serving("web-headless", headless)}, nil, "web-headless", 3},
		"near-miss-kept":  {stateful(), []*corev1.Service{serving("web-headless", headless)}, []string{"--keep-name"}, "web", 1},
		"kept":            {stateful(storing("kept", remove)), []*corev1.Service{serving("web", nodePort)}, []string{"--keep-name"}, "web", 2},
		"kept-everything": {stateful(), []*corev1.Service{serving("web", everything)}, []string{"--keep-name", "--client-service", "public"}, "web", 2},
		"alias":           {stateful(), []*corev1.Service{serving("web", alias)}, nil, "web-headless", 4},
		"alias-kept":      {stateful(), []*corev1.Service{serving("web", alias)}, []string{"--keep-name"}, "web", 1},
		"other-selector":  {stateful(), []*corev1.Service{serving("web", headless, selecting("wbe"))}, nil, "web", 1},
		"on-delete":       {stateful(onDelete, storing("on-delete", retain)), []*corev1.Service{serving("web")}, nil, "web-headless", 4},
		"partition":       {stateful(partitioned), []*corev1.Service{serving("web")}, nil, "web-headless", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, name, test.set, test.services...)
			set, services := s.set(), s.services()
			p := s.plan(test.flags...)
			if len(p.steps) != test.steps {
				t.Errorf("%d steps, want %d", len(p.steps), test.steps)
			}
			if !maps.EqualFunc(services, s.services(), func(a, b corev1.ServiceSpec) bool { return equality.Semantic.DeepEqual(a, b) }) || s.set().ResourceVersion != set.ResourceVersion {
				t.Error("to plan changed something")
			}
			s.follow(p, len(p.steps))
			if got := s.set().Spec.ServiceName; got != test.service {
				t.Errorf("Service %q governs, want %q", got, test.service)
			}
			if ip := s.services()[test.service].ClusterIP; ip != corev1.ClusterIPNone {
				t.Errorf("Service %q has the cluster IP %s", test.service, ip)
			}
			s.resolve(test.service)
			s.run("stsguard explain statefulset/web --cluster -n " + name)
			if done := s.plan(); len(done.steps) > 0 {
				t.Errorf("there is more to do:\n%+v", done.steps)
			}
			s.back(p, len(p.steps))
			s.same(set, services)
		})
	}
}

// TestBackFromEachStep turns back wherever one can.
func TestBackFromEachStep(t *testing.T) {
	t.Parallel()
	const name = "back"
	s := newScene(t, name, stateful(storing(name, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)), serving("web"))
	set, services := s.set(), s.services()
	for n := 1; ; n++ {
		p := s.plan()
		if n > len(p.steps) {
			return
		}
		before := s.pods()
		s.follow(p, n)
		s.back(p, n)
		s.same(set, services)
		if restarts := slices.ContainsFunc(p.steps[:n], func(s step) bool { return !strings.HasPrefix(s.text, "No pod restarts") }); !restarts && !maps.Equal(before, s.pods()) {
			t.Errorf("going back from step %d restarted pods", n)
		}
	}
}

// TestNameAnswersThroughout looks a Service's own name up all the time while it
// becomes headless.
func TestNameAnswersThroughout(t *testing.T) {
	t.Parallel()
	const host = "web.throughout.svc.cluster.local."
	s := newScene(t, "throughout", stateful(), serving("web"))
	p := s.plan("--keep-name")
	s.follow(p, 1)
	s.until(host+" resolves", func() (string, bool) {
		addresses, err := lookUp(t.Context(), host)
		return fmt.Sprint(addresses, err), err == nil
	})
	ctx, stop := context.WithCancel(t.Context())
	asked := make(chan error)
	go func() {
		for {
			if _, err := lookUp(t.Context(), host); err != nil || ctx.Err() != nil {
				asked <- err
				return
			}
		}
	}()
	s.run(p.steps[1].commands)
	s.check(p.steps[1])
	s.until(host+" leads to the pods", func() (string, bool) {
		addresses, err := lookUp(t.Context(), host)
		return fmt.Sprint(addresses, err), len(addresses) == 3
	})
	stop()
	if err := <-asked; err != nil {
		t.Errorf("meanwhile: %v", err)
	}
}

// TestScaledMeanwhile sees the plan's own check stop somebody whose plan is no
// longer right.
func TestScaledMeanwhile(t *testing.T) {
	t.Parallel()
	s := newScene(t, "scaled", stateful(), serving("web"))
	p := s.plan()
	s.run("kubectl -n scaled scale statefulset web --replicas=4")
	s.until("there are four pods", func() (string, bool) {
		pods := s.pods()
		return fmt.Sprint(pods), len(pods) == 4
	})
	s.follow(p, 1)
	write := p.steps[1]
	s.run(write.commands)
	last := write.checks[len(write.checks)-1]
	if out := s.run(last.command); out == last.prints {
		t.Errorf("%s still prints %s", last.command, out)
	}
}

// TestHalfDone plans what is left where somebody exchanged the StatefulSet and
// forgot the pods.
func TestHalfDone(t *testing.T) {
	t.Parallel()
	s := newScene(t, "half", stateful(), serving("web"))
	p := s.plan()
	s.follow(p, 3)
	rest := s.plan()
	if len(rest.steps) != 1 || rest.steps[0].commands != p.steps[3].commands {
		t.Fatalf("left to be done: %+v", rest.steps)
	}
	s.follow(rest, 1)
	s.resolve("web-headless")
}
