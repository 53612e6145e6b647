// Package controlplane runs a real Kubernetes control plane for a while: etcd,
// kube-apiserver and kube-controller-manager as plain processes on the
// loopback address, in a temporary directory. By itself it has no nodes, so
// that pods are created but never run; if asked for, kube-scheduler and kwok
// give them nodes on which they seem to run, and CoreDNS answers for their
// names. cert-manager can be started beside.
//
// The binaries are built by build.sh in this directory (make controlplane),
// or taken from the directory in KUBEBUILDER_ASSETS.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	kubectl           = "kubectl"
	scheduler         = "kube-scheduler"
	kwok              = "kwok"
	coreDNS           = "coredns"
	helm              = "helm"
	certManager       = "cert-manager"
	dockerd           = "dockerd"

	// A start takes a few seconds; this is for a machine busy with builds.
	startTimeout = 2 * time.Minute

	// etcd takes a Unix socket only in the form of host and port; both
	// together are the name of the socket in the working directory.
	etcdClientSocket = "etcd:1"
	etcdPeerSocket   = "etcd:2"
)

// Options say how a control plane differs from the usual. The zero value is
// good.
type Options struct {
	// APIServerArgs are more flags for kube-apiserver. They come last, so
	// that they win over those given already.
	APIServerArgs []string
	// ControllerManagerArgs are the same for kube-controller-manager.
	ControllerManagerArgs []string
	// WithoutControllerManager leaves out kube-controller-manager: no pods
	// for a StatefulSet, no endpoints, and no end to a deleted namespace.
	WithoutControllerManager bool
	// Nodes is how many nodes there are. Pods run there, as far as the API
	// server can tell, and are ready at once unless they have the annotation
	// NotReady. Nodes need the controller manager.
	Nodes int
	// Scheduler starts kube-scheduler for nodes that somebody else adds. With
	// Nodes it is there anyhow.
	Scheduler bool
	// Address is where pods reach the API server, which by itself has no other
	// than the loopback address.
	Address net.IP
	// DNS starts CoreDNS for the domain cluster.local.
	DNS bool
	// Output gets a line per component that is ready. Nil: nobody is told.
	Output io.Writer
}

// ControlPlane is a running control plane. Stop ends it.
type ControlPlane struct {
	// Config is that of a cluster admin, without a client-side rate limit.
	Config *rest.Config
	// Kubeconfig is the path of the admin's kubeconfig. Its one context is
	// "stsguard", in the namespace default.
	Kubeconfig string
	// KubectlPath is the path of kubectl.
	KubectlPath string
	// DNS is the address on which CoreDNS answers over UDP and TCP, as
	// host:port; empty without it.
	DNS string
	// Dir is the temporary directory: it has the kubeconfigs and, as
	// etcd.log, kube-apiserver.log and so on, the logs.
	Dir string

	authority *authority
	server    string // URL of kube-apiserver
	processes []*process
	exited    chan *process // a process that ended; room for all
	stop      func() error
}

// User is somebody whom the API server knows by a certificate.
type User struct {
	Config     *rest.Config
	Kubeconfig string // path
}

// Start starts a control plane and returns when it can be worked with: every
// component is ready and there are the namespace default and its service
// account. The context is only for the start. When it fails, nothing is left.
func Start(ctx context.Context, opts Options) (*ControlPlane, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	dir, err := os.MkdirTemp("", "stsguard-controlplane-")
	if err != nil {
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	c := &ControlPlane{Dir: dir, exited: make(chan *process, 7)}
	cancelSweep, err := sweep(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start control plane: %w", err), os.RemoveAll(dir))
	}
	c.stop = sync.OnceValue(func() error {
		for _, p := range c.processes {
			p.kill()
		}
		defer cancelSweep()
		return os.RemoveAll(dir)
	})
	if err := c.start(ctx, opts); err != nil {
		return nil, errors.Join(fmt.Errorf("start control plane: %w", err), c.stop())
	}
	return c, nil
}

// Stop ends all processes and removes the temporary directory. Calling it
// again, or from two goroutines, does no harm.
func (c *ControlPlane) Stop() error {
	if err := c.stop(); err != nil {
		return fmt.Errorf("stop control plane: %w", err)
	}
	return nil
}

// Wait returns nil when the context is done, or before that an error when a
// component has ended by itself. It is for a single caller.
func (c *ControlPlane) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case p := <-c.exited:
		return p.ended()
	}
}

// AddUser makes a user known by a certificate. What the user may do is up to
// RBAC; the group system:masters may do everything.
func (c *ControlPlane) AddUser(name string, groups ...string) (*User, error) {
	pair, err := c.authority.client(name, groups)
	if err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	// Names of users may have slashes and colons, hence a name of our own.
	file, err := os.CreateTemp(c.Dir, "user-*.kubeconfig")
	if err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	path := file.Name()
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}

	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["stsguard"] = &clientcmdapi.Cluster{Server: c.server, CertificateAuthorityData: c.authority.pem}
	kubeconfig.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.certificate, ClientKeyData: pair.key}
	kubeconfig.Contexts["stsguard"] = &clientcmdapi.Context{Cluster: "stsguard", AuthInfo: name, Namespace: metav1.NamespaceDefault}
	kubeconfig.CurrentContext = "stsguard"
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*kubeconfig, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	config.QPS = -1
	return &User{Config: config, Kubeconfig: path}, nil
}

// Env is what kubectl and others need in their environment, each as
// NAME=value: the admin's kubeconfig, a place for kubectl's cache which goes
// away with the control plane, and a PATH with these directories before all others,
// and then those of this kubectl and, if that was built, of Helm.
func (c *ControlPlane) Env(programs ...string) []string {
	programs = append(slices.Clone(programs), filepath.Dir(c.KubectlPath))
	if path, err := binary(helm); err == nil {
		programs = append(programs, filepath.Dir(path))
	}
	programs = append(programs, os.Getenv("PATH"))
	return []string{
		"KUBECONFIG=" + c.Kubeconfig,
		"KUBECACHEDIR=" + filepath.Join(c.Dir, "cache"),
		"PATH=" + strings.Join(programs, string(os.PathListSeparator)),
	}
}

// Kubectl is a kubectl command as the admin, ready to run.
func (c *ControlPlane) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.KubectlPath, args...)
	cmd.Env = append(os.Environ(), c.Env()...)
	return cmd
}

func (c *ControlPlane) start(ctx context.Context, opts Options) error {
	began := time.Now()
	output := opts.Output
	if output == nil {
		output = io.Discard
	}
	ready := func(name string) {
		fmt.Fprintf(output, "%s is ready after %.1fs\n", name, time.Since(began).Seconds())
	}

	var err error
	if c.KubectlPath, err = binary(kubectl); err != nil {
		return err
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	c.server = fmt.Sprintf("https://127.0.0.1:%d", ports[0])
	if err := c.writeCredentials(opts.Address); err != nil {
		return err
	}

	store, err := c.runBinary(etcd, etcdArgs()...)
	if err != nil {
		return err
	}
	// A check over etcd's own socket: nobody else can answer in its place.
	if err := store.waitReady(ctx, etcd, httpOK(c.Etcd(), EtcdURL+"/readyz")); err != nil {
		return err
	}
	ready(etcd)

	server, err := c.runBinary(apiServer, apiServerArgs(ports[0], opts)...)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return err
	}
	if err := server.waitReady(ctx, apiServer, func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	if err := server.waitReady(ctx, "the namespace default", func(ctx context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err
	}); err != nil {
		return err
	}
	ready(apiServer)
	if opts.DNS {
		if err := c.startDNS(ctx, client, ready); err != nil {
			return err
		}
	}
	if opts.WithoutControllerManager {
		return nil
	}

	config, err := c.user(controllerManager, "system:kube-controller-manager")
	if err != nil {
		return err
	}
	manager, err := c.runBinary(controllerManager, append(controllerManagerArgs(config, ports[1]), opts.ControllerManagerArgs...)...)
	if err != nil {
		return err
	}
	check, done, err := c.healthz(ports[1])
	if err != nil {
		return err
	}
	defer done()
	if err := manager.waitReady(ctx, controllerManager, check); err != nil {
		return err
	}
	// It says that it is healthy before its controllers run; pods need the
	// work of one of them.
	if err := manager.waitReady(ctx, "the service account default", func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	}); err != nil {
		return err
	}
	ready(controllerManager)
	if opts.Scheduler || opts.Nodes > 0 {
		if err := c.startScheduler(ctx, ready); err != nil {
			return err
		}
	}
	if opts.Nodes > 0 {
		return c.startNodes(ctx, client, opts.Nodes, ready)
	}
	return nil
}

// runBinary starts a component and keeps it for Stop and Wait.
func (c *ControlPlane) runBinary(name string, args ...string) (*process, error) {
	path, err := binary(name)
	if err != nil {
		return nil, err
	}
	p, err := startProcess(c.Dir, name, path, args...)
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	c.watch(p)
	return p, nil
}

// writeCredentials writes the files which the arguments below name.
func (c *ControlPlane) writeCredentials(address net.IP) error {
	var err error
	if c.authority, err = newAuthority(); err != nil {
		return err
	}
	serving, err := c.authority.server(address)
	if err != nil {
		return err
	}
	private, public, err := newSigningKeys()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"ca.crt": c.authority.pem, "serving.crt": serving.certificate, "serving.key": serving.key, "sa.key": private, "sa.pub": public,
	} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), content, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}

	// The names are those of a cluster made by kubeadm.
	admin, err := c.AddUser("kubernetes-admin", "system:masters")
	if err != nil {
		return err
	}
	c.Config = admin.Config
	c.Kubeconfig = filepath.Join(c.Dir, "kubeconfig")
	return os.Rename(admin.Kubeconfig, c.Kubeconfig)
}

// user makes the kubeconfig of a component and returns its path.
func (c *ControlPlane) user(component, name string, groups ...string) (string, error) {
	u, err := c.AddUser(name, groups...)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.Dir, component+".kubeconfig")
	return path, os.Rename(u.Kubeconfig, path)
}

func etcdArgs() []string {
	// Sockets in a directory of ours alone: no port to find, and an etcd
	// that needs no credentials is out of others' reach.
	client, peer := "unix://"+etcdClientSocket, "unix://"+etcdPeerSocket
	return []string{
		"--data-dir=etcd",
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func apiServerArgs(port int, opts Options) []string {
	args := []string{
		"--etcd-servers=unix://" + etcdClientSocket,
		"--bind-address=127.0.0.1",
		// The loopback address is not allowed in the endpoints of the service
		// "kubernetes", and the machine may have no other.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=serving.crt",
		"--tls-private-key-file=serving.key",
		"--client-ca-file=ca.crt",
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		"--service-cluster-ip-range=10.96.0.0/12",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=sa.key",
		"--service-account-key-file=sa.pub",
	}
	if opts.WithoutControllerManager {
		// Nobody creates service accounts, without which this plugin lets no pod in.
		args = append(args, "--disable-admission-plugins=ServiceAccount")
	}
	if opts.Address != nil {
		args = append(args, "--bind-address=0.0.0.0")
	}
	return append(args, opts.APIServerArgs...)
}

func controllerManagerArgs(kubeconfig string, port int) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=serving.crt",
		"--tls-private-key-file=serving.key",
		"--leader-elect=false",
		"--root-ca-file=ca.crt",
		"--service-account-private-key-file=sa.key",
		// Each controller is a service account of its own in kube-system, as
		// on a cluster made by kubeadm.
		"--use-service-account-credentials",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

// healthz is a check of a component that serves its health over TLS on a port,
// and what to do when it is no longer needed.
func (c *ControlPlane) healthz(port int) (check func(context.Context) error, done func(), err error) {
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: c.authority.pem}})
	if err != nil {
		return nil, nil, err
	}
	return httpOK(client, fmt.Sprintf("https://127.0.0.1:%d/healthz", port)), client.CloseIdleConnections, nil
}

// httpOK is a check that a URL answers with 200.
func httpOK(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
			return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
		}
		return nil
	}
}
