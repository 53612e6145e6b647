package inventory

import (
	"encoding/json"
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsjson "sigs.k8s.io/json"
)

// FuzzDecodersAgree holds the narrow JSON decoder against the typed objects:
// whatever JSON the API server would take for an object gives the same facts
// either way.
func FuzzDecodersAgree(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"metadata":{"name":"web","namespace":"a","labels":{"x":"y"},"annotations":{"stsguard.dev/ignore":"a","other":"b"},
		  "deletionTimestamp":"2026-01-01T00:00:00Z","ownerReferences":[{"kind":"Redis","name":"r","controller":true},{"kind":"X","name":"y"}]},
		  "spec":{"serviceName":"nginx","replicas":0,"ordinals":{"start":3},"podManagementPolicy":"Parallel","selector":{"matchLabels":{"app":"nginx"}},
		  "template":{"metadata":{"labels":{"app":"nginx"}},"spec":{"initContainers":[{"args":["ping web-0.nginx"]},{"restartPolicy":"Always","ports":[{"containerPort":9}]}],
		  "containers":[{"ports":[{"name":"web","containerPort":80},{"containerPort":53,"protocol":"UDP"}],"env":[{"name":"PEER","value":"$(POD).nginx.a.svc"}],
		  "readinessProbe":{"exec":{"command":["nc","-z","web-1.nginx"]}},"lifecycle":{"preStop":{"exec":{"command":["x"]}}}}]}}}}`,
		`{"metadata":{"name":"nginx"},"spec":{"type":"NodePort","clusterIP":"None","clusterIPs":["None"],"selector":{"app":"nginx"},
		  "ports":[{"port":80,"targetPort":"web"},{"name":"b","port":81,"targetPort":8081,"nodePort":30000,"protocol":"UDP"}],
		  "sessionAffinity":"ClientIP","externalIPs":["192.0.2.1"],"publishNotReadyAddresses":true}}`,
		`{"spec":{"type":"ExternalName","externalName":"x","selector":{}}}`,
		`{"metadata":null,"spec":null}`,
		`{"spec":{"replicas":null,"ordinals":null,"selector":null,"ports":null,"clusterIP":null}}`,
		`{"Spec":{"serviceName":"x"},"spec":{"ServiceName":"y","Type":"NodePort"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var set appsv1.StatefulSet
		if err := sigsjson.UnmarshalCaseSensitivePreserveInts(data, &set); err == nil && isObject(data) {
			got, err := DecodeStatefulSet(data)
			if err != nil {
				t.Fatalf("DecodeStatefulSet: %v", err)
			}
			if want := FromStatefulSet(&set); !reflect.DeepEqual(got, want) {
				t.Errorf("StatefulSet\n%+v\n%+v", got, want)
			}
		}
		var service corev1.Service
		if err := sigsjson.UnmarshalCaseSensitivePreserveInts(data, &service); err == nil && isObject(data) {
			got, err := DecodeService(data)
			if err != nil {
				t.Fatalf("DecodeService: %v", err)
			}
			if want := FromService(&service); !reflect.DeepEqual(got, want) {
				t.Errorf("Service\n%+v\n%+v", got, want)
			}
		}
	})
}

func isObject(data []byte) bool {
	var m map[string]json.RawMessage
	return json.Unmarshal(data, &m) == nil && m != nil
}

func TestDecodeRefuses(t *testing.T) {
	for _, in := range []string{``, `null`, `[]`, `"x"`, `{`, `{"metadata":{"labels":{"a":1}}}`, `{"metadata":[]}`, `{"spec":{"replicas":"2"}}`} {
		if s, err := DecodeStatefulSet([]byte(in)); err == nil {
			t.Errorf("%s was taken for %+v", in, s)
		}
	}
	for _, in := range []string{`null`, `{"spec":{"selector":{"a":1}}}`, `{"spec":{"clusterIPs":"None"}}`} {
		if s, err := DecodeService([]byte(in)); err == nil {
			t.Errorf("%s was taken for %+v", in, s)
		}
	}
}

func TestMentions(t *testing.T) {
	const nothing, peers, own = "nothing", "peers", "own pods"
	for text, want := range map[string]string{
		"web-0.nginx":                       own,
		"tcp://web-0.nginx:2380":            own,
		"$(POD_NAME).nginx.default.svc":     own,
		"${HOSTNAME}.nginx":                 own,
		"http://web-{0...3}.nginx/data":     own,
		"web-$i.nginx $i":                   own,
		"printf web-%d.nginx 0":             own,
		"`hostname`.nginx":                  own,
		"$(NAME)-0.nginx":                   own,
		"db-0.nginx":                        peers,
		"db-0.nginx,web-0.nginx":            own,
		"nginx.default.svc":                 nothing,
		"http://www.nginx.org":              nothing,
		"-Dorg.nginx.server.port=80":        nothing,
		"--tls-san=*.nginx.default.svc":     nothing,
		"web-0.nginx-public":                nothing,
		"/etc/x.nginxrc":                    nothing,
		"run .nginx":                        nothing,
		"a.nginxes then web-0.nginx at end": own,
	} {
		set := FromStatefulSet(&appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: appsv1.StatefulSetSpec{ServiceName: "nginx", Template: corev1.PodTemplateSpec{
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{text}}}},
			}},
		})
		got := nothing
		switch {
		case set.MentionsOwnPods:
			got = own
		case set.MentionsPeers:
			got = peers
		}
		if got != want {
			t.Errorf("%q mentions %s, not %s", text, got, want)
		}
	}
}
