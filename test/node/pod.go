//go:build linux

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// pod is one that the node runs. All but what says otherwise is of its own
// goroutine's alone.
type pod struct {
	node            *Node
	name, namespace string
	uid             types.UID
	address, link   string
	dir             string

	seen    atomic.Pointer[corev1.Pod] // nil once it is gone
	changed chan struct{}              // it was seen anew

	container  atomic.Pointer[container] // nil while none runs
	written    map[string]files          // of the volumes
	token      string
	tokenUntil time.Time

	restarts int32
	ready    bool
}

// see takes note of what the API server has. Any goroutine may call it.
func (p *pod) see(latest *corev1.Pod) {
	p.seen.Store(latest)
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// latest is the pod as it was last there.
func (p *pod) latest() *corev1.Pod { return p.seen.Load() }

// ends says whether the pod is to end, and how long that may take.
func (p *pod) ends() (grace time.Duration, ends bool) {
	switch latest := p.latest(); {
	case latest == nil:
		return 0, true
	case latest.DeletionTimestamp != nil:
		return time.Duration(*latest.DeletionGracePeriodSeconds) * time.Second, true
	}
	return 0, false
}

// run is the pod's life.
func (p *pod) run() {
	defer os.RemoveAll(p.dir)
	netns, err := connect(p.link, p.address)
	if err != nil {
		p.report(corev1.PodPending, waiting("CreateContainerError", err))
		return
	}
	defer func() { _ = disconnect(p.link) }() // all of them go with the tests
	pause := time.Second
	for p.node.ctx.Err() == nil {
		if _, ends := p.ends(); ends {
			break
		}
		c, err := p.start(netns)
		if err != nil {
			p.node.log.Warn("container not started", "pod", p.name, "error", err)
			p.report(corev1.PodPending, waiting("CreateContainerError", err))
		} else if p.attend(c) {
			p.report(ended(c))
			break
		} else {
			p.restarts++
			p.report(corev1.PodRunning, waiting("CrashLoopBackOff", fmt.Errorf("it ended with %d", c.exitCode())))
		}
		p.wait(pause)
		pause = min(2*pause, 10*time.Second)
	}
	if latest := p.latest(); latest != nil && p.node.ctx.Err() == nil {
		_ = p.node.client.CoreV1().Pods(p.namespace).Delete(p.node.ctx, p.name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64(0)), Preconditions: &metav1.Preconditions{UID: &p.uid},
		})
	}
}

// wait waits for the time, or for the pod to end.
func (p *pod) wait(d time.Duration) {
	over := time.After(d)
	for {
		if _, ends := p.ends(); ends {
			return
		}
		select {
		case <-over:
			return
		case <-p.changed:
		case <-p.node.ctx.Done():
			return
		}
	}
}

// start starts the container.
func (p *pod) start(netns string) (*container, error) {
	latest := p.latest()
	if latest == nil {
		return nil, errors.New("the pod is gone")
	}
	if len(latest.Spec.Containers) != 1 || len(latest.Spec.InitContainers) > 0 {
		return nil, errors.New("this node runs pods with one container and no others")
	}
	spec := &latest.Spec.Containers[0]
	image := p.node.Images[spec.Image]
	if image == nil {
		return nil, fmt.Errorf("this node hasn't the image %s", spec.Image)
	}
	if s := latest.Spec.SecurityContext; s != nil && s.RunAsNonRoot != nil && *s.RunAsNonRoot {
		if user, err := image.user(); err != nil || user == 0 {
			return nil, errors.Join(err, fmt.Errorf("the image %s runs as root, which the pod forbids", spec.Image))
		}
	}
	mounts, err := p.mounts(p.node.ctx, spec)
	if err != nil {
		return nil, err
	}
	env, err := p.env(spec)
	if err != nil {
		return nil, err
	}
	config, err := image.config(p.name, spec, env, netns, mounts)
	if err != nil {
		return nil, err
	}
	bundle := filepath.Join(p.dir, "bundle")
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		return nil, fmt.Errorf("make the bundle: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644); err != nil {
		return nil, fmt.Errorf("make the bundle: %w", err)
	}
	id := fmt.Sprintf("stsguard-%s-%d", p.uid, p.restarts)
	return run(id, bundle, filepath.Join(p.node.Dir, "runc"), filepath.Join(p.node.Dir, p.namespace+"_"+p.name+".log"))
}

func (p *pod) env(c *corev1.Container) ([]string, error) {
	env := []string{"KUBERNETES_SERVICE_HOST=" + Address.String(), "KUBERNETES_SERVICE_PORT=" + p.node.APIServerPort}
	for _, e := range c.Env {
		value := e.Value
		if from := e.ValueFrom; from != nil {
			switch {
			case from.FieldRef != nil:
				var err error
				if value, err = p.field(from.FieldRef); err != nil {
					return nil, err
				}
			case from.ResourceFieldRef != nil && from.ResourceFieldRef.Resource == "limits.memory":
				value = fmt.Sprint(c.Resources.Limits.Memory().Value())
			default:
				return nil, fmt.Errorf("this node doesn't know where %s is from", e.Name)
			}
		}
		env = append(env, e.Name+"="+value)
	}
	return env, nil
}

func (p *pod) field(ref *corev1.ObjectFieldSelector) (string, error) {
	switch ref.FieldPath {
	case "metadata.namespace":
		return p.namespace, nil
	case "metadata.name":
		return p.name, nil
	case "spec.nodeName":
		return p.node.Name, nil
	case "status.podIP":
		return p.address, nil
	}
	return "", fmt.Errorf("this node doesn't know the field %s", ref.FieldPath)
}

// attend stays with a running container: it probes it, writes its volumes anew,
// and ends it with the pod. It says whether the pod is over; otherwise the
// container has ended by itself or was found dead.
func (p *pod) attend(c *container) (over bool) {
	p.container.Store(c)
	defer p.container.Store(nil)
	defer func() { p.ready = false }()
	spec := p.latest()
	if spec == nil {
		return p.end(c, 0)
	}
	container := &spec.Spec.Containers[0]
	p.report(corev1.PodRunning, running())
	ctx, cancel := context.WithCancel(p.node.ctx)
	defer cancel()
	ready, alive := make(chan bool), make(chan bool)
	if container.ReadinessProbe != nil {
		go p.probe(ctx, container.ReadinessProbe, container, ready)
	} else {
		p.setReady(true)
	}
	if container.LivenessProbe != nil {
		go p.probe(ctx, container.LivenessProbe, container, alive)
	}
	stale := false // the volumes could not be written
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-p.node.ctx.Done():
			return p.end(c, 0)
		case <-c.done:
			// A kubelet looks once a second.
			p.wait(time.Second)
			return false
		case <-p.changed:
			if grace, ends := p.ends(); ends {
				return p.end(c, grace)
			}
		case <-second.C:
			// What fails is tried again; the pod keeps what it has.
			err := p.writeVolumes(p.node.ctx)
			if (err != nil) != stale {
				stale = err != nil
				p.node.log.Info("volumes written", "pod", p.name, "error", err)
			}
		case healthy := <-ready:
			p.setReady(healthy)
		case healthy := <-alive:
			if !healthy {
				p.node.log.Warn("container is dead", "pod", p.name)
				p.end(c, time.Duration(*spec.Spec.TerminationGracePeriodSeconds)*time.Second)
				return false
			}
		}
	}
}

// end ends the container as pods end.
func (p *pod) end(c *container, grace time.Duration) bool {
	if grace > 0 && c.kill(int(syscall.SIGTERM)) == nil {
		select {
		case <-c.done:
			return true
		case <-p.node.ctx.Done():
		case <-time.After(grace):
		}
	}
	_ = c.kill(int(syscall.SIGKILL))
	<-c.done
	return true
}

func (p *pod) setReady(ready bool) {
	if p.ready != ready {
		p.ready = ready
		p.report(corev1.PodRunning, running())
	}
}

func waiting(reason string, err error) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: err.Error()}}
}

func running() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
}

// ended is what a container that has ended leaves of its pod.
func ended(c *container) (corev1.PodPhase, corev1.ContainerState) {
	phase := corev1.PodSucceeded
	if c.exitCode() != 0 {
		phase = corev1.PodFailed
	}
	return phase, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: c.exitCode(), FinishedAt: metav1.Now()}}
}

// report tells the API server, again and again until it has heard.
func (p *pod) report(phase corev1.PodPhase, state corev1.ContainerState) {
	for p.node.ctx.Err() == nil {
		latest := p.latest()
		if latest == nil {
			return
		}
		err := p.tell(latest, phase, state)
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		p.node.log.Warn("status not told", "pod", p.name, "error", err)
		time.Sleep(100 * time.Millisecond)
	}
}

func (p *pod) tell(latest *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState) error {
	now := metav1.Now()
	isReady := corev1.ConditionFalse
	if p.ready {
		isReady = corev1.ConditionTrue
	}
	var conditions []corev1.PodCondition
	for condition, status := range map[corev1.PodConditionType]corev1.ConditionStatus{
		corev1.PodInitialized: corev1.ConditionTrue, corev1.ContainersReady: isReady, corev1.PodReady: isReady,
	} {
		conditions = append(conditions, corev1.PodCondition{Type: condition, Status: status, LastTransitionTime: now})
	}
	patch, err := json.Marshal(object{
		"metadata": object{"uid": p.uid},
		"status": corev1.PodStatus{
			Phase: phase, Conditions: conditions, StartTime: &now,
			HostIP: Address.String(), HostIPs: []corev1.HostIP{{IP: Address.String()}},
			PodIP: p.address, PodIPs: []corev1.PodIP{{IP: p.address}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: latest.Spec.Containers[0].Name, Image: latest.Spec.Containers[0].Image,
				State: state, Ready: p.ready, Started: new(state.Running != nil), RestartCount: p.restarts,
			}},
		},
	})
	if err != nil {
		return err
	}
	_, err = p.node.client.CoreV1().Pods(p.namespace).Patch(p.node.ctx, p.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// probe asks again and again whether the container is healthy, and says so. That
// it isn't is said once the probe has failed as often as it may.
func (p *pod) probe(ctx context.Context, probe *corev1.Probe, c *corev1.Container, results chan<- bool) {
	var failed int32
	for pause := probe.InitialDelaySeconds; ; pause = probe.PeriodSeconds {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(pause) * time.Second):
		}
		if p.get(ctx, probe, c) == nil {
			failed = 0
		} else if failed++; failed < probe.FailureThreshold {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case results <- failed == 0:
		}
	}
}

// prober makes a connection for each probe, as a kubelet does.
var prober = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (p *pod) get(ctx context.Context, probe *corev1.Probe, c *corev1.Container) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
	defer cancel()
	port := probe.HTTPGet.Port.String()
	if probe.HTTPGet.Port.Type == intstr.String {
		for _, named := range c.Ports {
			if named.Name == probe.HTTPGet.Port.StrVal {
				port = fmt.Sprint(named.ContainerPort)
			}
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(p.address, port)+probe.HTTPGet.Path, nil)
	if err != nil {
		return err
	}
	response, err := prober.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return errors.New(response.Status)
	}
	return nil
}
