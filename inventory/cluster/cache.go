package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/stsguard/stsguard/inventory"
)

// Cache is every Service, StatefulSet and Namespace of a cluster as a watch
// tells of them. It lags behind the cluster, if only by milliseconds. Objects
// are converted as they come; the API server's own are not kept.
type Cache struct {
	inventory.Reader

	store      *inventory.Store
	reflectors []*cache.Reflector
	heard      []*moment
	missing    sync.WaitGroup
	synced     chan struct{}
}

// backoff is how long a watch that failed waits until the next attempt: never
// longer than two to three seconds, however long the API server has been away.
// Client-go's own grows to a minute, and so long the cache would lag behind an
// API server that is back. Three watches for each replica are no burden to it.
var backoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 3, Cap: 2 * time.Second}

// NewCache prepares a cache that is empty until Start.
func NewCache(clients *Clients) *Cache {
	store := &inventory.Store{}
	c := &Cache{Reader: store, store: store, synced: make(chan struct{})}
	services, sets := newCompactor(), newCompactor()

	addReflector(c, clients.core.Services(metav1.NamespaceAll), &kindStore[*corev1.Service, *inventory.Service]{
		convert: func(s *corev1.Service) *inventory.Service { return services.service(inventory.FromService(s)) },
		put:     store.PutService,
		remove:  store.DeleteService,
		names:   func(v *inventory.Service) (string, string) { return v.Namespace, v.Name },
		all:     func() []*inventory.Service { return everywhere(store, store.Services) },
	})
	addReflector(c, clients.apps.StatefulSets(metav1.NamespaceAll), &kindStore[*appsv1.StatefulSet, *inventory.StatefulSet]{
		convert: func(s *appsv1.StatefulSet) *inventory.StatefulSet {
			return sets.statefulSet(inventory.FromStatefulSet(s))
		},
		put:    store.PutStatefulSet,
		remove: store.DeleteStatefulSet,
		names:  func(v *inventory.StatefulSet) (string, string) { return v.Namespace, v.Name },
		all:    func() []*inventory.StatefulSet { return everywhere(store, store.StatefulSets) },
	})
	addReflector(c, clients.core.Namespaces(), &kindStore[*corev1.Namespace, *inventory.Namespace]{
		convert: inventory.FromNamespace,
		put:     store.PutNamespace,
		remove:  func(_, name string) { store.DeleteNamespace(name) },
		names:   func(v *inventory.Namespace) (string, string) { return "", v.Name },
		all:     store.KnownNamespaces,
	})
	return c
}

// Start fills the cache and keeps it up to date until the context is done. It
// is to be called once.
func (c *Cache) Start(ctx context.Context) error {
	go func() {
		c.missing.Wait()
		close(c.synced)
	}()
	var running sync.WaitGroup
	for _, r := range c.reflectors {
		running.Go(func() { r.RunWithContext(ctx) })
	}
	running.Wait()
	return nil
}

// NeedLeaderElection tells controller-runtime's manager that every replica has
// a cache of its own.
func (c *Cache) NeedLeaderElection() bool { return false }

// Synced says whether everything that was there at the start has come.
func (c *Cache) Synced() bool {
	select {
	case <-c.synced:
		return true
	default:
		return false
	}
}

// WaitForSync returns true once everything that was there at the start has
// come, or false when the context is done before that.
func (c *Cache) WaitForSync(ctx context.Context) bool {
	select {
	case <-c.synced:
		return true
	case <-ctx.Done():
		return false
	}
}

// Count says how many objects there are.
func (c *Cache) Count() inventory.Count { return c.store.Count() }

// Heard is since when the cache may be behind: of some kind the API server has
// told nothing since then, not even that nothing has changed. Before it has told
// anything at all, it is when the cache was made.
func (c *Cache) Heard() time.Time {
	var all []time.Time
	for _, m := range c.heard {
		all = append(all, *m.Load())
	}
	return slices.MinFunc(all, time.Time.Compare)
}

// moment is a point in time that moves.
type moment struct{ atomic.Pointer[time.Time] }

func (m *moment) now() { m.Store(new(time.Now())) }

// everywhere gathers the objects of all namespaces.
func everywhere[V any](store *inventory.Store, in func(namespace string) []V) []V {
	var out []V
	for _, namespace := range store.Namespaces() {
		out = append(out, in(namespace)...)
	}
	return out
}

// typedClient is what the typed clients of all kinds have in common.
type typedClient[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

func addReflector[T, L runtime.Object, V comparable](c *Cache, client typedClient[L], store *kindStore[T, V]) {
	c.missing.Add(1)
	store.replaced = sync.OnceFunc(c.missing.Done)
	store.heard.now()
	c.heard = append(c.heard, &store.heard)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w, err := client.Watch(ctx, options)
			if err == nil {
				store.heard.now()
			}
			return w, err
		},
	}
	var example T
	c.reflectors = append(c.reflectors, cache.NewReflectorWithOptions(
		cache.ToListWatcherWithWatchListSemantics(lw, client), example, store,
		cache.ReflectorOptions{Name: "stsguard", TypeDescription: fmt.Sprintf("%T", example), Backoff: &backoff},
	))
}

// kindStore is what a Reflector fills with the objects of one kind, of the
// API's type T. It converts each to V and passes it on.
type kindStore[T runtime.Object, V comparable] struct {
	convert  func(T) V
	put      func(V)
	remove   func(namespace, name string)
	names    func(V) (namespace, name string)
	all      func() []V
	replaced func()
	heard    moment
}

// Transformer lets the Reflector convert objects while it still gathers the
// first ones, so that these are never all in memory as they came.
func (s *kindStore[T, V]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return s.read(o) }
}

func (s *kindStore[T, V]) read(o any) (V, error) {
	switch o := o.(type) {
	case V:
		return o, nil
	case T:
		return s.convert(o), nil
	}
	var none V
	return none, fmt.Errorf("cache a %T: want %T", o, none)
}

func (s *kindStore[T, V]) Add(o any) error {
	v, err := s.read(o)
	if err == nil {
		s.put(v)
	}
	return err
}

func (s *kindStore[T, V]) Update(o any) error { return s.Add(o) }

func (s *kindStore[T, V]) Delete(o any) error {
	v, err := s.read(o)
	if err == nil {
		s.remove(s.names(v))
	}
	return err
}

// Replace puts the new objects before it removes those that are gone: nothing
// that is still there is missing in between.
func (s *kindStore[T, V]) Replace(list []any, _ string) error {
	there := make(map[V]bool, len(list))
	for _, o := range list {
		v, err := s.read(o)
		if err != nil {
			return err
		}
		s.put(v)
		there[v] = true
	}
	for _, v := range s.all() {
		if !there[v] {
			s.remove(s.names(v))
		}
	}
	s.heard.now()
	s.replaced()
	return nil
}

// UpdateResourceVersion is called for each event of a watch. When nothing
// changes, there is one about once a minute that says so.
func (s *kindStore[T, V]) UpdateResourceVersion(string) { s.heard.now() }

func (s *kindStore[T, V]) Resync() error { return nil }
