package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// Port is where the API server finds the kubelet of each node.
const Port = 10250

// serve answers the API server, at each node's address, for "kubectl exec",
// "kubectl logs" and "kubectl port-forward". No other client is allowed.
func (k *kubelet) serve(ctx context.Context) error {
	pair, err := tls.LoadX509KeyPair(k.Certificate, k.Key)
	if err != nil {
		return fmt.Errorf("load the kubelet's certificate: %w", err)
	}
	ca, err := os.ReadFile(k.CA)
	if err != nil {
		return fmt.Errorf("read the authority's certificate: %w", err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	// No HTTP/2: SPDY takes the whole connection over.
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"http/1.1"}}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.forward)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.logs)
	// In most images wget is BusyBox's, which tries once; GNU's tries twenty times.
	if err := os.WriteFile(k.wgetrc(), []byte("tries = 1\n"), 0o644); err != nil {
		return fmt.Errorf("write the settings of wget: %w", err)
	}
	for _, n := range k.Nodes {
		listener, err := hosts.Listen(ctx, k.Table.Prefix+n.Name, "tcp", netip.AddrPortFrom(n.V4, Port).String())
		if err != nil {
			return fmt.Errorf("listen for the API server on %s: %w", n.Name, err)
		}
		server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second}
		k.all.Go(func() {
			if err := server.Serve(tls.NewListener(listener, config)); !errors.Is(err, http.ErrServerClosed) {
				k.Log.Error("the API server is not answered any more", "node", n.Name, "err", err)
			}
		})
		context.AfterFunc(ctx, func() { _ = server.Close() }) // its answers are no longer needed
	}
	return nil
}

func (k *kubelet) wgetrc() string { return filepath.Join(k.Table.Folder, "wgetrc") }

// find returns a Pod of this kubelet; nil: there is none of that name.
func (k *kubelet) find(r *http.Request) *pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.pods {
		if p.namespace == r.PathValue("namespace") && p.name == r.PathValue("pod") {
			return p
		}
	}
	return nil
}

func (k *kubelet) logs(w http.ResponseWriter, r *http.Request) {
	p := k.find(r)
	if p == nil {
		http.NotFound(w, r)
		return
	}
	file, err := os.Open(p.Table.Log("pods", p.logName()))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer file.Close()
	_, _ = io.Copy(w, file) // the client may have gone
}

// How long a stream may be idle, and its creation may take: as a real kubelet has them.
const idleTime, creationTime = 4 * time.Hour, 30 * time.Second

func (k *kubelet) exec(w http.ResponseWriter, r *http.Request) {
	p := k.find(r)
	if p == nil {
		http.NotFound(w, r)
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, p, p.name, "", r.PathValue("container"), r.URL.Query()["command"], options, idleTime, creationTime, remotecommand.SupportedStreamingProtocols)
}

// ExecInContainer runs a command where the Pod's process runs. There is no
// terminal: with one asked for, standard error goes where the output goes.
func (p *pod) ExecInContainer(ctx context.Context, _, _, _ string, argv []string, stdin io.Reader, stdout, stderr io.WriteCloser, tty bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	pid := p.pid.Load()
	if pid == 0 {
		return errors.New("no process runs in this Pod")
	}
	names, err := p.serviceNames(ctx)
	if err != nil {
		return err
	}
	defer os.Remove(names)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.FormatInt(pid, 10), "--net", "--mount", "--uts", "--",
		"unshare", "--mount", "sh", "-c", `mount -n --bind "$0" /etc/hosts && exec "$@"`, names}, argv...)...)
	cmd.Env = append(slices.Clone(p.Table.Env), "WGETRC="+p.wgetrc())
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if tty {
		cmd.Stderr = stdout
	}
	cmd.WaitDelay = time.Second // what it has left behind may hold its output
	if stdin != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(in, stdin) // until either end is closed
			_ = in.Close()
		}()
	}
	err = cmd.Run()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return utilexec.CodeExitError{Err: err, Code: failed.ExitCode()}
	}
	return err
}

// serviceNames writes a file of hosts with the Services of the Pod's namespace
// and the API server's: a rack has no DNS. It holds for one command.
func (p *pod) serviceNames(ctx context.Context) (file string, err error) {
	text := "127.0.0.1 localhost\n::1 localhost\n"
	for _, namespace := range []string{p.namespace, metav1.NamespaceDefault} {
		services, err := p.API.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", fmt.Errorf("list the Services of %s: %w", namespace, err)
		}
		for _, svc := range services.Items {
			name := svc.Name + "." + namespace
			names := []string{name, name + ".svc", name + ".svc.cluster.local"}
			if namespace == p.namespace {
				names = append(names, svc.Name)
			}
			for _, ip := range svc.Spec.ClusterIPs {
				if _, err := netip.ParseAddr(ip); err == nil { // else it has none
					text += ip + " " + strings.Join(names, " ") + "\n"
				}
			}
		}
	}
	out, err := os.CreateTemp(p.Table.Folder, "hosts-")
	if err != nil {
		return "", fmt.Errorf("write the names of Services: %w", err)
	}
	_, err = out.WriteString(text)
	if err = errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("write the names of Services: %w", err)
	}
	return filepath.Abs(out.Name())
}
