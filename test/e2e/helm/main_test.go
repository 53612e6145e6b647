// Package helm installs, upgrades, rolls back and uninstalls charts with Helm
// itself, on a real cluster whose API server asks stsguard.
package helm

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/strvals"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/stsguard/stsguard/test/controlplane"
	"github.com/stsguard/stsguard/test/guarded"
)

// waitTimeout is how long Helm waits for pods that are ready at once. It is
// for a machine busy with other things.
const waitTimeout = 2 * time.Minute

// shared is what all tests work with, each in a namespace of its own.
var shared *guarded.Guarded

// stsguard is the path of the command-line program.
var stsguard string

func TestMain(m *testing.M) {
	// As Helm's own main has it.
	kube.ManagedFieldsManager = "helm"
	var cp *controlplane.ControlPlane
	os.Exit(controlplane.Run(guardedTests{m, &cp}, &cp, controlplane.Options{Nodes: 2, DNS: true}))
}

// guardedTests are the tests, with stsguard started before them.
type guardedTests struct {
	tests *testing.M
	cp    **controlplane.ControlPlane
}

func (g guardedTests) Run() int {
	if err := g.prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return g.tests.Run()
}

func (g guardedTests) prepare() error {
	cp := *g.cp
	// Helm repeats some of its errors in the log of the process.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	for _, v := range cp.Env() {
		name, value, _ := strings.Cut(v, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	stsguard = filepath.Join(cp.Dir, "stsguard")
	if out, err := exec.Command("go", "build", "-o", stsguard, "github.com/stsguard/stsguard/cmd/stsguard").CombinedOutput(); err != nil {
		return fmt.Errorf("build stsguard: %w\n%s", err, out)
	}
	var err error
	shared, err = guarded.Guard(context.Background(), cp, guarded.Options{})
	return err
}

// user is somebody with Helm at a command line, in a namespace of one's own.
type user struct {
	*testing.T
	namespace string
	helm      *action.Configuration
	// serverSide is how an install applies. Helm does as the install did in
	// all that follows.
	serverSide bool

	mu       sync.Mutex
	warnings []string
}

// newUser makes the namespace. The test runs beside others.
func newUser(t *testing.T, labels map[string]string) *user {
	t.Helper()
	t.Parallel()
	ns, err := shared.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "helm-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u := &user{T: t, namespace: ns.Name, helm: action.NewConfiguration(), serverSide: true}
	settings := cli.New()
	settings.KubeConfig, settings.KubeContext = shared.Kubeconfig, ""
	settings.QPS = -1
	settings.SetNamespace(ns.Name)
	u.helm.SetLogger(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := u.helm.Init(&warned{settings.RESTClientGetter(), u}, ns.Name, ""); err != nil {
		t.Fatal(err)
	}
	return u
}

// bothWays runs a story with each of the two ways in which Helm applies.
func bothWays(t *testing.T, labels map[string]string, story func(u *user)) {
	t.Parallel()
	for name, serverSide := range map[string]bool{"server-side": true, "client-side": false} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, labels)
			u.serverSide = serverSide
			story(u)
		})
	}
}

// warned is how Helm finds the cluster, with an ear for warnings.
type warned struct {
	clientGetter
	user *user
}

type clientGetter interface {
	action.RESTClientGetter
	ToRawKubeConfigLoader() clientcmd.ClientConfig
}

func (w *warned) ToRESTConfig() (*rest.Config, error) {
	config, err := w.clientGetter.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	config.WarningHandler = w.user
	return config, nil
}

// HandleWarningHeader keeps a warning, which Helm's user sees as it is.
func (u *user) HandleWarningHeader(_ int, _, text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.warnings = append(u.warnings, text)
}

// warns checks what Helm's user has been warned of since the last time. Nothing
// wanted: not at all.
func (u *user) warns(want ...string) {
	u.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	// Helm sends objects of one kind side by side.
	slices.Sort(u.warnings)
	slices.Sort(want)
	got := u.masked(strings.Join(u.warnings, "\n"))
	if all := strings.Join(want, "\n"); got != all {
		u.Errorf("got warnings\n%s\nwant\n%s", got, all)
	}
	u.warnings = nil
}

// chart loads one of this package's charts, and values as in --set.
func (u *user) chart(name string, set []string) (*chart.Chart, map[string]any) {
	u.Helper()
	c, err := loader.Load(filepath.Join("charts", name))
	if err != nil {
		u.Fatal(err)
	}
	values := map[string]any{}
	for _, s := range set {
		if err := strvals.ParseInto(s, values); err != nil {
			u.Fatal(err)
		}
	}
	return c, values
}

// install is `helm install NAME charts/CHART --wait`.
func (u *user) install(name, from string, set []string, change ...func(*action.Install)) error {
	u.Helper()
	c, values := u.chart(from, set)
	a := action.NewInstall(u.helm)
	a.ReleaseName, a.Namespace = name, u.namespace
	a.ServerSideApply = u.serverSide
	a.WaitStrategy, a.WaitForJobs, a.Timeout = kube.StatusWatcherStrategy, true, waitTimeout
	for _, f := range change {
		f(a)
	}
	_, err := a.RunWithContext(u.Context(), c, values)
	return err
}

// upgrade is `helm upgrade NAME charts/CHART --wait`.
func (u *user) upgrade(name, from string, set []string, change ...func(*action.Upgrade)) error {
	u.Helper()
	c, values := u.chart(from, set)
	a := action.NewUpgrade(u.helm)
	a.Namespace = u.namespace
	a.WaitStrategy, a.WaitForJobs, a.Timeout = kube.StatusWatcherStrategy, true, waitTimeout
	for _, f := range change {
		f(a)
	}
	_, err := a.RunWithContext(u.Context(), name, c, values)
	return err
}

// rollback is `helm rollback NAME REVISION --wait`.
func (u *user) rollback(name string, revision int) error {
	a := action.NewRollback(u.helm)
	a.Version = revision
	a.WaitStrategy, a.WaitForJobs, a.Timeout = kube.StatusWatcherStrategy, true, waitTimeout
	return a.Run(name)
}

// uninstall is `helm uninstall NAME --wait`.
func (u *user) uninstall(name string, change ...func(*action.Uninstall)) error {
	a := action.NewUninstall(u.helm)
	a.WaitStrategy, a.Timeout = kube.StatusWatcherStrategy, waitTimeout
	for _, f := range change {
		f(a)
	}
	_, err := a.Run(name)
	return err
}

// last is a release's latest revision.
func (u *user) last(name string) *release.Release {
	u.Helper()
	found, err := u.helm.Releases.Last(name)
	if err != nil {
		u.Fatal(err)
	}
	r, ok := found.(*release.Release)
	if !ok {
		u.Fatalf("release %s is a %T", name, found)
	}
	return r
}

// is checks number and status of a release's latest revision, as in "2 failed".
func (u *user) is(name, want string) {
	u.Helper()
	r := u.last(name)
	if got := fmt.Sprint(r.Version, " ", r.Info.Status); got != want {
		u.Errorf("release %s is %q, want %q: %s", name, got, want, r.Info.Description)
	}
}

// must checks that Helm had nothing against it.
func (u *user) must(err error) {
	u.Helper()
	if err != nil {
		u.Fatalf("Error: %v", err)
	}
}

// fails checks what Helm prints behind "Error: ".
func (u *user) fails(err error, want string) {
	u.Helper()
	if err == nil {
		u.Fatalf("went well, want\n%s", want)
	}
	if got := u.masked(err.Error()); got != want {
		u.Errorf("Error: %s\nwant\n%s", got, want)
	}
}

// denied checks what stsguard says, behind what Helm has to say.
func (u *user) denied(err error, want string) {
	u.Helper()
	if err == nil {
		u.Fatalf("went well, want\n%s", want)
	}
	_, got, _ := strings.Cut(u.masked(err.Error()), `admission webhook "validate.stsguard.dev" denied the request: `)
	if got != want {
		u.Errorf("Error: %v\nwant stsguard to say\n%s", err, want)
	}
}

var address = regexp.MustCompile(`\b10(\.\d+){3}\b`)

// masked has NAMESPACE for the user's, and ADDRESS for what a Service was given.
func (u *user) masked(text string) string {
	return address.ReplaceAllString(strings.ReplaceAll(text, u.namespace, "NAMESPACE"), "ADDRESS")
}

// clusterIP is that of a Service.
func (u *user) clusterIP(name string) string {
	u.Helper()
	s, err := shared.Client.CoreV1().Services(u.namespace).Get(u.Context(), name, metav1.GetOptions{})
	if err != nil {
		u.Fatal(err)
	}
	return s.Spec.ClusterIP
}

// has lists what there is of a few kinds, as kubectl would.
func (u *user) has(want string) {
	u.Helper()
	out, err := shared.Kubectl(u.Context(), "-n", u.namespace, "get", "services,statefulsets,deployments", "-o", "name").CombinedOutput()
	if err != nil {
		u.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Join(strings.Fields(string(out)), " "); got != want {
		u.Errorf("there are %q, want %q", got, want)
	}
}

// kubectl runs it in the user's namespace, with standard input.
func (u *user) kubectl(stdin string, args ...string) string {
	u.Helper()
	c := shared.Kubectl(u.Context(), append([]string{"-n", u.namespace}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		u.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// lint is `stsguard lint --cluster charts/CHART --release-name NAME`. It gives
// what was printed and the exit code.
func (u *user) lint(name, from string, set ...string) (string, int) {
	u.Helper()
	args := []string{"lint", "--cluster", filepath.Join("charts", from), "-n", u.namespace, "--release-name", name, "--kubeconfig", shared.Kubeconfig}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	c := exec.CommandContext(u.Context(), stsguard, args...)
	out, err := c.CombinedOutput()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		u.Fatal(err)
	}
	return u.masked(string(out)), c.ProcessState.ExitCode()
}

// eventually tries again for a while.
func (u *user) eventually(what string, check func() error) {
	u.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			u.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
