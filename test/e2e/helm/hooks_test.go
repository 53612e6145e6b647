package helm

import (
	"testing"

	"helm.sh/helm/v4/pkg/action"
)

// Hooks go before all else, one by one, in the order of their weights and then
// of their names. A Service among them needs a lower weight than the StatefulSet
// that it governs.
func TestHooks(t *testing.T) {
	bothWays(t, nil, func(u *user) {
		values := []string{"headless.enabled=true", "buffer.enabled=true"}
		u.must(u.install("post", "relay", values))
		u.warns()
		u.resolves("post-buffer-0.post-buffer-peers." + u.namespace + ".svc.cluster.local")

		// The policy before-hook-creation, which is the default, deletes both and
		// makes them anew.
		u.must(u.upgrade("post", "relay", values))
		u.warns(inUse("post-buffer-peers", "post-buffer"))

		u.finds(0, `  1.  create  Service "post-buffer-peers" in NAMESPACE  allowed, with clusterIP: None injected
  2.  create  StatefulSet "post-buffer" in NAMESPACE    allowed
  3.  update  Service "post-headless" in NAMESPACE      allowed
  4.  update  StatefulSet "post" in NAMESPACE           allowed
`, "post", "relay", "buffer.enabled=true")

		// This time the Service doesn't say that it is headless, and its
		// StatefulSet says it for it.
		u.must(u.upgrade("post", "relay", []string{"buffer.enabled=true"}))
		u.warns(inUse("post-buffer-peers", "post-buffer"),
			`[clusterip-none-missing] Service "post-buffer-peers" does not say clusterIP: None, but StatefulSet "post-buffer" is governed by it: stsguard has set clusterIP: None`)
		u.resolves("post-buffer-0.post-buffer-peers." + u.namespace + ".svc.cluster.local")

		// Helm leaves hooks where they are.
		u.must(u.uninstall("post"))
		u.warns(inUse("post-headless", "post"))
		u.has("service/post-buffer-peers statefulset.apps/post-buffer")
	})
}

// The other way round the StatefulSet comes before its Service.
func TestHooksInTheWrongOrder(t *testing.T) {
	bothWays(t, nil, func(u *user) {
		values := []string{"headless.enabled=true", "buffer.enabled=true"}
		wrong := append(values, "buffer.serviceWeight=1")
		u.finds(1, `  1.  create  StatefulSet "post-buffer" in NAMESPACE    denied [service-not-found]
  2.  create  Service "post-buffer-peers" in NAMESPACE  allowed
`, "post", "relay", wrong...)
		u.denied(u.install("post", "relay", wrong), `StatefulSet "post-buffer" names Service "post-buffer-peers", which does not exist in namespace "NAMESPACE" [service-not-found]
  Why: Kubernetes never checks that the Service named by serviceName exists. The pods start all the same, but no name such as web-0.web resolves, and peers don't find each other.
  Fix: Create this headless Service first.
    apiVersion: v1
    kind: Service
    metadata:
      name: post-buffer-peers
      namespace: NAMESPACE
    spec:
      clusterIP: None
      ports:
      - name: tcp-7000
        port: 7000
        protocol: TCP
      selector:
        app: post-buffer`)
		u.is("post", "1 failed")
		u.has("")
		u.must(u.upgrade("post", "relay", values, func(a *action.Upgrade) { a.Install = true }))
		u.is("post", "2 deployed")
		u.warns()
	})
}
