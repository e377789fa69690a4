package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/doctor"
	"github.com/steelyard-lb/steelyard/internal/migrate"
)

// examined is what doctor answers.
type examined struct {
	Findings []doctor.Finding `json:"findings"`
	Unread   []string         `json:"unread,omitempty"` // what could not be read
}

func doctors(t *tool) *cobra.Command {
	return t.command(&cobra.Command{
		Use:   "doctor [CHECK…]",
		Short: "Examine the cluster for what is known to keep clients from Services",
		Long: `Examine the cluster for what is known to keep clients from Services.

Each check has a name, a result, its evidence and a remedy. Given names, it makes
these checks only: ` + strings.Join(doctor.Checks(), ", ") + `.

It reads, and changes nothing. Exit code 2 says that it found a warning or a fault.`,
		ValidArgsFunction: cobra.FixedCompletions(doctor.Checks(), cobra.ShellCompDirectiveNoFileComp),
	}, func(ctx context.Context, names []string) (answer, error) {
		for _, n := range names {
			if !slices.Contains(doctor.Checks(), n) {
				return nil, fmt.Errorf("there is no check %q; there are %s", n, strings.Join(doctor.Checks(), ", "))
			}
		}
		c, err := t.connect()
		if err != nil {
			return nil, err
		}
		w, err := t.look(ctx, c)
		if err != nil {
			return nil, err
		}
		around, err := t.around(ctx, c)
		if err != nil {
			return nil, err
		}
		return examined{doctor.Examine(w, around, names...), w.Unread}, nil
	})
}

func (examined) kind() string { return "DoctorReport" }

func (e examined) clean() bool {
	return !slices.ContainsFunc(e.Findings, func(f doctor.Finding) bool { return f.Result == doctor.Warning || f.Result == doctor.Fault })
}

func (e examined) draw(p *printer) {
	width := 0
	counts := map[doctor.Result]int{}
	for _, f := range e.Findings {
		width = max(width, len(f.Check))
		counts[f.Result]++
	}
	for _, f := range e.Findings {
		mark := map[doctor.Result]cell{doctor.OK: good("ok     "), doctor.Warning: warn("warning"), doctor.Fault: bad("fault  "), doctor.Unknown: dimmed("unknown")}[f.Result]
		name := fmt.Sprintf("%-*s", width, f.Check)
		if f.Result == doctor.OK {
			p.line(mark, plain("  "+name+"  "), dimmed(cmp.Or(strings.Join(f.Evidence, "; "), f.Asks)))
			continue
		}
		p.line(mark, bold("  "+name), plain("  "+f.Asks))
		for _, x := range f.Evidence {
			p.line(plain("           - " + x))
		}
		p.line(dimmed("           remedy: "), plain(f.Remedy))
	}
	for _, u := range e.Unread {
		p.line(warn("not read "), plain(u))
	}
	p.line()
	p.line(plainf("%d ok, %s, %s, %d unknown", counts[doctor.OK], counted(counts[doctor.Warning], "warning"), counted(counts[doctor.Fault], "fault"), counts[doctor.Unknown]))
}

// surroundings are the objects that tell what is around Steelyard.
type surroundings struct {
	deployments appsv1.DeploymentList
	daemons     appsv1.DaemonSetList
	sets        appsv1.StatefulSetList
	pods        corev1.PodList // of kube-system, where static ones are
	configs     corev1.ConfigMapList
	events      corev1.EventList
	kinds       unstructured.UnstructuredList
	policies    admissionv1.ValidatingAdmissionPolicyList
	bindings    admissionv1.ValidatingAdmissionPolicyBindingList
}

// around reads what is around Steelyard. What its reader may not see is named in
// Forbidden.
func (t *tool) around(ctx context.Context, c client.WithWatch) (doctor.Environment, error) {
	var s surroundings
	s.kinds.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"})
	a := doctor.Environment{System: t.system}
	const kubeSystem = "kube-system"
	for _, read := range []struct {
		list client.ObjectList
		gap  doctor.Gap // if it may not be read
	}{
		{&s.deployments, doctor.Gap{Resource: "deployments.apps"}}, {&s.daemons, doctor.Gap{Resource: "daemonsets.apps"}},
		{&s.sets, doctor.Gap{Resource: "statefulsets.apps"}}, {&s.pods, doctor.Gap{Resource: "pods", Namespace: kubeSystem}},
		{&s.configs, doctor.Gap{Resource: "configmaps", Namespace: kubeSystem}},
		{&s.events, doctor.Gap{Resource: "events", Namespace: t.system}}, {&s.kinds, doctor.Gap{Resource: "customresourcedefinitions.apiextensions.k8s.io"}},
		{&s.policies, doctor.Gap{Resource: "validatingadmissionpolicies.admissionregistration.k8s.io"}},
		{&s.bindings, doctor.Gap{Resource: "validatingadmissionpolicybindings.admissionregistration.k8s.io"}},
	} {
		switch err := c.List(ctx, read.list, client.InNamespace(read.gap.Namespace)); {
		case err == nil, meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		case apierrors.IsForbidden(err):
			a.Forbidden = append(a.Forbidden, read.gap)
		default:
			return doctor.Environment{}, fmt.Errorf("list %s: %w", read.gap.Resource, err)
		}
	}
	a.Workloads, a.Policy = s.workloads(), s.policyInForce(t.system)
	for _, m := range s.configs.Items {
		if m.Name == "kube-proxy" {
			a.ProxyConfigs = append(a.ProxyConfigs, slices.Collect(maps.Values(m.Data))...)
		}
	}
	for i := range s.kinds.Items {
		if old := doctor.OldKind(&s.kinds.Items[i]); old != "" {
			a.OldKinds = append(a.OldKinds, old)
		}
	}
	var err error
	a.Foreign, err = t.foreign(ctx, c)
	if apierrors.IsForbidden(err) {
		a.Forbidden, err = append(a.Forbidden, doctor.Gap{Resource: "ciliumloadbalancerippools.cilium.io"}), nil
	}
	return a, err
}

// policyInForce reports whether there is a policy for the speakers of a namespace, and
// a binding puts it in force.
func (s *surroundings) policyInForce(namespace string) bool {
	const name = "steelyard-speaker"
	return slices.ContainsFunc(s.policies.Items, func(p admissionv1.ValidatingAdmissionPolicy) bool {
		return p.Name == name && slices.ContainsFunc(p.Spec.MatchConditions, func(c admissionv1.MatchCondition) bool {
			return strings.Contains(c.Expression, "'system:serviceaccount:"+namespace+":steelyard-speaker'")
		})
	}) && slices.ContainsFunc(s.bindings.Items, func(b admissionv1.ValidatingAdmissionPolicyBinding) bool {
		return b.Spec.PolicyName == name && b.Spec.MatchResources == nil && slices.Contains(b.Spec.ValidationActions, admissionv1.Deny)
	})
}

func (s *surroundings) workloads() []doctor.Workload {
	wanted := func(n *int32) int32 {
		if n == nil {
			return 1 // the API's default
		}
		return *n
	}
	var out []doctor.Workload
	for _, d := range s.deployments.Items {
		w := workload("Deployment", &d, d.Spec.Template.Spec, wanted(d.Spec.Replicas))
		w.Current = d.Status.Replicas
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				w.Refused = c.Message
			}
		}
		out = append(out, w)
	}
	for _, d := range s.daemons.Items {
		w := workload("DaemonSet", &d, d.Spec.Template.Spec, d.Status.DesiredNumberScheduled)
		w.Current, w.Refused = d.Status.CurrentNumberScheduled, s.failure(&d)
		out = append(out, w)
	}
	for _, d := range s.sets.Items {
		out = append(out, workload("StatefulSet", &d, d.Spec.Template.Spec, wanted(d.Spec.Replicas)))
	}
	for _, p := range s.pods.Items {
		if owner := metav1.GetControllerOf(&p); owner == nil || owner.Kind == "Node" { // a static Pod, or one without a controller
			out = append(out, workload("Pod", &p, p.Spec, 1))
		}
	}
	return out
}

// failure returns why Pods of a DaemonSet could not be made the last time, by its events; "": they
// do not tell.
func (s *surroundings) failure(d *appsv1.DaemonSet) string {
	var message string
	var last metav1.Time
	for _, e := range s.events.Items {
		if e.Reason == "FailedCreate" && e.InvolvedObject.UID == d.UID && !e.LastTimestamp.Before(&last) {
			message, last = e.Message, e.LastTimestamp
		}
	}
	return message
}

// workload is what doctor needs of one.
func workload(kind string, o client.Object, pod corev1.PodSpec, replicas int32) doctor.Workload {
	w := doctor.Workload{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Replicas: replicas}
	for _, c := range pod.Containers {
		w.Images = append(w.Images, c.Image)
		w.Settings = append(w.Settings, slices.Concat(c.Command, c.Args)...)
		for _, e := range c.Env {
			w.Settings = append(w.Settings, e.Name+"="+e.Value)
		}
	}
	return w
}

// foreign counts the pools of Cilium, whose LB IPAM runs in every Cilium: only
// they tell that it is used.
func (t *tool) foreign(ctx context.Context, c client.WithWatch) ([]doctor.Foreign, error) {
	for _, r := range migrate.Cilium.Resources() {
		if r.Resource != "ciliumloadbalancerippools" {
			continue
		}
		kind, err := c.RESTMapper().KindFor(r)
		if meta.IsNoMatchError(err) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look for %s: %w", r.GroupResource(), err)
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list %s: %w", r.GroupResource(), err)
		}
		return []doctor.Foreign{{Product: "Cilium", Kind: kind.Kind, Count: len(list.Items)}}, nil
	}
	return nil, nil
}
