// Package lab builds and runs a rack: a whole cluster on one Linux machine
// without a container engine. Each host is a network namespace; on them run a
// real Kubernetes control plane, one real kube-proxy per node, a BGP router and,
// unless the options exclude it, Steelyard itself.
//
// It decides names, addresses, cables, and which process runs where with which
// arguments. It does not decide what a test does with them: a rack stays up
// until Down, nothing restarts a process that was killed, and a cut cable stays
// cut until it is joined.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
	"github.com/steelyard-lb/steelyard/e2e/lab/programs"
)

// stateRoot holds one folder for each rack of this machine.
const stateRoot = "/run/steelyard-rack"

// Options say what to build. The zero value is a rack named "rack" with three
// nodes, BIRD, kube-proxy in nftables mode, and Steelyard with one controller.
type Options struct {
	// Name matches [a-z][a-z0-9]{0,7}; empty means "rack". Racks of different
	// names run side by side.
	Name string `json:"name"`
	// Nodes is how many nodes to make, 1 to 89; 0 means 3.
	Nodes int `json:"nodes"`
	// Router is what speaks BGP on host router: bird, frr or none; empty
	// means bird. With none the host still forwards.
	Router string `json:"router"`
	// Proxy is the mode of kube-proxy: nftables or iptables; empty means
	// nftables. Other is nftables as well, but what forwards answers only where kube-router
	// does: it looks like a cluster without kube-proxy.
	Proxy string `json:"proxy"`
	// Kubernetes is the version of the Kubernetes programs, major and minor: one of programs.Versions; empty
	// means that of e2e/kube.
	Kubernetes string `json:"kubernetes,omitempty"`
	// NoSteelyard leaves the cluster without CRDs, controller and speakers.
	NoSteelyard bool `json:"noSteelyard"`
	// Controllers is how many replicas of the controller run, 1 to 9; 0 means 1.
	Controllers int `json:"controllers"`
	// ControlPlanes is how many of the nodes, from node1 on, have an API server too, over the one etcd, and a
	// speaker that announces 192.0.2.10 for them (--static-claims); 0: none.
	ControlPlanes int `json:"controlPlanes,omitempty"`
	// Relay puts a process between the controllers and the API server that can
	// slow down what passes between them: see Delay.
	Relay bool `json:"relay"`
	// NodePorts is the range of the API server's NodePorts; empty means
	// 20000-32767: room for 12,000, all below the ephemeral ports.
	NodePorts string `json:"nodePorts,omitempty"`
	// ControllerFlags are added to each replica's command line.
	ControllerFlags []string `json:"controllerFlags,omitempty"`
	// SpeakerFlags are added to each speaker's.
	SpeakerFlags []string `json:"speakerFlags,omitempty"`
}

// Rack is a rack that is up, or was left half up. Get one from Up or Open.
type Rack struct {
	Options
	// Root is the folder of this Go module.
	Root string `json:"root"`
	// Bin holds rack, controller and speaker.
	Bin string `json:"bin"`
	// Kube holds the Kubernetes programs.
	Kube string `json:"kube"`
	// Ready is true once everything has come up.
	Ready bool `json:"ready"`
}

// rackName has no dash, so that "<name>-" is no other rack's prefix.
var rackName = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = "rack"
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Router == "" {
		o.Router = "bird"
	}
	if o.Proxy == "" {
		o.Proxy = "nftables"
	}
	if o.Controllers == 0 {
		o.Controllers = 1
	}
	if o.NodePorts == "" {
		o.NodePorts = "20000-32767"
	}
	switch {
	case !rackName.MatchString(o.Name):
		return o, fmt.Errorf("rack name %q: want one small letter, then up to 7 small letters or digits", o.Name)
	case o.Nodes < 1 || o.Nodes > maxNodes:
		return o, fmt.Errorf("%d nodes: want 1 to %d", o.Nodes, maxNodes)
	case !slices.Contains([]string{"bird", "frr", "none"}, o.Router):
		return o, fmt.Errorf("router %q: want bird, frr or none", o.Router)
	case !slices.Contains([]string{"nftables", "iptables", "other"}, o.Proxy):
		return o, fmt.Errorf("proxy %q: want nftables, iptables or other", o.Proxy)
	case o.Controllers < 1 || o.Controllers > maxControllers:
		return o, fmt.Errorf("%d controllers: want 1 to %d", o.Controllers, maxControllers)
	}
	return o, o.checkControlPlanes()
}

// Up builds a rack and returns when it is ready for use. Lines about each step
// go to progress. When it fails, what was built stays for a look (rack logs)
// until Down.
func Up(ctx context.Context, o Options, progress io.Writer) (*Rack, error) {
	start := time.Now()
	log := func(format string, args ...any) {
		fmt.Fprintf(progress, "%6.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	r := &Rack{Options: o}
	if err := r.checkMachine(); err != nil {
		return nil, err
	}
	if r.Root, err = moduleRoot(); err != nil {
		return nil, err
	}
	if r.Bin, err = r.binFolder(); err != nil {
		return nil, err
	}
	kubernetes, err := programs.Kubernetes(r.Kubernetes)
	if err != nil {
		return nil, err
	}
	if r.Kube, err = kubernetes.Build(ctx, filepath.Join(r.Root, "e2e"), log); err != nil {
		return nil, err
	}
	if err := r.claim(); err != nil {
		return nil, err
	}
	if err := r.build(ctx, log); err != nil {
		return nil, fmt.Errorf("%w\nWhat was built is still there: \"rack logs --name %s\" shows more, \"rack down --name %[2]s\" removes it", err, r.Name)
	}
	r.Ready = true
	if err := r.save(); err != nil {
		return nil, err
	}
	log("rack %s is ready", r.Name)
	return r, nil
}

// BuildImage builds the program that Pods of an image run, where an image has one,
// and returns its path. Lines about it go to progress.
func BuildImage(ctx context.Context, image string, progress io.Writer) (string, error) {
	set, ok := programs.Image(image)
	if !ok {
		return "", fmt.Errorf("no program is known for the image %q; its Pods run agnhost", image)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	log := func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	dir, err := set.Build(ctx, filepath.Join(root, "e2e"), log)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, programs.ImageName(image)), nil
}

// BuildTests builds Kubernetes' own tests, and returns the folder of e2e.test and
// kubectl. Lines about it go to progress.
func BuildTests(ctx context.Context, progress io.Writer) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	log := func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	if _, err := programs.Newest().Build(ctx, filepath.Join(root, "e2e"), log); err != nil {
		return "", err
	}
	return programs.Tests().Build(ctx, filepath.Join(root, "e2e"), log)
}

// build brings up everything on a claimed name.
func (r *Rack) build(ctx context.Context, log func(string, ...any)) error {
	if err := r.buildNetwork(ctx); err != nil {
		return err
	}
	log("network: %d hosts", len(r.Hosts()))
	if err := r.writeIdentities(); err != nil {
		return err
	}
	if err := r.table().SpawnAll(r.apiProcesses()); err != nil {
		return err
	}
	if err := r.startRouter(ctx); err != nil {
		return err
	}
	log("started etcd, the API server and the router (%s)", r.Router)
	if err := r.waitAPI(ctx, log); err != nil {
		return err
	}
	if err := r.startControlPlanes(); err != nil {
		return err
	}
	if err := r.table().SpawnAll(r.clusterProcesses()); err != nil {
		return err
	}
	if err := r.waitCluster(ctx, log); err != nil {
		return err
	}
	if !r.NoSteelyard {
		if err := r.installSteelyard(ctx, log); err != nil {
			return err
		}
	}
	return r.table().CheckAlive()
}

// claim makes the state folder, whose creation is what reserves the name.
func (r *Rack) claim() error {
	old, err := Open(r.Name)
	var none *NotFoundError
	switch {
	case err == nil && old.Ready:
		return fmt.Errorf("a rack named %s is already up: use it, choose another --name, or run \"rack down --name %[1]s\"", r.Name)
	case !errors.As(err, &none):
		return halfDead(r.Name)
	}
	if err := os.MkdirAll(stateRoot, 0o755); err != nil {
		return fmt.Errorf("make the folder of all racks: %w", err)
	}
	if err := os.Mkdir(r.path(), 0o755); err != nil {
		return fmt.Errorf("reserve the name %s: %w", r.Name, err)
	}
	return r.save()
}

func halfDead(name string) error {
	return fmt.Errorf("there are remains of a rack named %s, half up or crashed: run \"rack down --name %[1]s\" first", name)
}

// NotFoundError tells that there is no rack of a name, nor remains of one.
type NotFoundError struct {
	Name  string
	There []string // the racks that there are
}

func (e *NotFoundError) Error() string {
	if len(e.There) == 0 {
		return fmt.Sprintf("no rack is named %s: there is none at all, \"rack up\" makes one", e.Name)
	}
	return fmt.Sprintf("no rack is named %s; there are %s", e.Name, strings.Join(e.There, ", "))
}

// Open finds a rack that is up, or half up after a failed Up. A name that does
// not exist gives a *NotFoundError.
func Open(name string) (*Rack, error) {
	if !rackName.MatchString(name) {
		return nil, fmt.Errorf("%q cannot be a rack's name", name)
	}
	r := &Rack{Options: Options{Name: name}}
	text, err := os.ReadFile(r.path("rack.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if slices.Contains(List(), name) {
			return nil, halfDead(name)
		}
		return nil, &NotFoundError{Name: name, There: List()}
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of rack %s: %w", name, err)
	}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, halfDead(name)
	}
	return r, nil
}

// List returns the names of all racks of this machine, dead ones included, sorted.
func List() []string {
	var names []string
	states, _ := os.ReadDir(stateRoot) // absent: no rack was ever made
	for _, s := range states {
		names = append(names, s.Name())
	}
	for _, ns := range hosts.List("") {
		if name, ok := strings.CutSuffix(ns, "-switch"); ok && rackName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Kubeconfig returns the path of the administrator's kubeconfig. Its server is
// reached from the rack's hosts only: see Command.
func (r *Rack) Kubeconfig() string { return r.path("admin.kubeconfig") }

func (r *Rack) path(parts ...string) string {
	return filepath.Join(append([]string{stateRoot, r.Name}, parts...)...)
}

// ns is the network namespace of a host.
func (r *Rack) ns(host string) string { return r.Name + "-" + host }

func (r *Rack) save() error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the state of rack %s: %w", r.Name, err)
	}
	return writeFile(r.path("rack.json"), text)
}

// writeFile replaces a file whole, readable by root only: some hold tokens.
func writeFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}
