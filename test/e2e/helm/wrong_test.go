package helm

import (
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/action"
)

// What stsguard says of what these charts can get wrong.
const (
	saysTypo = `StatefulSet "books-ledger" names Service "books-ledger-h1", which does not exist in namespace "NAMESPACE" [service-not-found]
  Did you mean "books-ledger-hl"? It is headless and selects these pods.
  Why: Kubernetes never checks that the Service named by serviceName exists. The pods start all the same, but no name such as web-0.web resolves, and peers don't find each other.
  Fix: Correct spec.serviceName, or create this headless Service first.
    apiVersion: v1
    kind: Service
    metadata:
      name: books-ledger-h1
      namespace: NAMESPACE
    spec:
      clusterIP: None
      ports:
      - name: tcp-ledger
        port: 5432
        protocol: TCP
      selector:
        app.kubernetes.io/component: primary
        app.kubernetes.io/instance: books
        app.kubernetes.io/name: ledger`

	saysNotHeadless = `Service "books-ledger", which governs StatefulSet "books-ledger", is not headless: its cluster IP is ADDRESS [service-not-headless]
  Service "books-ledger-hl" is headless and selects these pods: name it in spec.serviceName.
  Why: Kubernetes promises pods names such as web-0.web only below a headless Service. Below one with a cluster IP they resolve on CoreDNS and fail on kube-dns, and nothing guarantees that they will go on to resolve.
  Fix: Name Service "books-ledger-hl" in spec.serviceName: it is headless and selects these pods. The field can't be changed later.`

	saysMismatch = `Service "books-ledger-hl" does not select the pods of StatefulSet "books-ledger", which it governs [selector-mismatch]
  It selects app.kubernetes.io/component=replica, but the pods have app.kubernetes.io/component=primary.
  Why: A Service makes DNS names only for pods that have every label of its selector. The pods of this StatefulSet don't, so none of their names resolves.
  Fix: Make the Service's selector a part of the pod labels. To change both, apply one after the other: take the label out of the selector, change the pods, and put it back after their rollout; or annotate the Service with stsguard.dev/ignore: selector-mismatch meanwhile.`

	warnsExposed  = `[clusterip-exposure] Service "books-ledger" has a cluster IP and selects the pods of StatefulSet "books-ledger", but Service "books-ledger-h1", which should govern it, does not exist. Fix the StatefulSet's governing Service first.`
	warnsMismatch = `[selector-mismatch] Service "books-ledger-hl" does not select the pods of StatefulSet "books-ledger", which it governs. Make the Service's selector a part of the pod labels.`
)

// plain is the database without what takes time.
func plain(more ...string) []string {
	return append([]string{"persistence.enabled=false", "hooks.enabled=false"}, more...)
}

// What is wrong in a chart from the first is denied, and told as it is. The
// Services are there by then. With the values put right, the same release
// heals.
func TestWrongInstall(t *testing.T) {
	for name, wrong := range map[string]struct {
		value, says string
		warns       []string
	}{
		"typo in serviceName":                    {"serviceName=books-ledger-h1", saysTypo, []string{warnsExposed}},
		"governed by the Service of the clients": {"serviceName=books-ledger", saysNotHeadless, nil},
		"selects no pod":                         {"headless.component=replica", saysMismatch, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, nil, func(u *user) {
				u.denied(u.install("books", "ledger", plain(wrong.value)), wrong.says)
				u.is("books", "1 failed")
				if d := u.masked(u.last("books").Info.Description); !strings.HasSuffix(d, wrong.says) {
					t.Errorf("the release says %s", d)
				}
				u.has("service/books-ledger service/books-ledger-hl")
				u.warns(wrong.warns...)
				u.must(u.upgrade("books", "ledger", plain(), func(a *action.Upgrade) { a.Install = true }))
				u.is("books", "2 deployed")
				u.warns()
			})
		})
	}
}

// What Helm itself says stands in front, in the same line.
func TestWrongInstallIsTakenBack(t *testing.T) {
	u := newUser(t, nil)
	err := u.install("books", "ledger", plain("serviceName=books-ledger-h1"), func(a *action.Install) { a.RollbackOnFailure = true })
	u.fails(err, `release books failed, and has been uninstalled due to rollback-on-failure being set: `+
		`server-side apply failed for object NAMESPACE/books-ledger apps/v1, Kind=StatefulSet: `+
		`admission webhook "validate.stsguard.dev" denied the request: `+saysTypo)
	u.has("")
	u.warns(warnsExposed)
}

// Helm's own dry run sends nothing that stsguard could hear of. It can be asked
// beforehand.
func TestWrongInstallBeforehand(t *testing.T) {
	u := newUser(t, nil)
	wrong := plain("serviceName=books-ledger")
	u.must(u.install("books", "ledger", wrong, func(a *action.Install) { a.DryRunStrategy = action.DryRunServer }))
	u.warns()
	u.finds(1, `  1.  create  Service "books-ledger-hl" in NAMESPACE   allowed
  2.  create  Service "books-ledger" in NAMESPACE      allowed
  3.  create  StatefulSet "books-ledger" in NAMESPACE  denied [service-not-headless]
In the end:
    StatefulSet "books-ledger" in NAMESPACE  absent
`, "books", "ledger", wrong...)
	u.finds(0, `  1.  create  Service "books-ledger-hl" in NAMESPACE   allowed
  2.  create  Service "books-ledger" in NAMESPACE      allowed
  3.  create  StatefulSet "books-ledger" in NAMESPACE  allowed
In the end:
    StatefulSet "books-ledger" in NAMESPACE  right
`, "books", "ledger", plain()...)
}

// finds checks exit code and a part of what stsguard says beforehand.
func (u *user) finds(code int, want, name, from string, set ...string) {
	u.Helper()
	out, got := u.lint(name, from, set...)
	if got != code || !strings.Contains(out, want) {
		u.Errorf("stsguard lint exits with %d and says\n%s\nwant %d and\n%s", got, out, code, want)
	}
}

// ifServerSide gives warnings about objects that an upgrade doesn't change:
// applied on the client's side, they aren't sent.
func (u *user) ifServerSide(warnings ...string) []string {
	if u.serverSide {
		return warnings
	}
	return nil
}

// A Service that was given an address can't be made headless. The API server
// says that it can't, and stsguard beforehand how it can.
func TestUpgradeToHeadless(t *testing.T) {
	bothWays(t, map[string]string{"stsguard.dev/enforce": "none"}, func(u *user) {
		wrong := []string{"service.suffix=", "headless.enabled=false"}
		right := []string{"service.suffix=", "headless.enabled=true"}
		notHeadless := `[service-not-headless] Service "post", which governs StatefulSet "post", is not headless: its cluster IP is ADDRESS. ` +
			`Name a headless Service (clusterIP: None) in serviceName, and serve clients with a second one. Neither field can be changed later.`
		u.must(u.install("post", "relay", wrong))
		u.warns(notHeadless)
		u.kubectl("", "label", "namespace", u.namespace, "stsguard.dev/enforce-")

		u.finds(1, `error: Service "post" has clusterIP: ADDRESS in the cluster, which can't be changed to clusterIP: None [immutable-change]
    7 |   {{- if .Values.headless.enabled }}
    8 |   clusterIP: None
      |              ^^^^
    9 |   {{- end }}
  It governs StatefulSet "post", whose names don't resolve while it is gone.
  Why: A Service's cluster IP and a StatefulSet's serviceName and selector are set once. The API
       server refuses an update that changes them, so an apply or a Helm upgrade stops there.
  Fix: Run `+"`stsguard migrate statefulset/post -n NAMESPACE`"+`: it plans the steps to a headless
       Service of another name, which clients of "post" don't notice, or with --keep-name of this
       one. Then apply again.
`, "post", "relay", right...)
		err := u.upgrade("post", "relay", right)
		if err == nil || !strings.HasSuffix(err.Error(), `Service "post" is invalid: spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set`) {
			t.Errorf("got %v", err)
		}
		u.is("post", "2 failed")
		u.warns(u.ifServerSide(notHeadless)...)

		u.kubectl("", "delete", "service", "post")
		u.must(u.upgrade("post", "relay", right))
		u.is("post", "3 deployed")
		u.resolves("post-0.post." + u.namespace + ".svc.cluster.local")
		u.warns()
	})
}

// An upgrade that breaks what was right is denied in the middle. A rollback
// mends the rest.
func TestWrongUpgrade(t *testing.T) {
	bothWays(t, nil, func(u *user) {
		wrong := plain("headless.component=replica", "image.tag=17.0.0")
		u.must(u.install("books", "ledger", plain()))
		u.denied(u.upgrade("books", "ledger", wrong), saysMismatch)
		u.is("books", "2 failed")
		u.must(u.rollback("books", 1))
		u.is("books", "3 deployed")

		u.denied(u.upgrade("books", "ledger", wrong, func(a *action.Upgrade) { a.RollbackOnFailure = true }), saysMismatch)
		u.is("books", "5 deployed")
		u.resolves("books-ledger-0.books-ledger-hl." + u.namespace + ".svc.cluster.local")
		u.warns()
	})
}

// What was wrong before stsguard was there goes on with a warning: upgrades,
// and rollbacks to what was as wrong.
func TestWrongBefore(t *testing.T) {
	bothWays(t, map[string]string{"stsguard.dev/enforce": "none", "stsguard.dev/warn": "none"}, func(u *user) {
		wrong := "headless.component=replica"
		u.must(u.install("books", "ledger", plain(wrong)))
		u.warns()
		u.kubectl("", "label", "namespace", u.namespace, "stsguard.dev/enforce-", "stsguard.dev/warn-")

		// One for the StatefulSet, and one for each of the Services.
		warned := append(u.ifServerSide(warnsMismatch, warnsMismatch), warnsMismatch)
		u.must(u.upgrade("books", "ledger", plain(wrong, "image.tag=17.0.0")))
		u.warns(warned...)
		u.must(u.rollback("books", 1))
		u.is("books", "3 deployed")
		u.warns(warned...)

		// Once it is right, wrong is new.
		u.must(u.upgrade("books", "ledger", plain()))
		u.warns()
		u.denied(u.rollback("books", 3), saysMismatch)
		u.is("books", "5 failed")
		u.must(u.rollback("books", 4))
		u.is("books", "6 deployed")
		u.warns()
	})
}
