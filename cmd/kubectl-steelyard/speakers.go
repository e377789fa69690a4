package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// maxAsked is how many speakers are asked concurrently.
	maxAsked = 16
	// askTimeout limits how long one of them may take.
	askTimeout = 20 * time.Second
	// maxSpoken is the length of the longest answer that is read, in bytes: several times
	// that of 10,000 routes to each of eight peers.
	maxSpoken = 64 << 20
	// debugPort is the speakers' port if their arguments name none.
	debugPort = 7476
)

// spoken is what a speaker has answered.
type spoken struct {
	body []byte
	err  error
}

// speakerPods returns the Pods of speakers: that of a node, or all for "", sorted by node.
func (t *tool) speakerPods(ctx context.Context, node string) ([]corev1.Pod, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	if _, err := t.findHome(ctx, c); err != nil {
		return nil, err
	}
	var list corev1.PodList
	labels := client.MatchingLabels{"app.kubernetes.io/name": "steelyard", "app.kubernetes.io/component": "speaker"}
	if err := c.List(ctx, &list, client.InNamespace(t.system), labels); err != nil {
		return nil, fmt.Errorf("list the speakers' Pods in namespace %s: %w", t.system, err)
	}
	var nodes []string
	for _, p := range list.Items {
		nodes = append(nodes, p.Spec.NodeName)
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.Spec.NodeName == "" || node != "" && p.Spec.NodeName != node })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Spec.NodeName, b.Spec.NodeName) })
	switch {
	case len(pods) == 0 && node != "":
		return nil, unknown("node with a speaker", node, nodes)
	case len(pods) == 0:
		return nil, fmt.Errorf("no Pod of a speaker is in namespace %s: see kubectl steelyard doctor, and --steelyard-namespace", t.system)
	}
	return pods, nil
}

// askSpeakers asks the speaker in each Pod for what it serves at a path of its node's
// loopback, several concurrently. The answers are in the order of the Pods.
func (t *tool) askSpeakers(ctx context.Context, pods []corev1.Pod, path string) []spoken {
	out := make([]spoken, len(pods))
	places := make(chan struct{}, maxAsked)
	var all sync.WaitGroup
	for i := range pods {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			port, err := debugPortOf(&pods[i])
			if err == nil {
				out[i].body, err = t.ask(ctx, &pods[i], port, path)
			}
			out[i].err = err
		})
	}
	all.Wait()
	return out
}

// debugPortOf returns the port on which the speaker in a Pod serves its node.
func debugPortOf(p *corev1.Pod) (uint16, error) {
	for _, c := range p.Spec.Containers {
		for _, arg := range c.Args {
			address, is := strings.CutPrefix(strings.TrimLeft(arg, "-"), "debug-bind-address=")
			if !is {
				continue
			}
			if at, err := netip.ParseAddrPort(address); err == nil {
				return at.Port(), nil
			}
			return 0, fmt.Errorf("its --debug-bind-address is %q: it serves its node nothing (speaker.debugPort of the chart)", address)
		}
	}
	return debugPort, nil
}

// forward asks a Pod as "kubectl port-forward" would have a browser do: the kubelet connects
// to a port of the Pod's loopback, which is the node's for a speaker.
func (t *tool) forward(ctx context.Context, pod *corev1.Pod, port uint16, path string) ([]byte, error) {
	config, err := t.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	done := make(chan spoken, 1) // what takes too long ends with this process
	go func() {
		body, err := askThrough(ctx, config, pod, port, path)
		done <- spoken{body, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("it did not answer within %s", askTimeout)
	case said := <-done:
		return said.body, said.err
	}
}

func askThrough(ctx context.Context, config *rest.Config, pod *corev1.Pod, port uint16, path string) ([]byte, error) {
	conn, err := dialPod(config, pod)
	if err != nil {
		return nil, fmt.Errorf("forward a port of Pod %s: %w", pod.Name, err)
	}
	defer conn.Close() // an error changes nothing: all has been read
	stream := func(kind string) (httpstream.Stream, error) {
		headers := http.Header{}
		headers.Set(corev1.StreamType, kind)
		headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
		headers.Set(corev1.PortForwardRequestIDHeader, "0")
		return conn.CreateStream(headers)
	}
	failed, err := stream(corev1.StreamTypeError)
	if err != nil {
		return nil, fmt.Errorf("forward port %d of Pod %s: %w", port, pod.Name, err)
	}
	_ = failed.Close() // this side writes nothing there
	fault := make(chan string, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(failed, 4<<10))
		if err != nil && len(text) == 0 {
			text = []byte(err.Error())
		}
		fault <- string(text)
	}()
	data, err := stream(corev1.StreamTypeData)
	if err != nil {
		return nil, fmt.Errorf("forward port %d of Pod %s: %w", port, pod.Name, err)
	}
	body, err := get(ctx, data, fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		select {
		case text := <-fault:
			if text != "" {
				err = errors.New(text)
			}
		case <-time.After(time.Second):
		}
		return nil, fmt.Errorf("ask 127.0.0.1:%d in Pod %s: %w", port, pod.Name, err)
	}
	return body, nil
}

// dialPod opens a connection to forward ports of a Pod: by WebSocket, or as older API servers
// want it.
func dialPod(config *rest.Config, pod *corev1.Pod) (httpstream.Connection, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	to := base.JoinPath("api", "v1", "namespaces", pod.Namespace, "pods", pod.Name, "portforward")
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, fmt.Errorf("set up the connection: %w", err)
	}
	older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, to)
	newer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(to, config)
	if err != nil {
		return nil, fmt.Errorf("set up the connection: %w", err)
	}
	conn, _, err := portforward.NewFallbackDialerForStreaming(newer, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}).Dial(portforward.PortForwardProtocolV1Name)
	return conn, err
}

// get makes a request over a connection, and returns the body of the answer.
func get(ctx context.Context, conn io.ReadWriter, url string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	q.Close = true
	if err := q.Write(conn); err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), q)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	defer r.Body.Close() // it has been read
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSpoken+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case r.StatusCode == http.StatusNotFound:
		return nil, errors.New("it is of an older version, which does not tell")
	case r.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answers %s", r.Status)
	case len(body) > maxSpoken:
		return nil, fmt.Errorf("it answers with more than %d MiB", maxSpoken>>20)
	}
	return body, nil
}
