package kubelet

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// report writes the Pod's status if it changed; false means try again.
func (p *pod) report(ctx context.Context) bool {
	status := p.status()
	if p.sent != nil && equality.Semantic.DeepEqual(*p.sent, status) {
		return true
	}
	if err := p.patch(ctx, status); err != nil {
		p.Log.Error("could not write a Pod's status, trying again", "pod", p.obj.Name, "err", err)
		return false
	}
	p.sent = &status
	return true
}

func (p *pod) status() corev1.PodStatus {
	ready := p.accepting && p.obj.Annotations[ReadyAnnotation] != "false"
	first := p.started
	if p.sent != nil {
		first = *p.sent.StartTime
	}
	s := corev1.PodStatus{
		Phase: corev1.PodRunning, StartTime: &first,
		HostIP:  p.node.V4.String(),
		HostIPs: []corev1.HostIP{{IP: p.node.V4.String()}, {IP: p.node.V6.String()}},
		PodIP:   p.v4.String(),
		PodIPs:  []corev1.PodIP{{IP: p.v4.String()}, {IP: p.v6.String()}},
		Conditions: []corev1.PodCondition{
			p.condition(corev1.PodInitialized, true),
			p.condition(corev1.ContainersReady, ready),
			p.condition(corev1.PodReady, ready && p.opened()),
		},
	}
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: p.started}}
	if p.cmd == nil {
		state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: p.reason + "; starts again in a second"}}
	}
	running := p.cmd != nil
	for _, c := range p.obj.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, State: state, Ready: ready, Started: &running, RestartCount: p.restarts,
		})
	}
	return s
}

// opened tells whether all that the Pod's readiness gates name is true.
func (p *pod) opened() bool {
	is := map[corev1.PodConditionType]corev1.ConditionStatus{}
	for _, c := range p.obj.Status.Conditions {
		is[c.Type] = c.Status
	}
	for _, g := range p.obj.Spec.ReadinessGates {
		if is[g.ConditionType] != corev1.ConditionTrue {
			return false
		}
	}
	return true
}

// condition keeps the time of the last change from what was sent before.
func (p *pod) condition(t corev1.PodConditionType, is bool) corev1.PodCondition {
	c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now()}
	if is {
		c.Status = corev1.ConditionTrue
	}
	if p.sent != nil {
		for _, old := range p.sent.Conditions {
			if old.Type == t && old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	return c
}

// ended ends the Pod if its process is not to be started again, and reports that.
func (p *pod) ended(ctx context.Context) bool {
	policy, done := p.obj.Spec.RestartPolicy, p.cmd.ProcessState.Success()
	if policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && !done {
		return false
	}
	p.tearDown()
	if !done {
		p.fail(ctx, "Error", "its process has failed")
		return true
	}
	if err := p.patch(ctx, corev1.PodStatus{Phase: corev1.PodSucceeded}); err != nil {
		p.Log.Error("could not write a Pod's status", "pod", p.obj.Name, "err", err)
	}
	return true
}

// fail ends a Pod that a rack cannot run.
func (p *pod) fail(ctx context.Context, reason, message string) {
	p.Log.Error("cannot run a Pod", "pod", p.obj.Name, "reason", reason, "message", message)
	if err := p.patch(ctx, corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: message}); err != nil {
		p.Log.Error("could not write a Pod's status", "pod", p.obj.Name, "err", err)
	}
}

// patch merges into the status: the scheduler's condition stays. A Pod that is
// gone, or replaced by one of the same name, needs no status.
func (p *pod) patch(ctx context.Context, s corev1.PodStatus) error {
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.obj.UID}, "status": s})
	if err != nil {
		return err
	}
	_, err = p.API.CoreV1().Pods(p.obj.Namespace).Patch(ctx, p.obj.Name, types.StrategicMergePatchType, text, metav1.PatchOptions{}, "status")
	if isGone(err) {
		return nil
	}
	return err
}

func isGone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }
