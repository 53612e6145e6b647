package guarded

import (
	"fmt"
	"strings"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Warnings are those that a client gets.
type Warnings struct {
	mu  sync.Mutex
	all []string
}

// Listening is a client that keeps the warnings it gets.
func Listening(config *rest.Config) (*kubernetes.Clientset, *Warnings, error) {
	w := &Warnings{}
	config = rest.CopyConfig(config)
	config.WarningHandler = w
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client: %w", err)
	}
	return client, w, nil
}

// HandleWarningHeader keeps a warning.
func (w *Warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

// Take returns the warnings since it was last asked, a line each.
func (w *Warnings) Take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.all, "\n")
	w.all = nil
	return all
}
