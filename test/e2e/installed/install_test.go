//go:build linux

package installed

import "testing"

func TestHelm(t *testing.T) {
	c := start(t)
	c.run("helm install stsguard deploy/chart --namespace stsguard-system --create-namespace --set image.repository=registry.example/stsguard-webhook --set image.tag=v0.1.0")
	c.run("kubectl label namespace stsguard-system pod-security.kubernetes.io/enforce=restricted")
	t.Log(c.run("kubectl -n stsguard-system rollout status deployment/stsguard-webhook --timeout=60s; kubectl get pods -A -o wide; kubectl get endpointslices -A"))
	c.guarded()
}
