package integration

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/stsguard/stsguard/test/guarded"
)

func warned(t *testing.T) (*kubernetes.Clientset, *guarded.Warnings) {
	t.Helper()
	client, warnings, err := guarded.Listening(shared.Config)
	if err != nil {
		t.Fatal(err)
	}
	return client, warnings
}

func TestMissingServiceIsDenied(t *testing.T) {
	ns := namespace(t, nil)
	_, err := shared.Client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web", "nginx"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("got %v, want a denial", err)
	}
	contains(t, err.Error(), `admission webhook "validate.stsguard.dev" denied the request: StatefulSet "web" names Service "nginx", which does not exist`,
		"[service-not-found]", "clusterIP: None", "kind: Service", "app: nginx")

	log, err := os.ReadFile(shared.Server.Process.Log())
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(log), "msg=denied logger=validate operation=CREATE object=StatefulSet/"+ns+"/web rules=[service-not-found]")
}

func TestValidPairIsAllowedWithoutWarnings(t *testing.T) {
	ns := namespace(t, nil)
	client, got := warned(t)
	if _, err := client.CoreV1().Services(ns).Create(t.Context(), service("nginx"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web", "nginx"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if all := got.Take(); all != "" {
		t.Errorf("got warnings %q", all)
	}
}

func TestDryRunOnlyWarns(t *testing.T) {
	ns := namespace(t, nil)
	client, got := warned(t)
	if _, err := client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web", "nginx"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	contains(t, got.Take(), `[service-not-found] StatefulSet "web" names Service "nginx"`)
}

func TestClusterIPNoneIsInjected(t *testing.T) {
	ns := namespace(t, nil)
	client, got := warned(t)
	undecided := service("nginx-headless", func(s *corev1.Service) { s.Spec.ClusterIP = "" })
	s, err := client.CoreV1().Services(ns).Create(t.Context(), undecided, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Spec.ClusterIP != corev1.ClusterIPNone || len(s.Spec.ClusterIPs) != 1 || s.Spec.ClusterIPs[0] != corev1.ClusterIPNone {
		t.Errorf("got clusterIP %q and clusterIPs %q", s.Spec.ClusterIP, s.Spec.ClusterIPs)
	}
	contains(t, got.Take(), `[clusterip-none-missing] Service "nginx-headless" does not say clusterIP: None, but its name ends in -headless: stsguard has set clusterIP: None`)
}

func TestDeletingAGoverningServiceWarns(t *testing.T) {
	ns := namespace(t, nil)
	client, got := warned(t)
	for _, name := range []string{"one", "two"} {
		if _, err := client.CoreV1().Services(ns).Create(t.Context(), service(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web-"+name, name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the cache knows both StatefulSets", func() error {
		for _, name := range []string{"one", "two"} {
			if err := client.CoreV1().Services(ns).Delete(t.Context(), name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
				t.Fatal(err)
			}
		}
		if all := got.Take(); !strings.Contains(all, "StatefulSet \"web-one\"") || !strings.Contains(all, "StatefulSet \"web-two\"") {
			return errors.New(all)
		}
		return nil
	})
	// Of a collection each object comes by itself, in a request without a name.
	if err := client.CoreV1().RESTClient().Delete().Namespace(ns).Resource("services").Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	contains(t, got.Take(), `[service-in-use] Service "one" still governs StatefulSet "web-one"`, `[service-in-use] Service "two"`)
}

func TestStrictNamespaceDeniesTheDeletion(t *testing.T) {
	ns := namespace(t, map[string]string{"stsguard.dev/enforce": "strict"})
	if _, err := shared.Client.CoreV1().Services(ns).Create(t.Context(), service("nginx"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.Client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web", "nginx"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client, got := warned(t)
	eventually(t, "a dry-run warns", func() error {
		if err := client.CoreV1().Services(ns).Delete(t.Context(), "nginx", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Fatal(err)
		}
		if all := got.Take(); !strings.Contains(all, "[service-in-use]") {
			return errors.New(all)
		}
		return nil
	})
	err := shared.Client.CoreV1().Services(ns).Delete(t.Context(), "nginx", metav1.DeleteOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("got %v, want a denial", err)
	}
	contains(t, err.Error(), "[service-in-use]")
}

func TestTerminatingNamespaceEmptiesItself(t *testing.T) {
	ns := namespace(t, map[string]string{"stsguard.dev/enforce": "strict"})
	if _, err := shared.Client.CoreV1().Services(ns).Create(t.Context(), service("nginx"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.Client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web", "nginx"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := shared.Client.CoreV1().Namespaces().Delete(t.Context(), ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace is gone", func() error {
		_, err := shared.Client.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there, %v", err)
	})
}

func TestGenerateName(t *testing.T) {
	ns := namespace(t, nil)
	s := service("", func(s *corev1.Service) {
		s.Name, s.GenerateName, s.Spec.ClusterIP = "", "some-", ""
		s.Spec.Selector = map[string]string{"app": "x"}
	})
	if _, err := shared.Client.CoreV1().Services(ns).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	sts := set("", "missing")
	sts.GenerateName = "some-"
	_, err := shared.Client.AppsV1().StatefulSets(ns).Create(t.Context(), sts, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("got %v, want a denial", err)
	}
	contains(t, err.Error(), `StatefulSet "some-`)
}
