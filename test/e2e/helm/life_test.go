package helm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A release of a chart that is right hears nothing of stsguard until it ends.
func TestLife(t *testing.T) {
	bothWays(t, nil, func(u *user) {
		small := []string{"persistence.enabled=false"}
		u.must(u.install("books", "ledger", small))
		u.is("books", "1 deployed")
		u.has("service/books-ledger service/books-ledger-hl statefulset.apps/books-ledger")
		u.resolves(promised.FindAllString(u.last("books").Info.Notes, -1)...)

		u.must(u.upgrade("books", "ledger", append(small, "image.tag=16.4.0", "replicaCount=3")))
		u.is("books", "2 deployed")
		u.resolves(promised.FindAllString(u.last("books").Info.Notes, -1)...)

		u.must(u.rollback("books", 1))
		u.is("books", "3 deployed")
		u.warns()

		u.must(u.uninstall("books"))
		u.has("")
		u.warns(inUse("books-ledger-hl", "books-ledger"))
	})
}

// promised finds the pods' names in the chart's notes.
var promised = regexp.MustCompile(`\S+-\d+\.\S+\.svc\.cluster\.local`)

// resolves checks that CoreDNS answers for names.
func (u *user) resolves(names ...string) {
	u.Helper()
	if len(names) == 0 {
		u.Fatal("no names")
	}
	dns := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, shared.DNS)
	}}
	for _, name := range names {
		u.eventually("the DNS server answers", func() error {
			_, err := dns.LookupHost(u.Context(), name+".")
			return err
		})
	}
}

// The Service of this chart doesn't say clusterIP: None, its name does. Nobody
// fights over the field afterwards.
func TestInjectedClusterIPStays(t *testing.T) {
	bothWays(t, nil, func(u *user) {
		u.must(u.install("post", "relay", nil))
		u.warns(injected("post-headless"))
		u.resolves("post-0.post-headless."+u.namespace+".svc.cluster.local", "post-1.post-headless."+u.namespace+".svc.cluster.local")

		u.must(u.upgrade("post", "relay", []string{"image=relay:1.0", "replicas=1"}))
		u.must(u.upgrade("post", "relay", []string{"headless.enabled=true"}))
		u.must(u.rollback("post", 1))
		// Helm 3 applied on the client's side; a release of its moves over.
		u.must(u.upgrade("post", "relay", []string{"replicas=3"}, func(a *action.Upgrade) { a.ServerSideApply = "true" }))
		u.must(u.upgrade("post", "relay", []string{"replicas=2"}, func(a *action.Upgrade) { a.ServerSideApply, a.ForceReplace = "false", true }))
		u.must(u.rollback("post", 3))
		u.is("post", "7 deployed")
		u.warns()
		if ip := u.clusterIP("post-headless"); ip != corev1.ClusterIPNone {
			t.Errorf("got clusterIP %s", ip)
		}
	})
}

// A release without StatefulSets gets one, and its Service with it.
func TestUpgradeAddsAStatefulSet(t *testing.T) {
	bothWays(t, nil, func(u *user) {
		u.must(u.install("post", "relay", []string{"cluster=false"}))
		u.has("deployment.apps/post")
		u.must(u.upgrade("post", "relay", []string{"headless.enabled=true"}))
		u.has("service/post-headless statefulset.apps/post")
		u.must(u.rollback("post", 1))
		u.has("deployment.apps/post")
		u.warns(inUse("post-headless", "post"))
	})
}

// Volumes outlive a release, and the pods of the next one find theirs.
func TestVolumesOutliveTheRelease(t *testing.T) {
	u := newUser(t, nil)
	for i := range 2 {
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", u.namespace, i)},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: u.namespace,
				Capacity:         corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("8Gi")},
				AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				PersistentVolumeSource: corev1.PersistentVolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: "/nowhere"},
				},
			},
		}
		if _, err := shared.Client.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	values := []string{"persistence.storageClass=" + u.namespace, "nameOverride=db"}
	for range 2 {
		u.must(u.install("books", "ledger", values))
		u.resolves(promised.FindAllString(u.last("books").Info.Notes, -1)...)
		u.must(u.uninstall("books"))
	}
	if got := u.kubectl("", "get", "persistentvolumeclaims", "-o", "name"); got != "persistentvolumeclaim/data-books-db-0\npersistentvolumeclaim/data-books-db-1\n" {
		t.Errorf("got %s", got)
	}
}

// Two releases of one chart stand beside each other.
func TestTwoReleases(t *testing.T) {
	u := newUser(t, nil)
	for _, name := range []string{"one", "two"} {
		u.must(u.install(name, "ledger", []string{"persistence.enabled=false", "hooks.enabled=false", "pdb.create=false"}))
		u.must(u.install("relay-"+name, "relay", []string{"headless.enabled=true"}))
	}
	u.warns()
	u.must(u.uninstall("one"))
	u.has("service/relay-one-headless service/relay-two-headless service/two-ledger service/two-ledger-hl " +
		"statefulset.apps/relay-one statefulset.apps/relay-two statefulset.apps/two-ledger")
	u.warns(inUse("one-ledger-hl", "one-ledger"))
}

// injected is what is said when a Service is made headless.
func injected(service string) string {
	return `[clusterip-none-missing] Service "` + service + `" does not say clusterIP: None, but its name ends in -headless: stsguard has set clusterIP: None`
}

// inUse is what is said when a Service is deleted before its StatefulSet.
func inUse(service, set string) string {
	return `[service-in-use] Service "` + service + `" still governs StatefulSet "` + set + `". Delete the StatefulSet first, or, if it stays, create the Service again at once. Where its deletion is denied, annotate it with stsguard.dev/ignore: service-in-use.`
}

// Each way of deleting ends, and what is left behind is what was asked for.
func TestUninstallCascades(t *testing.T) {
	for _, cascade := range []string{"background", "foreground", "orphan"} {
		t.Run(cascade, func(t *testing.T) {
			u := newUser(t, nil)
			values := []string{"headless.enabled=true"}
			u.must(u.install("post", "relay", values))
			// With other ways of deleting than in the background, Helm's default
			// --wait=watcher may give up in a moment: it takes an object whose
			// status it has not read within 0.1 s for deleted.
			u.must(u.uninstall("post", func(a *action.Uninstall) {
				a.DeletionPropagation, a.WaitStrategy = cascade, kube.LegacyStrategy
			}))
			u.has("")
			u.warns(inUse("post-headless", "post"))
			pods := strings.Fields(u.kubectl("", "get", "pods", "-o", "name"))
			if want := []string{"pod/post-0", "pod/post-1"}; cascade == "orphan" && !slices.Equal(pods, want) {
				t.Errorf("got pods %v, want %v", pods, want)
			}
			u.must(u.install("post", "relay", values))
			u.warns()
		})
	}
}

// With the history kept, a rollback brings back what was uninstalled.
func TestUninstalledReleaseComesBack(t *testing.T) {
	bothWays(t, nil, func(u *user) {
		u.must(u.install("post", "relay", nil))
		u.must(u.uninstall("post", func(a *action.Uninstall) { a.KeepHistory = true }))
		u.is("post", "1 uninstalled")
		u.has("")
		u.must(u.rollback("post", 1))
		u.is("post", "2 deployed")
		u.warns(injected("post-headless"), inUse("post-headless", "post"), injected("post-headless"))
		u.has("service/post-headless statefulset.apps/post")
		if ip := u.clusterIP("post-headless"); ip != corev1.ClusterIPNone {
			t.Errorf("got clusterIP %s", ip)
		}
	})
}

// Where deleting a Service that is in use is denied, Helm deletes the
// StatefulSet all the same, and the second try finds the Service idle.
func TestStrictUninstall(t *testing.T) {
	u := newUser(t, map[string]string{"stsguard.dev/enforce": "strict"})
	u.must(u.install("post", "relay", []string{"headless.enabled=true"}))
	u.fails(u.uninstall("post"), "failed to delete release: post")
	u.eventually("the StatefulSet is gone", func() error {
		if left := u.kubectl("", "get", "statefulsets", "-o", "name"); left != "" {
			return errors.New(left)
		}
		return nil
	})
	u.has("service/post-headless")
	u.must(u.uninstall("post"))
	u.has("")
}

// What kubectl made, Helm takes over.
func TestTakeOwnership(t *testing.T) {
	bothWays(t, nil, func(u *user) {
		u.kubectl(`apiVersion: v1
kind: Service
metadata: {name: post-headless}
spec: {selector: {app: post}, ports: [{name: relay, port: 7000}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: post}
spec:
  serviceName: post-headless
  selector: {matchLabels: {app: post}}
  template:
    metadata: {labels: {app: post}}
    spec: {containers: [{name: relay, image: relay}]}
`, "create", "-f", "-")
		take := func(a *action.Install) { a.TakeOwnership, a.ForceConflicts = true, u.serverSide }
		u.must(u.install("post", "relay", nil, take))
		u.is("post", "1 deployed")
		u.must(u.upgrade("post", "relay", []string{"headless.enabled=true"}))
		u.warns()
		if ip := u.clusterIP("post-headless"); ip != corev1.ClusterIPNone {
			t.Errorf("got clusterIP %s", ip)
		}
	})
}
