package controlplane

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// NotReady is the annotation of a pod that runs and never becomes ready, if
// its value is "false".
const NotReady = "test.stsguard.dev/ready"

// stages say what kwok does with nodes and pods.
//
//go:embed stages.yaml
var stages []byte

func (c *ControlPlane) startScheduler(ctx context.Context, ready func(string)) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	schedulerConfig, err := c.user(scheduler, "system:kube-scheduler")
	if err != nil {
		return err
	}
	binding, err := c.runBinary(scheduler,
		"--kubeconfig="+schedulerConfig,
		"--authentication-kubeconfig="+schedulerConfig,
		"--authorization-kubeconfig="+schedulerConfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", ports[0]),
		"--tls-cert-file=serving.crt",
		"--tls-private-key-file=serving.key",
		"--leader-elect=false",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	)
	if err != nil {
		return err
	}
	check, done, err := c.healthz(ports[0])
	if err != nil {
		return err
	}
	defer done()
	if err := binding.waitReady(ctx, scheduler, check); err != nil {
		return err
	}
	ready(scheduler)
	return nil
}

// startNodes starts kwok in place of the kubelets, and adds that many nodes.
func (c *ControlPlane) startNodes(ctx context.Context, client kubernetes.Interface, count int, ready func(string)) error {
	if err := os.WriteFile(filepath.Join(c.Dir, "stages.yaml"), stages, 0o600); err != nil {
		return fmt.Errorf("write kwok's stages: %w", err)
	}
	// On a real node the kubelet may do what these nodes' kwok does; what that
	// is in detail is of no interest here.
	kwokConfig, err := c.user(kwok, "kwok", "system:masters")
	if err != nil {
		return err
	}
	kubelets, err := c.runBinary(kwok,
		"--kubeconfig="+kwokConfig,
		"--manage-all-nodes",
		"--config=stages.yaml",
		"--cidr=10.128.0.0/14",
		"--node-ip=10.127.0.1",
		"--node-lease-duration-seconds=40",
	)
	if err != nil {
		return err
	}
	for i := range count {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}}
		if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("add node: %w", err)
		}
	}
	if err := kubelets.waitReady(ctx, "the nodes", func(ctx context.Context) error {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, node := range nodes.Items {
			// A new node is tainted until the controller manager has seen it ready.
			if len(node.Spec.Taints) > 0 || len(node.Status.Conditions) == 0 {
				return fmt.Errorf("%s isn't ready", node.Name)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	ready(kwok)
	return nil
}
