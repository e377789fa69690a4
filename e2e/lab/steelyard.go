package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
	"github.com/steelyard-lb/steelyard/e2e/lab/kubelet"
)

const systemNamespace = "steelyard-system"

// installSteelyard does what an installation does, with processes in place of
// the workloads: API types and roles, a token each, then the programs.
func (r *Rack) installSteelyard(ctx context.Context, log func(string, ...any)) error {
	if err := r.applyManifests(ctx); err != nil {
		return err
	}
	processes := r.controllers()
	for _, n := range r.nodes() {
		flags := []string{"--node-name", n.Name, "--metrics-bind-address", "127.0.0.1:7474", "--health-probe-bind-address", "127.0.0.1:7475", "--debug-bind-address", "127.0.0.1:7476"}
		p := r.steelyard(n.Name, "speaker", "speaker-"+n.Name, append(flags, r.SpeakerFlags...)...)
		processes = append(processes, p)
		pod, err := r.speakerPod(ctx, n.Name)
		if err != nil {
			return err
		}
		if err := r.writeServiceAccount(ctx, "speaker", "speaker-"+n.Name, apiAddress, pod); err != nil {
			return err
		}
	}
	if err := r.writeServiceAccount(ctx, "controller", "controller", r.controllerServer(), nil); err != nil {
		return err
	}
	for i, p := range processes {
		privileges, err := r.privileges(filepath.Base(p.Argv[0]))
		if err != nil {
			return err
		}
		processes[i].Privileges = privileges
	}
	if err := r.table().SpawnAll(processes); err != nil {
		return err
	}
	log("started Steelyard: %d of the controller, %d speakers", r.Options.Controllers, r.Nodes)
	return nil
}

// applyManifests applies config/rack: everything but workloads.
func (r *Rack) applyManifests(ctx context.Context) error {
	folder := filepath.Join(r.Root, "config", "rack")
	if _, err := os.Stat(folder); err != nil {
		folder = filepath.Join(r.Root, "config", "default")
	}
	for _, argv := range [][]string{
		{"kubectl", "apply", "-k", folder},
		{"kubectl", "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"},
	} {
		if out, err := r.Command(ctx, "control", argv...).CombinedOutput(); err != nil {
			return fmt.Errorf("install Steelyard: %v: %w\n%s", argv, err, out)
		}
	}
	return nil
}

// steelyard is one process of a program, which speaks to the API server as the
// identity.
func (r *Rack) steelyard(host, program, identity string, args ...string) hosts.Process {
	argv := []string{filepath.Join(r.Bin, program), "--kubeconfig", r.path(identity + ".kubeconfig"), "--namespace", systemNamespace}
	return hosts.Process{Host: host, Name: program, Argv: append(argv, args...)}
}

// speakerPod makes the Pod that the speaker of a node would run in, and returns what
// binds a token to it: so the API server puts the node's name into the token, as it
// does for the Pods of a DaemonSet. The kubelet leaves it alone.
func (r *Rack) speakerPod(ctx context.Context, node string) (*authenticationv1.BoundObjectReference, error) {
	api, err := r.client("admin")
	if err != nil {
		return nil, err
	}
	no, atOnce := false, int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "speaker-" + node, Annotations: map[string]string{kubelet.ProcessAnnotation: "speaker"},
			Labels: map[string]string{"app.kubernetes.io/name": "steelyard", "app.kubernetes.io/component": "speaker"},
		},
		Spec: corev1.PodSpec{
			NodeName: node, HostNetwork: true, ServiceAccountName: "steelyard-speaker", AutomountServiceAccountToken: &no,
			Containers:  []corev1.Container{{Name: "speaker", Image: "steelyard-speaker"}},
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, TerminationGracePeriodSeconds: &atOnce,
		},
	}
	if pod, err = api.CoreV1().Pods(systemNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("make the Pod of the speaker of %s: %w", node, err)
	}
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}, nil
}

// writeServiceAccount writes the kubeconfig of a program's ServiceAccount for the
// identity, with a token for a year; bound to an object, if one is given.
func (r *Rack) writeServiceAccount(ctx context.Context, program, identity, server string, to *authenticationv1.BoundObjectReference) error {
	api, err := r.client("admin")
	if err != nil {
		return err
	}
	year := int64(365 * 24 * 3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &year, BoundObjectRef: to}}
	token, err := api.CoreV1().ServiceAccounts(systemNamespace).CreateToken(ctx, "steelyard-"+program, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("ask for the token of %s/steelyard-%s: %w", systemNamespace, program, err)
	}
	if err := r.writeKubeconfig(identity, server, token.Status.Token); err != nil {
		return err
	}
	privileges, err := r.privileges(program)
	if err != nil {
		return err
	}
	if err := os.Chown(r.path(identity+".kubeconfig"), int(privileges.User), int(privileges.User)); err != nil {
		return fmt.Errorf("hand the kubeconfig to %s: %w", program, err)
	}
	return nil
}

// privileges returns what the manifest of a program lets it do.
func (r *Rack) privileges(program string) (*hosts.Privileges, error) {
	file := map[string]string{"controller": "controller/deployment.yaml", "speaker": "speaker/daemonset.yaml"}[program]
	text, err := os.ReadFile(filepath.Join(r.Root, "config", file))
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", program, err)
	}
	var workload struct { // a Deployment or a DaemonSet
		Spec struct{ Template corev1.PodTemplateSpec }
	}
	if err := yaml.Unmarshal(text, &workload); err != nil {
		return nil, fmt.Errorf("decode the manifest of %s: %w", program, err)
	}
	pod := workload.Spec.Template.Spec
	if len(pod.Containers) != 1 || pod.SecurityContext == nil || pod.SecurityContext.RunAsUser == nil ||
		pod.Containers[0].SecurityContext == nil || pod.Containers[0].SecurityContext.Capabilities == nil {
		return nil, fmt.Errorf("the manifest of %s does not tell its user and its capabilities", program)
	}
	p := &hosts.Privileges{User: *pod.SecurityContext.RunAsUser}
	for _, c := range pod.Containers[0].SecurityContext.Capabilities.Add {
		p.Capabilities = append(p.Capabilities, string(c))
	}
	return p, nil
}
