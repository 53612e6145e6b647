package inventory

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestServicesLike holds the index against a look at every Service.
func TestServicesLike(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"web", "wab", "wbe", "db", "a", "headless", "headles", "redis", "1", "12", "123", "4", "x-", "-", "svc"}
	name := func() string {
		var parts []string
		for range 1 + random.IntN(3) {
			parts = append(parts, words[random.IntN(len(words))])
		}
		return strings.Join(parts, []string{"-", ""}[random.IntN(2)])
	}
	found := 0
	for range 300 {
		var store Store
		for i := range random.IntN(60) {
			var at *Place
			if random.IntN(2) == 0 {
				at = &Place{Index: 60 - i}
			}
			store.PutService(&Service{Meta: Meta{Name: name(), Place: at}})
		}
		over := NewOverlay(&store)
		for range random.IntN(3) {
			over.RemoveService("", name())
			over.PutService(&Service{Meta: Meta{Name: name()}})
		}
		for range 20 {
			wanted := name()
			for _, r := range []Reader{&store, over} {
				want := slices.DeleteFunc(r.Services(""), func(s *Service) bool { return !mistyped(s.Name, wanted) })
				sortByName(want)
				got := slices.Collect(r.ServicesLike("", wanted))
				if fmt.Sprint(names(got)) != fmt.Sprint(names(want)) {
					t.Fatalf("like %q in %T: got %q, want %q", wanted, r, names(got), names(want))
				}
				found += len(got)
			}
		}
	}
	if found < 1000 {
		t.Errorf("compared %d only", found)
	}
}

func TestServicesLikeFollowsChanges(t *testing.T) {
	var store Store
	like := func() []string { return names(slices.Collect(store.ServicesLike("", "nginx"))) }
	if got := like(); len(got) > 0 {
		t.Errorf("nothing is like it, got %q", got)
	}
	store.PutService(&Service{Meta: Meta{Name: "nginxx"}})
	if got := like(); !slices.Equal(got, []string{"nginxx"}) {
		t.Errorf("after it came: %q", got)
	}
	store.DeleteService("", "nginxx")
	if got := like(); len(got) > 0 {
		t.Errorf("after it went: %q", got)
	}
}

// TestNoServiceIsLikeALongName: names that nobody has checked take no more memory
// than others.
func TestNoServiceIsLikeALongName(t *testing.T) {
	var store Store
	store.PutService(&Service{Meta: Meta{Name: strings.Repeat("a", 63)}})
	like := func(n int) (found int, bytes uint64) {
		name := strings.Repeat("a", n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range store.ServicesLike("", name) {
			found++
		}
		runtime.ReadMemStats(&after)
		return found, after.TotalAlloc - before.TotalAlloc
	}
	if found, _ := like(65); found != 1 {
		t.Errorf("with two letters more: found %d", found)
	}
	if found, bytes := like(1 << 20); found != 0 || bytes > 1<<16 {
		t.Errorf("found %d, with %d bytes", found, bytes)
	}
	// Letter by letter that would take hours.
	if a, b := strings.Repeat("ab", 500_000), strings.Repeat("ba", 500_000); similar(a, b) {
		t.Error("such names are similar")
	}
}

// BenchmarkServicesLike must hardly depend on how many Services there are.
func BenchmarkServicesLike(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var store Store
			for i := range n {
				store.PutService(&Service{Meta: Meta{Name: fmt.Sprintf("web-%d-x", i)}})
			}
			for i := 0; b.Loop(); i++ {
				found := 0
				for range store.ServicesLike("", fmt.Sprintf("web-%d", i%n)) {
					if found++; found == most {
						break
					}
				}
			}
		})
	}
}
