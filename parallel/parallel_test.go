package parallel_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stsguard/stsguard/parallel"
)

func TestDoCallsEachOnce(t *testing.T) {
	for _, n := range []int{0, 1, 1000} {
		calls := make([]atomic.Int32, n)
		parallel.Do(t.Context(), n, func(i int) { calls[i].Add(1) })
		for i := range calls {
			if c := calls[i].Load(); c != 1 {
				t.Errorf("of %d: %d was called %d times", n, i, c)
			}
		}
	}
}

func TestDoEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls atomic.Int32
	const n = 1_000_000
	parallel.Do(ctx, n, func(int) {
		calls.Add(1)
		cancel()
	})
	if c := calls.Load(); c == 0 || c == n {
		t.Errorf("called %d times", c)
	}
}

func TestDoPassesAPanicOn(t *testing.T) {
	defer func() {
		if r := recover(); r != "broken" {
			t.Errorf("recovered %v", r)
		}
	}()
	parallel.Do(t.Context(), 10, func(i int) {
		if i == 5 {
			panic("broken")
		}
	})
	t.Error("returned")
}
