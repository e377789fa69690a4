package kubelet

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// forward answers "kubectl port-forward".
func (k *kubelet) forward(w http.ResponseWriter, r *http.Request) {
	ns, err := k.networkOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, network(ns), r.PathValue("pod"), "", options, idleTime, creationTime, portforward.SupportedProtocols)
}

// networkOf returns the network namespace of a Pod.
func (k *kubelet) networkOf(r *http.Request) (string, error) {
	p, err := k.API.CoreV1().Pods(r.PathValue("namespace")).Get(r.Context(), r.PathValue("pod"), metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("find Pod %s: %w", r.PathValue("pod"), err)
	}
	if p.Spec.HostNetwork {
		return k.Table.Prefix + p.Spec.NodeName, nil
	}
	return k.Table.Prefix + podHost(p.UID), nil
}

// network is a network namespace.
type network string

// PortForward connects a stream with a port on the loopback of the namespace.
func (n network) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, err := hosts.Dial(ctx, string(n), "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)).String())
	if err != nil {
		return err
	}
	defer conn.Close() // an error changes nothing
	go func() {
		_, _ = io.Copy(conn, stream) // until either end is closed
	}()
	_, err = io.Copy(stream, conn)
	return err
}
