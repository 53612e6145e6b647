package policies

import (
	"maps"
	"testing"

	"github.com/stsguard/stsguard/inventory"
)

// BenchmarkRelation judges one relation by every rule: a right one, which is
// what nearly every request is, and wrong ones.
func BenchmarkRelation(b *testing.B) {
	rules, err := Builtin()
	if err != nil {
		b.Fatal(err)
	}
	engine := rules.Engine(nil)
	labels := map[string]string{"app.kubernetes.io/name": "db", "app.kubernetes.io/instance": "main", "app.kubernetes.io/component": "primary"}
	headless := &inventory.Service{
		Meta: inventory.Meta{Namespace: "shop", Name: "db-headless"}, Type: "ClusterIP", ClusterIP: "None", ClusterIPs: []string{"None"},
		SessionAffinity: "None", Selector: labels,
		Ports: []inventory.ServicePort{{Name: "sql", Protocol: "TCP", Port: 5432, TargetPort: "sql"}},
	}
	client := *headless
	client.Name, client.ClusterIP, client.ClusterIPs = "db", "10.0.0.5", []string{"10.0.0.5"}
	other := *headless
	other.Selector = maps.Clone(labels)
	other.Selector["app.kubernetes.io/name"] = "cache"
	set := &inventory.StatefulSet{
		Meta: inventory.Meta{Namespace: "shop", Name: "db"}, Labels: labels, ServiceName: "db-headless",
		Selector: labels, PodLabels: labels, Replicas: 3,
		Ports: []inventory.ContainerPort{{Name: "sql", Protocol: "TCP", Port: 5432}},
	}
	for name, r := range map[string]*inventory.Relation{
		"right":        {StatefulSet: set, Governing: headless, Services: []*inventory.Service{&client}},
		"missing":      {StatefulSet: set, NearMisses: []*inventory.Service{&client}},
		"not-headless": {StatefulSet: set, Governing: &client},
		"mismatch":     {StatefulSet: set, Governing: &other},
	} {
		if r.Governing != nil {
			r.Candidates = []*inventory.Service{r.Governing}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				findings, err := engine.Relation(b.Context(), r, Extent{})
				if err != nil {
					b.Fatal(err)
				}
				if (len(findings) == 0) != (name == "right") {
					b.Fatalf("findings: %v", findings)
				}
			}
		})
	}
}
