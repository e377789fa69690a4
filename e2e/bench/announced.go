package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// byLayer2 has one of three nodes announce all: what an address costs its owner
// and what it costs the others are seen apart.
const byLayer2 = `
apiVersion: steelyard.dev/v1beta1
kind: L2Advertisement
metadata: {name: everywhere}
spec: {nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node1}}]}
`

// byBGP has all nodes announce all to the rack's router, from a range that it accepts, and
// that is no other pool's here.
const byBGP = `
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: wide-v4}
spec: {addresses: [172.21.0.0/16], autoAssign: false}
---
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: main}
spec: {addresses: [10.99.0.0/16], graceTime: 0s}
---
apiVersion: steelyard.dev/v1beta1
kind: BGPAdvertisement
metadata: {name: everywhere}
---
apiVersion: steelyard.dev/v1beta1
kind: BGPPeer
metadata: {name: router}
spec: {myASN: 64512, peerASN: 64601, peerAddress: 192.0.2.1, connectTime: 1s}
`

// arrivals is a rack of three nodes whose new addresses are announced.
type arrivals struct {
	*bench
	nodes []string
	heard *record // of the client's tcpdump, or of the router's kernel
	rest  counted // what the programs use while nothing happens for atRest
}

// atRest is for how long the programs are watched at rest.
const atRest = 10 * time.Second

// announcedBursts measures bursts of new Services whose addresses are announced,
// against the bare client's, whose addresses are not: what announcing costs those
// who create, those who wait, the API server and each speaker.
func announcedBursts(ctx context.Context, r *lab.Rack, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := newBench(ctx, r, o)
	if err != nil {
		return err
	}
	a := &arrivals{bench: b}
	manifest, how, stop := byLayer2, "layer 2", func() {}
	if r.Router == "none" {
		a.heard, stop, err = announcements(ctx, r)
	} else {
		manifest, how = byBGP, "BGP"
		a.heard, err = forwardingTable(ctx, r)
	}
	if err != nil {
		return err
	}
	defer stop()
	for i := range r.Nodes {
		a.nodes = append(a.nodes, fmt.Sprintf("node%d", i+1))
		// It is as busy with the floor's Services, and takes the machine from those that are measured.
		if err := r.Kill(a.nodes[i], "kube-proxy", syscall.SIGKILL); err != nil {
			return err
		}
	}
	if err := kubectl(ctx, r, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := a.settle(ctx); err != nil {
		return err
	}
	start, err := a.counts(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, atRest); err != nil {
		return err
	}
	end, err := a.counts(ctx)
	if err != nil {
		return err
	}
	a.rest = end.since(start, counted{})
	for _, size := range []struct{ n, rounds int }{{500, o.rounds}, {2_000, o.rounds}, {full, 1}} {
		if err := a.sized(ctx, how, b.scaled(size.n), size.rounds); err != nil {
			return err
		}
	}
	return nil
}

// sized measures the floor and Steelyard by turns.
func (a *arrivals) sized(ctx context.Context, how string, n, rounds int) error {
	rows := [][]string{{fmt.Sprintf("burst of %d, announced by %s", n, how), "created/s", "address p50", "p99", "announced p50", "p99", "node1's CPU", "node2's", "node3's", "controller's", "this program's", "memory", "writes an address"}}
	var created, p50, p99 []float64
	like := map[string]string{"layer 2": likeLayer2Class, "BGP": likeBGPClass}[how]
	for round := range rounds {
		fmt.Printf("  burst of %d, round %d of %d\n", n, round+1, rounds)
		var floor, writes, our arrival
		err := a.besideFloor(ctx, func(ctx context.Context) (err error) {
			if floor, err = a.arrive(ctx, n, spec{class: floorClass}); err != nil {
				return err
			}
			writes, err = a.arrive(ctx, n, spec{class: like})
			return err
		})
		if err != nil {
			return err
		}
		if our, err = a.arrive(ctx, n, spec{}); err != nil {
			return err
		}
		rows = append(rows, floor.row("bare client"), writes.row("as many writes"), our.row("Steelyard"))
		created = append(created, ratio(floor.creating, our.creating))
		p50 = append(p50, ratio(at(our.waits, 0.5), at(floor.waits, 0.5)))
		p99 = append(p99, ratio(at(our.waits, 0.99), at(floor.waits, 0.99)))
	}
	return table(append(rows, []string{"ratio, median", times(created), times(p50), times(p99)}))
}

// arrival is one measurement.
type arrival struct {
	burst
	creating time.Duration   // from the first creation to the last answer
	heard    []time.Duration // from each creation to the first announcement
	cpu      []time.Duration // of each node's speaker, without what it uses at rest
	own      time.Duration   // of this program, which creates, and is the bare client
	memory   string          // of the first node's speaker, and of the controller, with all addresses there
	writes   map[string]int  // by resource, without the creations
}

// row writes a measurement; processor time is per address.
func (m arrival) row(who string) []string {
	n := len(m.waits)
	row := []string{who, fmt.Sprintf("%.0f", float64(n)/m.creating.Seconds()), ms(at(m.waits, 0.5)), ms(at(m.waits, 0.99))}
	if len(m.heard) == 0 {
		row = append(row, "-", "-")
	} else {
		row = append(row, ms(at(m.heard, 0.5)), ms(at(m.heard, 0.99)))
	}
	for _, used := range append(m.cpu, m.used, m.own) {
		row = append(row, fmt.Sprintf("%.2f ms", used.Seconds()*1000/float64(n)))
	}
	var writes []string
	for resource, count := range m.writes {
		writes = append(writes, fmt.Sprintf("%s %.2f", resource, float64(count)/float64(n)))
	}
	slices.Sort(writes)
	return append(row, m.memory, strings.Join(writes, ", "))
}

// arrive measures n new Services in a cluster that is idle, and removes them.
func (a *arrivals) arrive(ctx context.Context, n int, w spec) (m arrival, err error) {
	if err := a.settle(ctx); err != nil {
		return m, err
	}
	a.heard.forget()
	before, err := a.counts(ctx)
	if err != nil {
		return m, err
	}
	profiled := a.profiling(ctx, w)
	b, of, err := a.burst(ctx, n, w)
	if err != nil {
		return m, err
	}
	m.burst, m.creating = b, of.creating
	if w.class == "" {
		if m.heard, err = a.announcedAt(ctx, of); err != nil {
			return m, err
		}
	}
	if err := errors.Join(profiled(), a.settle(ctx)); err != nil {
		return m, err
	}
	after, err := a.counts(ctx)
	if err != nil {
		return m, err
	}
	if m.memory, err = a.memory(); err != nil {
		return m, err
	}
	took := after.since(before, a.rest)
	m.cpu, m.used, m.own, m.writes = took.speakers, took.controller, took.own, map[string]int{}
	for resource, count := range took.writes {
		if count*100 > n {
			m.writes[resource] = count
		}
	}
	return m, a.remove(ctx, of.entries)
}

// Where the programs serve their profiles, if they are asked for.
const (
	controllerPprof = "127.0.0.1:7478"
	speakerPprof    = "127.0.0.1:7479"
)

// profiling has the programs take profiles of their processor time, from now on, if it is
// Steelyard's turn and they are wanted. It returns what waits for these.
func (a *arrivals) profiling(ctx context.Context, w spec) (wait func() error) {
	if a.profile == "" || w.class != "" {
		return func() error { return nil }
	}
	var all errgroup.Group
	for _, host := range append([]string{"control"}, a.nodes...) {
		at, file := speakerPprof, filepath.Join(a.profile, fmt.Sprintf("%s-%d.pprof", host, a.made))
		if host == "control" {
			at = controllerPprof
		}
		all.Go(func() error {
			url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", at, a.seconds.Seconds())
			if out, err := a.rack.Command(ctx, host, "curl", "-sSf", "-o", file, url).CombinedOutput(); err != nil {
				return fmt.Errorf("take the profile of %s: %w: %s", host, err, out)
			}
			return nil
		})
	}
	return all.Wait
}

// announcedAt returns how long after its creation each Service's address was heard of.
func (a *arrivals) announcedAt(ctx context.Context, of *batch) (heard []time.Duration, err error) {
	for _, e := range of.entries {
		addr := netip.MustParseAddr(e.addrs[0])
		took, err := a.heard.await(ctx, netip.PrefixFrom(addr, addr.BitLen()), true, e.created)
		if err != nil {
			return nil, err
		}
		heard = append(heard, took)
	}
	return heard, nil
}

// memory returns what the first node's speaker and the controller have.
func (a *arrivals) memory() (string, error) {
	all, err := a.rack.Processes()
	if err != nil {
		return "", err
	}
	var out []string
	for _, p := range all {
		if p.State() == "dead" || p.Host != a.nodes[0] && p.Host != "control" || p.Name != "speaker" && !slices.Contains(a.rack.Controllers(), p.Name) {
			continue
		}
		now, peak, err := resident(p.PID)
		if err != nil {
			return "", err
		}
		out = append(out, fmt.Sprintf("%s %s, at most %s", p.Name, now, peak))
	}
	slices.Sort(out)
	return strings.Join(out, "; "), nil
}

// counted is what the programs have used and written so far.
type counted struct {
	at         time.Time
	speakers   []time.Duration
	controller time.Duration
	own        time.Duration // of this program
	writes     map[string]int
}

// since returns what was used and written since before, without the processor time that
// the programs use at rest.
func (c counted) since(before, rest counted) counted {
	share := float64(c.at.Sub(before.at)) / float64(atRest)
	used := func(now, before, rest time.Duration) time.Duration {
		return max(0, now-before-time.Duration(share*float64(rest)))
	}
	out := counted{controller: used(c.controller, before.controller, rest.controller), own: used(c.own, before.own, rest.own), writes: map[string]int{}}
	for i := range c.speakers {
		var idle time.Duration
		if rest.speakers != nil {
			idle = rest.speakers[i]
		}
		out.speakers = append(out.speakers, used(c.speakers[i], before.speakers[i], idle))
	}
	for resource, count := range c.writes {
		out.writes[resource] = count - before.writes[resource]
	}
	return out
}

func (a *arrivals) counts(ctx context.Context) (c counted, err error) {
	c.at = time.Now()
	all, err := a.rack.Processes()
	if err != nil {
		return c, err
	}
	c.speakers = make([]time.Duration, len(a.nodes))
	for _, p := range all {
		if i := slices.Index(a.nodes, p.Host); p.Name == "speaker" && i >= 0 {
			if c.speakers[i], err = used(p.PID); err != nil {
				return c, err
			}
		}
	}
	if c.controller, err = a.controllerUsed(); err != nil {
		return c, err
	}
	if c.own, err = used(os.Getpid()); err != nil {
		return c, err
	}
	c.writes, err = a.writes(ctx)
	return c, err
}

var request = regexp.MustCompile(`(?m)^apiserver_request_total\{(.*)\} (\S+)$`)
var label = regexp.MustCompile(`(\w+)="([^"]*)"`)

// writes returns how many writes the API server has answered, by resource. It counts
// neither creations of Services, nor Leases, nor what kube-proxy and the controllers
// of Kubernetes write for either's Services alike.
func (a *arrivals) writes(ctx context.Context) (map[string]int, error) {
	text, err := a.client.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the API server's metrics: %w", err)
	}
	out := map[string]int{}
	for _, line := range request.FindAllStringSubmatch(string(text), -1) {
		l := map[string]string{}
		for _, pair := range label.FindAllStringSubmatch(line[1], -1) {
			l[pair[1]] = pair[2]
		}
		n, err := strconv.ParseFloat(line[2], 64)
		if err != nil {
			return nil, fmt.Errorf("read the API server's metrics: %w", err)
		}
		what := strings.TrimSuffix(l["resource"]+"/"+l["subresource"], "/")
		switch l["verb"] {
		case "POST", "PUT", "PATCH", "APPLY":
			if what == "services" && l["verb"] == "POST" || slices.Contains([]string{"leases", "endpoints", "endpointslices", "subjectaccessreviews"}, l["resource"]) {
				continue
			}
			out[what] += int(n)
		}
	}
	return out, nil
}

// forget drops what was heard so far.
func (r *record) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.update = nil
	clear(r.routes)
}

// announcements records the announcements by ARP that the rack's client hears, until
// stop is called. Of each address only the first is kept.
func announcements(ctx context.Context, r *lab.Rack) (heard *record, stop func(), err error) {
	heard = &record{routes: map[netip.Prefix]bool{}}
	stop, err = listen(ctx, r, func(c claim) {
		heard.mu.Lock()
		defer heard.mu.Unlock()
		if p := netip.PrefixFrom(c.addr, 32); !heard.routes[p] {
			heard.hear(update{c.at, p, true})
		}
	})
	return heard, stop, err
}
