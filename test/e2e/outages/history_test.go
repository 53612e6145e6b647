package outages

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/stsguard/stsguard/test/controlplane"
)

// Everything that was ever written to a cluster, in order. It comes from
// etcd's own log: a client can't know what became of a request whose answer
// was cut off, and a watch ends when the API server does.

// write is one change of one object.
type write struct {
	revision int64
	part
	old, new any // nil: there was, or is, no object
	op       string
}

// version is a state of a namespace from a revision on.
type version struct {
	state
	write
}

// history is every version of each namespace, the oldest first.
type history map[string][]version

// at is the index of the version in force at a revision; -1 before the first.
func (h history) at(namespace string, revision int64) int {
	versions := h[namespace]
	i, _ := slices.BinarySearchFunc(versions, revision, func(v version, r int64) int {
		if v.revision <= r {
			return -1
		}
		return 1
	})
	return i - 1
}

// during are the versions in force at some time from one revision to another.
func (h history) during(namespace string, from, to int64) []version {
	return h[namespace][max(0, h.at(namespace, from)) : h.at(namespace, to)+1]
}

// The annotations of the tests. The first names the operation that wrote the
// object.
const (
	annotationOp     = "outages/op"
	annotationIgnore = "stsguard.dev/ignore"
)

// etcd reads what the API server stores.
type etcd struct{ http *http.Client }

// revision is that of the newest write.
func (e etcd) revision(ctx context.Context) (int64, error) {
	response, err := e.post(ctx, "/v3/kv/range", map[string]any{"key": encode("/"), "count_only": true})
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var body struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return 0, fmt.Errorf("read etcd's revision: %w", err)
	}
	return strconv.ParseInt(body.Header.Revision, 10, 64)
}

// keyValue is an object as etcd has it.
type keyValue struct {
	Key      []byte `json:"key"`
	Value    []byte `json:"value"`
	Revision string `json:"mod_revision"`
}

// history reads all writes up to that of the namespace of this name.
func (e etcd) history(ctx context.Context, last string) (history, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const prefix = "/registry/"
	response, err := e.post(ctx, "/v3/watch", map[string]any{"create_request": map[string]any{
		"key": encode(prefix), "range_end": encode(prefix[:len(prefix)-1] + "0"), "start_revision": "1", "prev_kv": true,
	}})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	out := history{}
	for lines := json.NewDecoder(response.Body); ; {
		var line struct {
			Result struct {
				Canceled bool   `json:"canceled"`
				Reason   string `json:"cancel_reason"`
				Events   []struct {
					KV       keyValue `json:"kv"`
					Previous keyValue `json:"prev_kv"`
				} `json:"events"`
			} `json:"result"`
		}
		if err := lines.Decode(&line); err != nil {
			return nil, fmt.Errorf("read etcd's log: %w", err)
		}
		if line.Result.Canceled {
			return nil, fmt.Errorf("read etcd's log: %s", line.Result.Reason)
		}
		for _, event := range line.Result.Events {
			if err := out.add(event.KV, event.Previous); err != nil {
				return nil, err
			}
			if string(event.KV.Key) == prefix+"namespaces/"+last {
				return out, nil
			}
		}
	}
}

func (h history) add(kv, previous keyValue) error {
	fields := strings.Split(strings.TrimPrefix(string(kv.Key), "/registry/"), "/")
	var namespace string
	var w write
	switch {
	case len(fields) == 4 && fields[0] == "services" && fields[1] == "specs":
		namespace, w.part = fields[2], part{"Service", fields[3]}
	case len(fields) == 3 && fields[0] == "statefulsets":
		namespace, w.part = fields[1], part{"StatefulSet", fields[2]}
	case len(fields) == 2 && fields[0] == "namespaces":
		namespace, w.part = fields[1], part{"Namespace", fields[1]}
	default:
		return nil
	}
	var err error
	if w.revision, err = strconv.ParseInt(kv.Revision, 10, 64); err != nil {
		return fmt.Errorf("read revision of %s: %w", kv.Key, err)
	}
	if w.old, _, err = stored(previous.Value); err != nil {
		return fmt.Errorf("read what %s was: %w", kv.Key, err)
	}
	if w.new, w.op, err = stored(kv.Value); err != nil {
		return fmt.Errorf("read %s: %w", kv.Key, err)
	}
	var before state
	if versions := h[namespace]; len(versions) > 0 {
		before = versions[len(versions)-1].state
	}
	h[namespace] = append(h[namespace], version{before.put(w.part, w.new), w})
	return nil
}

// stored is what the model keeps of a stored object, and the operation that
// wrote it.
func stored(data []byte) (object any, op string, err error) {
	if len(data) == 0 {
		return nil, "", nil
	}
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, "", err
	}
	switch o := decoded.(type) {
	case *corev1.Service:
		return modelService(o), o.Annotations[annotationOp], nil
	case *appsv1.StatefulSet:
		return modelSet(o), o.Annotations[annotationOp], nil
	case *corev1.Namespace:
		return o.Labels[labelEnforce] == "none", o.Annotations[annotationOp], nil
	}
	return nil, "", runtime.NewNotRegisteredErrForKind("outages", decoded.GetObjectKind().GroupVersionKind())
}

func modelService(s *corev1.Service) service {
	out := service{kind: address, app: s.Spec.Selector["app"], ignore: s.Annotations[annotationIgnore]}
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		out.kind = alias
	case s.Spec.ClusterIP == corev1.ClusterIPNone:
		out.kind = headless
	}
	return out
}

func modelSet(s *appsv1.StatefulSet) set {
	return set{governing: s.Spec.ServiceName, app: s.Spec.Template.Labels["app"], ignore: s.Annotations[annotationIgnore]}
}

func (e etcd) post(ctx context.Context, path string, body any) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, controlplane.EtcdURL+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	response, err := e.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask etcd: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("ask etcd: %s", response.Status)
	}
	return response, nil
}

func encode(key string) string { return base64.StdEncoding.EncodeToString([]byte(key)) }
