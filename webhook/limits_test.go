package webhook

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/stsguard/stsguard/inventory"
)

// TestTooManyAtOnce: as many are judged as there is room for, the next one hears
// at once that it isn't, and nothing stays taken.
func TestTooManyAtOnce(t *testing.T) {
	hook, w := setup(t, nil)
	// Room for three more.
	const fits, others = 3, maxRoom - 3*judging
	hook.room.taken.Store(others)
	begun, release := make(chan struct{}, fits), make(chan struct{})
	w.live = func() error {
		begun <- struct{}{}
		<-release
		return nil
	}
	body := ask(kindStatefulSet, "CREATE", `"object":`+ungoverned)
	var running sync.WaitGroup
	for range fits {
		running.Go(func() {
			if r := answered(t, send(hook.Validate(), body)); r.Allowed {
				t.Error("allowed")
			}
		})
	}
	for range fits {
		<-begun
	}
	full := send(hook.Mutate(), ask(kindService, "CREATE", `"object":`+undecided))
	if full.Code != http.StatusTooManyRequests || !strings.Contains(full.Body.String(), "stsguard could not judge: too many requests at once") {
		t.Errorf("got %d %s", full.Code, full.Body)
	}
	// With it, client-go would ask again instead of deciding.
	if after := full.Header().Get("Retry-After"); after != "" {
		t.Errorf("Retry-After: %s", after)
	}
	close(release)
	running.Wait()
	if n := hook.room.taken.Load(); n != others {
		t.Errorf("%d bytes stay taken", n-others)
	}
	w.live = nil
	answered(t, send(hook.Validate(), body))
}

// TestLargeBodiesAtOnce: large bodies take room as they come.
func TestLargeBodiesAtOnce(t *testing.T) {
	hook, _ := setup(t, nil)
	chunk := strings.Repeat(" ", 1<<20)
	var writers []*io.PipeWriter
	var running sync.WaitGroup
	codes := make(chan int, 10)
	for range 10 {
		body, into := io.Pipe()
		writers = append(writers, into)
		running.Go(func() {
			r := httptest.NewRequest(http.MethodPost, "/validate", body)
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			hook.Validate().ServeHTTP(w, r)
			body.Close()
			codes <- w.Code
		})
	}
	// Who sends little takes nothing.
	for _, w := range writers {
		if _, err := io.WriteString(w, chunk[:freeBody]); err != nil {
			t.Fatal(err)
		}
	}
	if n := hook.room.taken.Load(); n != 0 {
		t.Errorf("%d bytes are taken", n)
	}
	for _, w := range writers {
		for range 7 {
			if _, err := io.WriteString(w, chunk); err != nil {
				break
			}
		}
	}
	if code := <-codes; code != http.StatusTooManyRequests {
		t.Errorf("got %d", code)
	}
	for _, w := range writers {
		w.Close()
	}
	running.Wait()
	if n := hook.room.taken.Load(); n != 0 {
		t.Errorf("%d bytes stay taken", n)
	}
}

// ports are so many of a Service or a container.
func ports(n int, format string) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i, i+1))
	}
	return strings.Join(all, ",")
}

// TestManyItems: objects with many ports take more room, and with too many are not
// judged.
func TestManyItems(t *testing.T) {
	hook, w := setup(t, nil)
	var whileJudged int64
	w.live = func() error {
		whileJudged = hook.room.taken.Load()
		return nil
	}
	// The selector is an item, too.
	create := func(n int) string {
		return ask(kindService, "CREATE", `"object":`+strings.Replace(undecided, `{"port":80}`, ports(n, `{"name":"p%d","port":%d}`), 1))
	}
	answered(t, send(hook.Mutate(), create(maxItems-1)))
	if whileJudged < maxItems*judgingItem {
		t.Errorf("%d bytes are taken", whileJudged)
	}
	refused := send(hook.Mutate(), create(maxItems))
	if want := "Service/default/web-headless has 5001 ports, labels and the like"; refused.Code != http.StatusRequestEntityTooLarge || !strings.Contains(refused.Body.String(), want) {
		t.Errorf("got %d %s", refused.Code, refused.Body)
	}
	before := strings.Replace(undecided, `{"port":80}`, ports(maxItems, `{"name":"p%d","port":%d}`), 1)
	answered(t, send(hook.Validate(), ask(kindService, "UPDATE", `"oldObject":`+before+`,"object":`+undecided)))
	answered(t, send(hook.Validate(), ask(kindService, "DELETE", `"oldObject":`+before)))
	if n := hook.room.taken.Load(); n != 0 {
		t.Errorf("%d bytes stay taken", n)
	}
}

// TestManyPortsOfBoth: what it takes to judge a Service and its StatefulSet grows with
// the ports of both, and not with the product. That would take minutes.
func TestManyPortsOfBoth(t *testing.T) {
	for name, service := range map[string]string{
		"remapped": `{"metadata":{"name":"web"},"spec":{"clusterIP":"None","selector":{"app":"web"},"ports":[` + ports(2000, `{"name":"p%[1]d","port":%[2]d,"targetPort":"p%[1]d"}`) + `]}}`,
		"unknown":  `{"metadata":{"name":"web"},"spec":{"selector":{"app":"web"},"ports":[` + ports(2000, `{"name":"p%[1]d","port":%[2]d,"targetPort":"x%[1]d"}`) + `]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			hook, w := setup(t, nil)
			set, err := inventory.DecodeStatefulSet([]byte(`{"metadata":{"name":"web","namespace":"default"},"spec":{"serviceName":"web","template":{"metadata":{"labels":{"app":"web"}},
				"spec":{"containers":[{"ports":[` + ports(2000, `{"name":"p%d","containerPort":%d}`) + `]}]}}}}`))
			if err != nil {
				t.Fatal(err)
			}
			w.PutStatefulSet(set)
			r := httptest.NewRequest(http.MethodPost, "/validate?timeout=30s", strings.NewReader(ask(kindService, "CREATE", `"object":`+service)))
			r.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			hook.Validate().ServeHTTP(recorder, r)
			answered(t, recorder)
		})
	}
}

// TestManyValues: what is never judged takes room, too, before it is decoded.
func TestManyValues(t *testing.T) {
	hook, _ := setup(t, nil)
	create := func(commas int) string {
		with := func(n int) string {
			return ask(kindStatefulSet, "CREATE", `"object":`+strings.Replace(ungoverned, `"spec":{`, `"spec":{"other":[`+strings.Repeat("1,", n)+`1],`, 1))
		}
		return with(commas - strings.Count(with(0), ","))
	}
	most := create(maxValues)
	others := int64(maxRoom - (len(most) - freeBody) - maxValues*decodingValue)
	hook.room.taken.Store(others)
	answered(t, send(hook.Validate(), most))
	hook.room.taken.Store(others + 1)
	if w := send(hook.Validate(), most); w.Code != http.StatusTooManyRequests {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	hook.room.taken.Store(0)
	if w := send(hook.Validate(), create(maxValues+1)); w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), "200001 fields and elements") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// late is a body that doesn't come.
type late struct{}

func (late) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestBodyThatDoesNotCome(t *testing.T) {
	hook, _ := setup(t, nil)
	r := httptest.NewRequest(http.MethodPost, "/validate", late{})
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	hook.Validate().ServeHTTP(w, r)
	if w.Code != http.StatusRequestTimeout {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestReasonsAreShort: what was sent is quoted in part only.
func TestReasonsAreShort(t *testing.T) {
	hook, _ := setup(t, nil)
	w := send(hook.Validate(), ask(strings.Replace(kindService, "Service", strings.Repeat("ä", 1<<20), 1), "CREATE", `"object":{}`))
	if n := w.Body.Len(); w.Code != http.StatusBadRequest || n > 2*longestReason {
		t.Errorf("got %d and %d bytes", w.Code, n)
	}
}

// TestLogIsShort: of a name that no object can have, the log has a part.
func TestLogIsShort(t *testing.T) {
	hook, w := setup(t, nil)
	var logged []string
	ctx := logr.NewContext(t.Context(), funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{}))
	ask := func() int {
		body := ask(kindStatefulSet, "CREATE", `"object":`+strings.Replace(ungoverned, "web", strings.Repeat("w", 1<<20), 1))
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/validate", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		hook.Validate().ServeHTTP(w, r)
		return w.Code
	}
	if code := ask(); code != http.StatusOK {
		t.Errorf("got %d", code)
	}
	w.live = func() error { return errors.New("no answer") }
	if code := ask(); code == http.StatusOK {
		t.Errorf("got %d", code)
	}
	if len(logged) != 2 {
		t.Errorf("logged %d times", len(logged))
	}
	for _, line := range logged {
		if len(line) > 2*longestReason {
			t.Errorf("logged %d bytes, %s...", len(line), line[:100])
		}
	}
}

func TestLongestTimeout(t *testing.T) {
	ctx, cancel := deadline(httptest.NewRequest(http.MethodPost, "/validate?timeout=1000h", nil))
	defer cancel()
	if at, _ := ctx.Deadline(); time.Until(at) > longestTimeout {
		t.Errorf("has until %s", at)
	}
}
