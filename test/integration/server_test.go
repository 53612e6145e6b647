package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stsguard/stsguard/test/guarded"
)

// line is the value of one metric.
func line(text, metric string) string {
	for l := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(l, metric+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestCertificateIsReloaded(t *testing.T) {
	serial := func() string {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(shared.Server.Base, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	if err := shared.Server.RotateCertificate(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate is served", func() error {
		if serial() == before {
			return errors.New("still the old one")
		}
		return nil
	})
	ns := namespace(t, nil)
	if _, err := shared.Client.CoreV1().Services(ns).Create(t.Context(), service("nginx"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestConfigurationIsReloaded(t *testing.T) {
	ns := namespace(t, nil)
	create := func() error {
		_, err := shared.Client.AppsV1().StatefulSets(ns).Create(t.Context(), set("web", "nginx"), metav1.CreateOptions{})
		return err
	}
	reloads := func(result string) string {
		text, err := shared.Server.Scrape(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return line(text, `stsguard_config_reloads_total{result="`+result+`"}`)
	}
	if create() == nil {
		t.Fatal("allowed under the first configuration")
	}
	failed, loaded := reloads("error"), reloads("ok")
	t.Cleanup(func() {
		if err := shared.Server.SetConfig(plainConfig); err != nil {
			t.Error(err)
		}
		eventually(t, "the first one counts again", func() error {
			_, err := shared.Client.AppsV1().StatefulSets(ns).Create(context.Background(), set("other", "nginx"), metav1.CreateOptions{})
			if apierrors.IsForbidden(err) {
				return nil
			}
			return fmt.Errorf("not denied: %v", err)
		})
	})

	if err := shared.Server.SetConfig(plainConfig + "rulez: {}\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the wrong one is read", func() error {
		if n := reloads("error"); n == failed {
			return fmt.Errorf("still %s errors", n)
		}
		return nil
	})
	if create() == nil {
		t.Fatal("a wrong configuration is not the last good one")
	}

	if err := shared.Server.SetConfig(plainConfig + "rules:\n  service-not-found: {mode: warn}\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new one counts", create)
	if n := reloads("ok"); n == loaded {
		t.Errorf("still %s reloads", n)
	}
}

func TestReadyOnlyWithAFilledCache(t *testing.T) {
	user, err := shared.AddUser("stranger")
	if err != nil {
		t.Fatal(err)
	}
	s, err := guarded.StartServer(t.Context(), shared.ControlPlane, guarded.ServerOptions{Kubeconfig: user.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it serves", func() error {
		err := s.Ready(t.Context())
		if err == nil {
			t.Fatal("ready without a cache")
		}
		if !strings.Contains(err.Error(), "[+]server ok") {
			return err
		}
		return nil
	})
	contains(t, s.Ready(t.Context()).Error(), "[-]cache failed", "[+]server ok")

	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := insecure.Post(s.Base+"/validate", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s", response.Status)
	}

	if err := guarded.Grant(t.Context(), shared.Client, "stranger"); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
}
