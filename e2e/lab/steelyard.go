package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

const systemNamespace = "steelyard-system"

// installSteelyard does what an installation does, with processes in place of
// the workloads: API types and roles, a token each, then the programs.
func (r *Rack) installSteelyard(ctx context.Context, say func(string, ...any)) error {
	if err := r.applyManifests(ctx); err != nil {
		return err
	}
	processes := r.controllers()
	for _, n := range r.nodes() {
		flags := []string{"--node-name", n.Name, "--metrics-bind-address", "127.0.0.1:7474", "--health-probe-bind-address", "127.0.0.1:7475", "--debug-bind-address", "127.0.0.1:7476"}
		processes = append(processes, r.steelyard(n.Name, "speaker", append(flags, r.SpeakerFlags...)...))
	}
	for _, p := range [][2]string{{"controller", r.controllerServer()}, {"speaker", apiAddress}} {
		if err := r.writeServiceAccount(ctx, p[0], p[1]); err != nil {
			return err
		}
	}
	if err := r.table().SpawnAll(processes); err != nil {
		return err
	}
	say("started Steelyard: %d of the controller, %d speakers", r.Options.Controllers, r.Nodes)
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

func (r *Rack) steelyard(host, program string, args ...string) hosts.Process {
	argv := []string{filepath.Join(r.Bin, program), "--kubeconfig", r.path(program + ".kubeconfig"), "--namespace", systemNamespace}
	return hosts.Process{Host: host, Name: program, Argv: append(argv, args...)}
}

// writeServiceAccount writes the kubeconfig of the program's ServiceAccount,
// with a token for a year.
func (r *Rack) writeServiceAccount(ctx context.Context, program, server string) error {
	api, err := r.client("admin")
	if err != nil {
		return err
	}
	year := int64(365 * 24 * 3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &year}}
	token, err := api.CoreV1().ServiceAccounts(systemNamespace).CreateToken(ctx, "steelyard-"+program, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("ask for the token of %s/steelyard-%s: %w", systemNamespace, program, err)
	}
	return r.writeKubeconfig(program, server, token.Status.Token)
}
