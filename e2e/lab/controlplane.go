package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
	"github.com/steelyard-lb/steelyard/e2e/lab/kubelet"
	"github.com/steelyard-lb/steelyard/e2e/lab/programs"
)

func (r *Rack) kube(program string) string { return filepath.Join(r.Kube, program) }

// apiProcesses are etcd and the API server. No limit on requests of its own
// making stands between a test and what it measures.
func (r *Rack) apiProcesses() []hosts.Process {
	etcd := []string{
		r.kube("etcd"), "--data-dir", r.path("etcd"), "--log-level", "warn",
		"--unsafe-no-fsync", "--quota-backend-bytes", "4294967296",
		"--listen-client-urls", "http://" + r.etcdListens() + ":2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
		"--initial-cluster", "default=http://127.0.0.1:2380",
	}
	return []hosts.Process{{Host: "control", Name: "etcd", Argv: etcd}, r.apiServer("control", "192.0.2.3", "127.0.0.1")}
}

// apiServer is an API server on a host with that address, over the etcd at another.
func (r *Rack) apiServer(host, address, etcd string) hosts.Process {
	return hosts.Process{Host: host, Name: "kube-apiserver", Argv: []string{
		r.kube("kube-apiserver"), "--etcd-servers", "http://" + etcd + ":2379",
		"--advertise-address", address, "--secure-port", "6443",
		"--tls-cert-file", r.path("server.crt"), "--tls-private-key-file", r.path("server.key"),
		"--client-ca-file", r.path("ca.crt"), "--token-auth-file", r.path("tokens.csv"), "--authorization-mode", "RBAC",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", r.path("serviceaccounts.key"), "--service-account-signing-key-file", r.path("serviceaccounts.key"),
		"--kubelet-client-certificate", r.path("server.crt"), "--kubelet-client-key", r.path("server.key"),
		"--kubelet-preferred-address-types", "InternalIP",
		"--service-cluster-ip-range", servicesV4 + "," + servicesV6,
		"--service-node-port-range", r.NodePorts,
		"--allow-privileged", "--profiling=false", "--enable-priority-and-fairness=false",
		"--max-requests-inflight", "0", "--max-mutating-requests-inflight", "0",
		// Its taint on a new Node would wait for the node lifecycle controller, which a rack does not run.
		"--disable-admission-plugins", "TaintNodesByCondition",
	}}
}

// clusterProcesses are the programs that need the API server. They are started
// when it answers: on a busy machine it may need longer than some of them wait.
func (r *Rack) clusterProcesses() []hosts.Process {
	fast := []string{"--kube-api-qps", "500", "--kube-api-burst", "500"}
	serving := []string{"--leader-elect=false", "--tls-cert-file", r.path("server.crt"), "--tls-private-key-file", r.path("server.key")}
	manager := append([]string{
		r.kube("kube-controller-manager"), "--kubeconfig", r.path("kube-controller-manager.kubeconfig"),
		// A Node that is cut off stays Ready, as it does for 40 s in life: what
		// reacts to a failure on a rack is what the test is about.
		"--controllers", "*,-nodelifecycle", "--root-ca-file", r.path("ca.crt"),
		"--concurrent-endpoint-syncs", "20", "--concurrent-service-endpoint-syncs", "20",
		"--concurrent-deployment-syncs", "20", "--concurrent-replicaset-syncs", "20",
	}, append(fast, serving...)...)
	scheduler := append([]string{
		r.kube("kube-scheduler"), "--kubeconfig", r.path("kube-scheduler.kubeconfig"),
		"--authentication-skip-lookup",
	}, append(fast, serving...)...)
	pods := []string{filepath.Join(r.Bin, "rack"), "kubelet", "--name", r.Name}
	all := []hosts.Process{
		{Host: "control", Name: "kube-controller-manager", Argv: manager},
		{Host: "control", Name: "kube-scheduler", Argv: scheduler},
		{Host: "control", Name: "kubelet", Argv: pods, MakesHosts: true},
	}
	if r.Relay {
		all = append(all, r.relayProcess())
	}
	for _, n := range r.nodes() {
		proxy := append([]string{
			r.kube("kube-proxy"), "--kubeconfig", r.path("kube-proxy.kubeconfig"),
			"--hostname-override", n.Name, "--proxy-mode", r.proxyMode(), "--cluster-cidr", podsV4 + "," + podsV6,
			// These sysctls are the machine's, not the node's: leave them alone.
			"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0",
		}, fast...)
		if r.Proxy == "other" {
			proxy = append(proxy, "--healthz-bind-address", r.proxyHealth(), "--metrics-bind-address", "127.0.0.1:20245")
		}
		all = append(all, hosts.Process{Host: n.Name, Name: "kube-proxy", Argv: proxy})
	}
	return all
}

// proxyMode is kube-proxy's mode.
func (o Options) proxyMode() string {
	if o.Proxy == "other" {
		return "nftables"
	}
	return o.Proxy
}

// proxyHealth is where kube-proxy says on its node whether it is well.
func (o Options) proxyHealth() string {
	if o.Proxy == "other" {
		return "127.0.0.1:20244" // kube-router's
	}
	return "127.0.0.1:10256"
}

// kubeletNodes are the nodes as the kubelet wants them.
func (o Options) kubeletNodes() []kubelet.Node {
	var nodes []kubelet.Node
	for _, h := range o.nodes() {
		n := kubelet.Node{Name: h.Name, V4: h.V4.Addr(), V6: h.V6.Addr()}
		n.PodsV4, n.PodsV6 = h.pods()
		nodes = append(nodes, n)
	}
	return nodes
}

// RunKubelet serves the nodes of a rack until ctx ends. It is the process
// kubelet of host control; a test has no use for it.
func RunKubelet(ctx context.Context, name string, log *slog.Logger) error {
	r, err := Open(name)
	if err != nil {
		return err
	}
	api, err := r.client("kubelet")
	if err != nil {
		return err
	}
	images, err := programs.Paths(filepath.Join(r.Root, "e2e"), filepath.Dir(r.Kube))
	if err != nil {
		return err
	}
	for _, program := range []string{"controller", "speaker"} { // for what a chart or a manifest installs
		images["steelyard-"+program] = filepath.Join(r.Bin, program)
	}
	return kubelet.Run(ctx, kubelet.Config{
		API: api, Log: log, Table: r.table(), Nodes: r.kubeletNodes(), Agnhost: r.kube("agnhost"), Programs: images,
		Server: netip.AddrPortFrom(netip.MustParsePrefix(servicesV4).Addr().Next(), 443), CA: r.path("ca.crt"),
		Certificate: r.path("server.crt"), Key: r.path("server.key"),
	})
}

func (r *Rack) waitAPI(ctx context.Context, log func(string, ...any)) error {
	api, err := r.client("admin")
	if err != nil {
		return err
	}
	err = r.table().Until(ctx, "the API server", func(ctx context.Context) error {
		return api.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err == nil {
		log("the API server answers")
	}
	return err
}

// waitCluster returns when Pods can be made and Services reached.
func (r *Rack) waitCluster(ctx context.Context, log func(string, ...any)) error {
	api, err := r.client("admin")
	if err != nil {
		return err
	}
	err = r.table().Until(ctx, "the nodes", func(ctx context.Context) error {
		nodes, err := api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil && len(nodes.Items) < r.Nodes {
			err = fmt.Errorf("%d of %d", len(nodes.Items), r.Nodes)
		}
		return err
	})
	if err != nil {
		return err
	}
	// Without it no Pod can be made; and it shows that controllers run.
	err = r.table().Until(ctx, "the default ServiceAccount", func(ctx context.Context) error {
		_, err := api.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return err
	}
	err = r.table().Until(ctx, "the scheduler", func(ctx context.Context) error {
		return get(ctx, r.ns("control"), "https://127.0.0.1:10259/healthz")
	})
	if err != nil {
		return err
	}
	log("nodes, controllers and the scheduler are ready")
	for _, n := range r.nodes() {
		err = r.table().Until(ctx, "kube-proxy on "+n.Name, func(ctx context.Context) error {
			return get(ctx, r.ns(n.Name), "http://"+r.proxyHealth()+"/healthz")
		})
		if err != nil {
			return err
		}
	}
	log("kube-proxy (%s) is ready on each node", r.Proxy)
	return nil
}

// client speaks to the API server as one of the identities, from any namespace.
func (r *Rack) client(id string) (*kubernetes.Clientset, error) {
	config, err := r.config(id)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// Config returns how to speak to the API server as the administrator, from any
// namespace and without a limit of requests.
func (r *Rack) Config() (*rest.Config, error) { return r.config("admin") }

func (r *Rack) config(id string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", r.path(id+".kubeconfig"))
	if err != nil {
		return nil, fmt.Errorf("load the kubeconfig of %s: %w", id, err)
	}
	config.QPS = -1
	config.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return hosts.Dial(ctx, r.ns("control"), network, addr)
	}
	return config, nil
}

// get asks for a page of a host and wants status 200. It does not check the
// certificate: the page only tells that a process of ours is well.
func get(ctx context.Context, ns, url string) error {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return hosts.Dial(ctx, ns, network, addr)
		},
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}
