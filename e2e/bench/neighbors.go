package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"

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

// foreign is how many frames about unused addresses are sent, and how many at once.
const (
	foreign      = 60_000
	foreignBatch = 200
	foreignPause = 10 * time.Millisecond
)

// neighbors measures how fast ARP is answered, against the kernel for an
// address of its own, and what frames for others cost the speaker.
func neighbors(ctx context.Context, r *lab.Rack, o options) error {
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
		kernel, ours, err := c.race(ctx, r)
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
	rows = [][]string{{"processor time of the speaker", "at rest", "with " + strconv.Itoa(foreign) + " foreign ARP frames", "of which woke it"}}
	for range o.rounds {
		rest, _, err := c.cost(ctx, r, false)
		if err != nil {
			return err
		}
		flood, woke, err := c.cost(ctx, r, true)
		if err != nil {
			return err
		}
		rows = append(rows, []string{"", us(rest), us(flood), strconv.Itoa(woke)})
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

// race asks for the address and for one of the node's own by turns. The times
// are the kernel's, of the frames: how fast this program wakes up has no part.
func (c *asker) race(ctx context.Context, r *lab.Rack) (kernel, ours []time.Duration, err error) {
	ctx, stop := context.WithTimeout(ctx, 2*questions*questionPause+time.Minute)
	defer stop()
	dump := r.Command(ctx, "client", "tcpdump", "-lnq", "-tt", "--nano", "-i", "eth0", "-c", strconv.Itoa(4*questions), "--",
		"arp and (arp[24:4] = 0xc0000264 or arp[14:4] = 0xc0000264 or arp[24:4] = 0xc000020b or arp[14:4] = 0xc000020b) and (ether src "+c.mac.String()+" or ether dst "+c.mac.String()+")")
	out, err := dump.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("listen on the client: %w", err)
	}
	if err := dump.Start(); err != nil {
		return nil, nil, fmt.Errorf("listen on the client: %w", err)
	}
	var asking errgroup.Group
	asking.Go(func() error { return c.askAll(ctx) })
	asked := map[string]time.Duration{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		m := exchanged.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		at, err := time.ParseDuration(m[1] + "s")
		if err != nil {
			return nil, nil, fmt.Errorf("read a time: %w", err)
		}
		switch start, open := asked[m[3]]; {
		case m[2] == "Request who-has":
			asked[m[3]] = at
		case open && m[3] == address:
			ours = append(ours, at-start)
		case open:
			kernel = append(kernel, at-start)
		}
	}
	return kernel, ours, errors.Join(asking.Wait(), dump.Wait())
}

// exchanged matches the time, the kind and the address of a frame.
var exchanged = regexp.MustCompile(`^(\S+) ARP, (Request who-has|Reply) ([0-9.]+)`)

// askAll sends all questions.
func (c *asker) askAll(ctx context.Context) error {
	if err := pause(ctx, time.Second); err != nil { // until the listener is ready
		return err
	}
	for range questions {
		for _, target := range []string{"192.0.2.11", address} {
			f, err := c.request(netip.MustParseAddr(target))
			if err != nil {
				return err
			}
			if _, err := c.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
				return fmt.Errorf("ask for %s: %w", target, err)
			}
			if err := pause(ctx, questionPause/2); err != nil {
				return err
			}
		}
	}
	return nil
}

// cost returns the speaker's processor time while foreign frames come, or while
// as much time passes without, and how many frames its filter passed. Work that
// the kernel does in interrupts is reckoned to whom it interrupts.
func (c *asker) cost(ctx context.Context, r *lab.Rack, flood bool) (used time.Duration, woke int, err error) {
	f, err := c.request(netip.MustParseAddr("192.0.2.250"))
	if err != nil {
		return 0, 0, err
	}
	before, err := speakerTime(r)
	if err != nil {
		return 0, 0, err
	}
	passed, err := passedFrames(ctx, r)
	if err != nil {
		return 0, 0, err
	}
	for range foreign / foreignBatch {
		for range foreignBatch {
			if !flood {
				break
			}
			if _, err := c.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
				return 0, 0, fmt.Errorf("send a foreign frame: %w", err)
			}
		}
		if err := pause(ctx, foreignPause); err != nil {
			return 0, 0, err
		}
	}
	after, err := speakerTime(r)
	if err != nil {
		return 0, 0, err
	}
	now, err := passedFrames(ctx, r)
	return after - before, now - passed, err
}

// passedFrames returns how many ARP frames the speaker's filter has passed.
func passedFrames(ctx context.Context, r *lab.Rack) (int, error) {
	out, err := r.Command(ctx, "node1", "curl", "-sS", "http://127.0.0.1:7474/metrics").Output()
	if err != nil {
		return 0, fmt.Errorf("read the speaker's metrics: %w", err)
	}
	found := regexp.MustCompile(`steelyard_layer2_frames_total\{family="IPv4",link="eth0"\} (\d+)`).FindSubmatch(out)
	if found == nil {
		return 0, errors.New("the speaker counts no frames")
	}
	return strconv.Atoi(string(found[1]))
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
