//go:build linux

// Package node is the nodes of a cluster: what a kubelet and a container engine
// do with the pods that are bound to them, by runc, in network namespaces. Pods
// are those with one container of a known image and without init containers;
// volumes are ConfigMaps, Secrets, empty directories and projections.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Options say what a node is like.
type Options struct {
	Name string
	// Subnet is the third number of its pods' addresses, 10.244.Subnet.0/24.
	Subnet byte
	// Images are those that it has, by reference.
	Images map[string]*Image
	// APIServerPort is where pods reach the API server on Address.
	APIServerPort string
	// Dir is for the pods' files. What they write is in NAMESPACE_POD.log there,
	// and what the node has to say in node.log.
	Dir string
}

// Node runs the pods that are bound to it. Stop ends it.
type Node struct {
	Options
	client *kubernetes.Clientset
	log    *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]*pod
	next byte // the last number of the next pod's address
}

// Start adds a node to the cluster and runs it. Of what goes wrong with a pod
// the pod's status tells.
func Start(ctx context.Context, client *kubernetes.Clientset, opts Options) (*Node, error) {
	n := &Node{Options: opts, client: client, pods: map[types.UID]*pod{}, next: 2}
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("start node %s: %w", opts.Name, err)
	}
	log, err := os.Create(filepath.Join(opts.Dir, "node.log"))
	if err != nil {
		return nil, fmt.Errorf("start node %s: %w", opts.Name, err)
	}
	n.log = slog.New(slog.NewTextHandler(log, nil))
	if err := n.join(ctx); err != nil {
		return nil, fmt.Errorf("start node %s: %w", opts.Name, err)
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.wg.Go(n.renew)

	source := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", opts.Name))
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { n.see(o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { n.see(o.(*corev1.Pod)) },
			DeleteFunc: func(o any) { n.forget(o) },
		},
	})
	n.wg.Go(func() { informer.RunWithContext(n.ctx) })
	return n, nil
}

// Stop is the node's sudden end: nobody tells the API server, and the pods are
// killed.
func (n *Node) Stop() {
	n.cancel()
	n.wg.Wait()
}

// join makes the Node and waits until pods may be bound to it.
func (n *Node) join(ctx context.Context) error {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("8"),
		corev1.ResourceMemory: resource.MustParse("16Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	if _, err := n.client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
			corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelTopologyZone: "zone-" + n.Name,
		}},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	now := metav1.Now()
	patch, err := json.Marshal(object{"status": corev1.NodeStatus{
		Capacity: resources, Allocatable: resources,
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: Address.String()}},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now,
		}},
	}})
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if _, err := n.client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	for {
		node, err := n.client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err == nil && len(node.Spec.Taints) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// renew says that the node is alive, for as long as it is.
func (n *Node) renew() {
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	for {
		now := metav1.NowMicro()
		spec := coordinationv1.LeaseSpec{HolderIdentity: &n.Name, LeaseDurationSeconds: new(int32(40)), RenewTime: &now}
		// What fails is tried again.
		if lease, err := leases.Get(n.ctx, n.Name, metav1.GetOptions{}); err == nil {
			lease.Spec = spec
			_, _ = leases.Update(n.ctx, lease, metav1.UpdateOptions{})
		} else {
			_, _ = leases.Create(n.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: n.Name}, Spec: spec}, metav1.CreateOptions{})
		}
		select {
		case <-n.ctx.Done():
			return
		case <-time.After(5 * time.Second):
		}
	}
}

// see takes note of a pod as the API server has it, and runs it if it is new.
func (n *Node) see(latest *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pods[latest.UID]; p != nil {
		p.see(latest)
		return
	}
	p := &pod{
		node: n, name: latest.Name, namespace: latest.Namespace, uid: latest.UID,
		address: net.IPv4(10, 244, n.Subnet, n.next).String(),
		link:    fmt.Sprintf("p%d-%d", n.Subnet, n.next),
		dir:     filepath.Join(n.Dir, string(latest.UID)),
		changed: make(chan struct{}, 1),
		written: map[string]files{},
	}
	n.next++
	p.see(latest)
	n.pods[latest.UID] = p
	n.wg.Go(p.run)
}

// forget ends a pod that went away without having been asked to.
func (n *Node) forget(gone any) {
	if last, ok := gone.(cache.DeletedFinalStateUnknown); ok {
		gone = last.Obj
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	uid := gone.(*corev1.Pod).UID
	if p := n.pods[uid]; p != nil {
		p.see(nil)
		delete(n.pods, uid)
	}
}

// Kill kills a pod's container with SIGKILL, as the kernel does when memory is
// short. The node starts it again.
func (n *Node) Kill(namespace, name string) error {
	pid, err := n.PID(namespace, name)
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("kill pod %s: %w", name, err)
	}
	if err := process.Kill(); err != nil {
		return fmt.Errorf("kill pod %s: %w", name, err)
	}
	return nil
}

// PID is that of the first process of a pod's container.
func (n *Node) PID(namespace, name string) (int, error) {
	c, err := n.container(namespace, name)
	if err != nil {
		return 0, err
	}
	return c.pid()
}

// Exec runs a program in a pod's container and returns what it wrote.
func (n *Node) Exec(namespace, name string, command ...string) ([]byte, error) {
	c, err := n.container(namespace, name)
	if err != nil {
		return nil, err
	}
	return c.runc(append([]string{"exec", c.id}, command...)...).CombinedOutput()
}

func (n *Node) container(namespace, name string) (*container, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		if p.namespace == namespace && p.name == name {
			if c := p.container.Load(); c != nil {
				return c, nil
			}
		}
	}
	return nil, fmt.Errorf("pod %s doesn't run on %s", name, n.Name)
}
