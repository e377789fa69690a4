package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netns"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// lone is one address that needs no Pod to be answered for.
const lone = `
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: lan}
spec: {addresses: [192.0.2.100]}
---
apiVersion: steelyard.dev/v1beta1
kind: L2Advertisement
metadata: {name: lan}
---
apiVersion: v1
kind: Service
metadata: {name: lone}
spec: {type: LoadBalancer, selector: {app: none}, ports: [{port: 80}]}
`

// questions is how many are asked of either; the pause between them keeps one
// station below what it may ask in a second.
const (
	questions     = 1000
	questionPause = 12 * time.Millisecond
)

// foreign is how many frames about nobody are sent, and how many at once.
const (
	foreign      = 60_000
	foreignBatch = 200
	foreignPause = 10 * time.Millisecond
)

// neighbours measures how fast ARP is answered, against the kernel for an
// address of its own, and what frames for others cost the speaker.
func neighbours(ctx context.Context, r *lab.Rack, o options) error {
	if err := kubectl(ctx, r, lone, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, what := range []string{"create", "condition=Announced"} {
		if err := kubectl(ctx, r, "", "wait", "l2claim/"+address, "--for", what, "--timeout", "60s"); err != nil {
			return err
		}
	}
	c, err := dial(r)
	if err != nil {
		return err
	}
	defer c.Close()
	rows := [][]string{{"ARP answers", "p50 kernel", "p50", "ratio", "p99 kernel", "p99", "ratio"}}
	for range o.rounds {
		kernel, ours, err := c.race(ctx)
		if err != nil {
			return err
		}
		row := []string{strconv.Itoa(questions)}
		for _, share := range []float64{0.5, 0.99} {
			k, o := at(kernel, share), at(ours, share)
			row = append(row, us(k), us(o), times([]float64{ratio(o, k)}))
		}
		rows = append(rows, row)
	}
	if err := table(rows); err != nil {
		return err
	}
	rows = [][]string{{"processor time of the speaker", "at rest", "with " + strconv.Itoa(foreign) + " foreign ARP frames"}}
	for range o.rounds {
		rest, err := c.cost(ctx, r, false)
		if err != nil {
			return err
		}
		flood, err := c.cost(ctx, r, true)
		if err != nil {
			return err
		}
		rows = append(rows, []string{"", us(rest), us(flood)})
	}
	return table(rows)
}

func us(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

// asker sends ARP requests from the rack's client.
type asker struct {
	*packet.Conn
	mac net.HardwareAddr
}

func dial(r *lab.Rack) (*asker, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("find the own network namespace: %w", err)
	}
	defer here.Close()
	there, err := netns.GetFromName(r.Name + "-client")
	if err != nil {
		return nil, fmt.Errorf("find the client: %w", err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return nil, fmt.Errorf("go to the client: %w", err)
	}
	ifi, errIfi := net.InterfaceByName("eth0")
	var conn *packet.Conn
	var errConn error
	if errIfi == nil {
		conn, errConn = packet.Listen(ifi, packet.Raw, int(ethernet.EtherTypeARP), nil)
	}
	if err := errors.Join(errIfi, errConn, netns.Set(here)); err != nil {
		return nil, fmt.Errorf("listen on the client: %w", err)
	}
	return &asker{conn, ifi.HardwareAddr}, nil
}

// request returns an ARP request in a frame.
func (c *asker) request(target netip.Addr) ([]byte, error) {
	p, err := arp.NewPacket(arp.OperationRequest, c.mac, netip.MustParseAddr("192.0.2.2"), make(net.HardwareAddr, 6), target)
	if err != nil {
		return nil, fmt.Errorf("make an ARP request: %w", err)
	}
	b, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("make an ARP request: %w", err)
	}
	f := ethernet.Frame{Destination: ethernet.Broadcast, Source: c.mac, EtherType: ethernet.EtherTypeARP, Payload: b}
	return f.MarshalBinary()
}

// race asks for the address and for one of the node's own by turns.
func (c *asker) race(ctx context.Context) (kernel, ours []time.Duration, err error) {
	for range questions {
		for target, to := range map[string]*[]time.Duration{"192.0.2.11": &kernel, address: &ours} {
			d, err := c.ask(netip.MustParseAddr(target))
			if err != nil {
				return nil, nil, err
			}
			*to = append(*to, d)
			if err := pause(ctx, questionPause/2); err != nil {
				return nil, nil, err
			}
		}
	}
	return kernel, ours, nil
}

// ask returns how long an answer took.
func (c *asker) ask(target netip.Addr) (time.Duration, error) {
	f, err := c.request(target)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 1514)
	start := time.Now()
	if err := c.SetReadDeadline(start.Add(2 * time.Second)); err != nil {
		return 0, fmt.Errorf("set a deadline: %w", err)
	}
	if _, err := c.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
		return 0, fmt.Errorf("ask for %s: %w", target, err)
	}
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return 0, fmt.Errorf("wait for the answer of %s: %w", target, err)
		}
		const offOperation, offSender = 20, 28
		if n >= 42 && buf[offOperation+1] == byte(arp.OperationReply) && netip.AddrFrom4([4]byte(buf[offSender:])) == target {
			return time.Since(start), nil
		}
	}
}

// cost returns the speaker's processor time while foreign frames come, or
// while as much time passes without.
func (c *asker) cost(ctx context.Context, r *lab.Rack, flood bool) (time.Duration, error) {
	f, err := c.request(netip.MustParseAddr("192.0.2.250"))
	if err != nil {
		return 0, err
	}
	before, err := speakerTime(r)
	if err != nil {
		return 0, err
	}
	for range foreign / foreignBatch {
		for range foreignBatch {
			if !flood {
				break
			}
			if _, err := c.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
				return 0, fmt.Errorf("send a foreign frame: %w", err)
			}
		}
		if err := pause(ctx, foreignPause); err != nil {
			return 0, err
		}
	}
	after, err := speakerTime(r)
	return after - before, err
}

// speakerTime returns the processor time that all threads of the speaker have
// used, which the kernel tells in nanoseconds.
func speakerTime(r *lab.Rack) (time.Duration, error) {
	all, err := r.Processes()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if p.Host != "node1" || p.Name != "speaker" {
			continue
		}
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.PID))
		if err != nil {
			return 0, fmt.Errorf("list the threads of the speaker: %w", err)
		}
		var sum time.Duration
		for _, file := range threads {
			b, err := os.ReadFile(file)
			if err != nil {
				return 0, fmt.Errorf("read the processor time of the speaker: %w", err)
			}
			first, _, _ := strings.Cut(string(b), " ")
			ns, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read the processor time of the speaker: %w", err)
			}
			sum += time.Duration(ns)
		}
		return sum, nil
	}
	return 0, errors.New("node1 has no speaker")
}
