package kubelet

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
	"github.com/steelyard-lb/steelyard/e2e/lab/programs"
)

// ReadyAnnotation set to "false" on a Pod makes it not ready, as a failing
// readiness probe would.
const ReadyAnnotation = "rack.steelyard.dev/ready"

// ProcessAnnotation on a Pod says that a process of the rack stands for it, which
// the kubelet leaves alone.
const ProcessAnnotation = "rack.steelyard.dev/process"

// pod is one Pod: a namespace, a cable to its node, and one process; or, on the node's
// network, the process alone. Only its goroutine uses what stands below the channels.
type pod struct {
	*kubelet
	node *nodeAddresses
	seen chan *corev1.Pod // the newest object
	gone chan struct{}    // closed when the object is no more
	pid  atomic.Int64     // of the process; 0: none runs

	namespace, name string

	obj       *corev1.Pod
	number    int // of its address; 0: none yet
	v4, v6    netip.Addr
	cmd       *exec.Cmd     // nil while no process runs
	exited    chan struct{} // closed when cmd has ended
	accepting bool          // its port has answered since cmd started
	restarts  int32
	started   metav1.Time       // of cmd
	reason    string            // no process runs
	sent      *corev1.PodStatus // last written
	retry     <-chan time.Time  // when to start the process again
	grace     <-chan time.Time  // when to kill it; nil unless it is being deleted
}

// run lives as long as the Pod, or until ctx ends, when the process goes on alone.
func (p *pod) run(ctx context.Context) {
	for err := p.setUp(ctx); err != nil; err = p.setUp(ctx) {
		// As with a real kubelet the Pod stays Pending; a Failed one would be
		// replaced by its ReplicaSet at once, without end.
		p.Log.Error("could not make a Pod's network, trying again", "pod", p.obj.Name, "err", err)
		p.tearDown()
		select {
		case <-ctx.Done():
			return
		case <-p.gone:
			return
		case <-time.After(time.Second):
		}
	}
	p.start(ctx)
	p.loop(ctx)
}

// loop follows the object and the process until one of them ends for good.
func (p *pod) loop(ctx context.Context) {
	for {
		var soon <-chan time.Time // something to try again
		if !p.report(ctx) || p.cmd != nil && !p.accepting {
			soon = time.After(50 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return
		case p.obj = <-p.seen:
			p.terminate()
		case <-p.gone:
			p.tearDown()
			return
		case <-p.grace:
			p.signal(syscall.SIGKILL)
		case <-p.exited:
			if p.ended(ctx) {
				return
			}
			p.cmd, p.exited, p.accepting, p.reason = nil, nil, false, "it ended"
			p.pid.Store(0)
			p.retry = time.After(time.Second)
		case <-p.retry:
			p.retry = nil
			p.restarts++
			p.start(ctx)
		case <-soon:
			p.accepting = p.accepting || p.accepts(ctx)
		}
		if p.deleted(ctx) {
			return
		}
	}
}

// deleted removes a Pod that is to be deleted and whose process has ended, and reports that.
func (p *pod) deleted(ctx context.Context) bool {
	if p.obj.DeletionTimestamp == nil || p.cmd != nil {
		return false
	}
	p.tearDown()
	p.remove(ctx)
	return true
}

// terminate asks the process to end, once, if the Pod is being deleted.
func (p *pod) terminate() {
	if p.obj.DeletionTimestamp != nil && p.grace == nil {
		p.signal(syscall.SIGTERM)
		p.grace = time.After(graceOf(p.obj))
	}
}

func graceOf(obj *corev1.Pod) time.Duration {
	if obj.DeletionGracePeriodSeconds == nil {
		return 0
	}
	return time.Duration(*obj.DeletionGracePeriodSeconds) * time.Second
}

func (p *pod) host() string { return podHost(p.obj.UID) }

// network is the namespace that the process is in.
func (p *pod) network() string {
	if p.obj.Spec.HostNetwork {
		return p.Table.Prefix + p.node.Name
	}
	return p.Table.Prefix + p.host()
}

// link is the node's end of the cable.
func (p *pod) link() string { return "p" + p.host()[len("pod-"):] }

// setUp makes the Pod's namespace and cable. The node is its gateway, by an
// address that is the same on every such link; routes to the one address of the
// Pod do the rest, so there is no link of several Pods.
func (p *pod) setUp(ctx context.Context) error {
	if p.obj.Spec.HostNetwork {
		p.v4, p.v6 = p.node.V4, p.node.V6
		return nil
	}
	number, kept := p.node.number(p.obj.Status.PodIP)
	if kept {
		p.node.keep(p.obj.Status.PodIP)
	} else {
		number = p.node.take()
	}
	if number == 0 {
		return fmt.Errorf("%s has no free Pod address", p.node.Name)
	}
	p.number = number
	p.v4, p.v6 = p.node.pod(number)
	ns, node := p.network(), p.Table.Prefix+p.node.Name
	// No generated link-local address: it would wait for duplicate detection.
	if err := hosts.IP(ctx, "", fmt.Sprintf("netns add %s\nlink add name eth0 netns %[1]s type veth peer name %s netns %s\n", ns, p.link(), node)); err != nil {
		return err
	}
	err := hosts.IP(ctx, node, fmt.Sprintf(`link set %s addrgenmode none up
addr add 169.254.1.1/32 dev %[1]s scope link
addr add fe80::1/64 dev %[1]s nodad
route add %[2]s dev %[1]s src %[3]s
route add %[4]s dev %[1]s src %[5]s
`, p.link(), p.v4, p.node.V4, p.v6, p.node.V6))
	if err != nil {
		return err
	}
	return hosts.IP(ctx, ns, fmt.Sprintf(`link set lo up
link set eth0 addrgenmode none up
addr add %s/32 dev eth0
addr add %s/128 dev eth0 nodad
addr add fe80::2/64 dev eth0 nodad
route add 169.254.1.1 dev eth0 scope link
route add default via 169.254.1.1
route add default via fe80::1 dev eth0
`, p.v4, p.v6))
}

// tearDown kills what runs in the Pod, removes its namespace, and with that its cable.
func (p *pod) tearDown() {
	if p.obj.Spec.HostNetwork {
		p.signal(syscall.SIGKILL)
	}
	if err := hosts.Remove(p.Table.Prefix + p.host()); err != nil {
		p.Log.Error("could not remove a Pod's namespace", "pod", p.obj.Name, "err", err)
	}
	if err := os.RemoveAll(p.accountFolder()); err != nil {
		p.Log.Error("could not remove a Pod's account", "pod", p.obj.Name, "err", err)
	}
	if p.number != 0 {
		p.node.free(p.number)
	}
}

// start starts the process, or sees to it that it is tried again.
func (p *pod) start(ctx context.Context) {
	p.started = metav1.Now()
	if err := p.startProcess(ctx); err != nil {
		p.Log.Error("could not start a Pod's process, trying again", "pod", p.obj.Name, "err", err)
		p.reason = err.Error()
		p.retry = time.After(time.Second)
	}
}

// startProcess starts the process, with the Pod's host name and,
// where client libraries look for it, the Pod's account.
func (p *pod) startProcess(ctx context.Context) error {
	program, folder := p.argv()
	if _, err := exec.LookPath(program[0]); err != nil {
		image := programs.ImageName(p.obj.Spec.Containers[0].Image)
		if program[0] == p.Programs[image] {
			return fmt.Errorf("the program of image %s is not built: run \"rack build %[1]s\"", image)
		}
		return fmt.Errorf("find the Pod's program: %w", err)
	}
	enter, account := `hostname "$0" && shift && exec "$@"`, ""
	if p.hasAccount() {
		var err error
		if account, err = p.writeAccount(ctx); err != nil {
			return err
		}
		enter = mountAccount + enter
	}
	hostname := cmp.Or(p.obj.Spec.Hostname, p.name)
	argv := append([]string{"netns", "exec", p.network(), "unshare", "--uts", "sh", "-c", enter, hostname, account}, program...)
	cmd := exec.Command("ip", argv...)
	cmd.Dir = folder
	cmd.Env = append(slices.Clone(p.Table.Env), "HOSTNAME="+hostname,
		"KUBERNETES_SERVICE_HOST="+p.Server.Addr().String(), fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", p.Server.Port()))
	for name, value := range p.env() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if p.obj.Spec.HostNetwork {
		cmd.Env = append(cmd.Env, hostNetworkMark+p.Table.Prefix)
	}
	if err := p.Table.Detach(cmd, "pods", p.logName()); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // loop looks at how it ended
	}()
	p.cmd, p.exited = cmd, exited
	p.pid.Store(int64(cmd.Process.Pid))
	return nil
}

func (p *pod) logName() string { return p.namespace + "_" + p.name }

func (p *pod) signal(s syscall.Signal) {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // fails when it has just ended, which exited tells
	}
}

// port is that of the container's readiness probe, else its first TCP port. One
// that declares none may be agnhost, which then listens on 8080. 0: there is none.
func (p *pod) port() int32 {
	c := p.obj.Spec.Containers[0]
	if probe := c.ReadinessProbe; probe != nil && probe.HTTPGet != nil && probe.HTTPGet.Port.IntVal != 0 {
		return probe.HTTPGet.Port.IntVal
	}
	for _, declared := range c.Ports {
		if declared.Protocol == corev1.ProtocolTCP || declared.Protocol == "" {
			return declared.ContainerPort
		}
	}
	argv := slices.Concat(c.Command, c.Args)
	if len(c.Ports) == 0 && (len(argv) == 0 || slices.Contains(argv, "netexec")) {
		return 8080
	}
	return 0
}

// accepts tells whether the container's port takes connections; without one,
// whether the process is there. It asks from inside the Pod, as a real kubelet
// does from its own node: a cut cable changes nothing.
func (p *pod) accepts(ctx context.Context) bool {
	port := p.port()
	if port == 0 {
		return p.cmd != nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := hosts.Dial(ctx, p.network(), "tcp", netip.AddrPortFrom(p.v4, uint16(port)).String())
	if err != nil {
		return false
	}
	conn.Close()
	return p.cmd != nil
}

// remove tells the API server that the Pod has ended.
func (p *pod) remove(ctx context.Context) {
	now := metav1.NewDeleteOptions(0)
	now.Preconditions = metav1.NewUIDPreconditions(string(p.obj.UID))
	for range 20 {
		err := p.API.CoreV1().Pods(p.obj.Namespace).Delete(ctx, p.obj.Name, *now)
		if err == nil || isGone(err) {
			return
		}
		p.Log.Error("could not remove a Pod's object, trying again", "pod", p.obj.Name, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}
