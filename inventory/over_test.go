package inventory

import (
	"maps"
	"testing"
)

func TestServiceOver(t *testing.T) {
	live := Service{
		Meta: Meta{Name: "web", Annotations: map[string]string{"stsguard.dev/ignore": "x", "stsguard.dev/inject": "false"}, Controller: "Operator/x"},
		Type: "NodePort", ClusterIP: "10.0.0.5", ClusterIPs: []string{"10.0.0.5"},
		Ports: []ServicePort{{Port: 80, Protocol: "TCP", NodePort: 30080}, {Port: 53, Protocol: "UDP", NodePort: 30053}},
	}
	given := Service{Type: "NodePort", Ports: []ServicePort{{Port: 53, Protocol: "TCP"}, {Port: 80, Protocol: "TCP"}}}
	given.Annotations = map[string]string{"stsguard.dev/inject": "true"}
	s := given
	s.Over(&live)
	if s.ClusterIP != "10.0.0.5" || len(s.ClusterIPs) != 1 || s.Ports[0].NodePort != 0 || s.Ports[1].NodePort != 30080 || s.Controller != "Operator/x" {
		t.Errorf("got %+v", s)
	}
	if want := map[string]string{"stsguard.dev/ignore": "x", "stsguard.dev/inject": "true"}; !maps.Equal(s.Annotations, want) {
		t.Errorf("annotations are %v", s.Annotations)
	}
	if given.Ports[1].NodePort != 0 || live.Annotations["stsguard.dev/inject"] != "false" {
		t.Error("what it was made of has changed")
	}
	for name, given := range map[string]Service{
		"an address of its own": {Type: "ClusterIP", ClusterIP: None},
		"addresses alone":       {Type: "ClusterIP", ClusterIPs: []string{None}},
		"an alias":              {Type: "ExternalName"},
	} {
		s := given
		s.Over(&live)
		if s.ClusterIP != given.ClusterIP {
			t.Errorf("%s: clusterIP is %q", name, s.ClusterIP)
		}
	}
}

func TestStatefulSetOver(t *testing.T) {
	live := StatefulSet{Replicas: 5}
	for _, x := range []struct {
		set  StatefulSet
		want int32
	}{{StatefulSet{Replicas: 1, ReplicasUnset: true}, 5}, {StatefulSet{Replicas: 1}, 1}} {
		x.set.Over(&live)
		if x.set.Replicas != x.want {
			t.Errorf("%+v, want %d replicas", x.set, x.want)
		}
	}
}
