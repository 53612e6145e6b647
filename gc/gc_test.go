package gc

import (
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestTheFirstCollectionIsLate(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Skip("GOGC is set")
	}
	percent := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	if got := percent(); got != first {
		t.Errorf("begins with %d", got)
	}
	runtime.GC()
	for end := time.Now().Add(10 * time.Second); percent() != then; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("goes on with %d", percent())
		}
	}
}
