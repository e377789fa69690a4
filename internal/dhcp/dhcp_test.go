package dhcp_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/dhcp"
	"github.com/steelyard-lb/steelyard/internal/dhcp/fake"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/contract"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

const cluster = "c"

// link is a link with one State and servers, in virtual time.
type link struct {
	*testing.T
	now     time.Time
	random  *rand.Rand
	state   *dhcp.State
	servers []*fake.Server
	own     netip.Addr
	lose    func(dhcp.Message) bool // what the wire loses; nil: nothing
	sent    []dhcp.Message
	events  []string
	clients map[netip.Addr]string // who has leased an address last, as the program says
}

func newLink(t *testing.T) *link {
	l := &link{T: t, now: time.Unix(1_800_000_000, 0), random: rand.New(rand.NewPCG(1, 2)), clients: map[netip.Addr]string{}}
	l.serve("192.0.2.1")
	l.restart()
	return l
}

// serve adds a server with the ranges of the contract.
func (l *link) serve(id string) *fake.Server {
	s := &fake.Server{ID: netip.MustParseAddr(id), Ranges: map[string][]ipam.Range{}, Lease: time.Hour, Now: func() time.Time { return l.now }}
	for pool, ranges := range contract.Pools() {
		s.Ranges[dhcp.UserClass(pool)] = ranges
	}
	l.servers = append(l.servers, s)
	return s
}

// restart has the program begin again: it has no memory.
func (l *link) restart() {
	l.state = dhcp.New(dhcp.Config{Links: map[string]string{"lan": "eth0", "other": "eth0", "far": "eth1"}, Own: func(a netip.Addr) bool { return a == l.own }, Random: l.random.Uint32})
	l.state.Watch(cluster)
}

// settle sends what is due, and takes in the answers, until nothing is due.
func (l *link) settle() time.Duration {
	for {
		out, again := l.state.Pass(l.now)
		for _, m := range out {
			l.sent = append(l.sent, m)
			if l.lose != nil && l.lose(m) {
				continue
			}
			for _, s := range l.servers {
				for _, r := range s.Answer(m) {
					l.state.Receive(r, l.now)
				}
			}
		}
		for _, e := range l.state.Events() {
			l.clients[e.Addr] = string(e.Client)
			l.events = append(l.events, strings.TrimSpace(fmt.Sprint(e.Kind, " ", e.Addr, " ", e.Text)))
		}
		if len(out) == 0 {
			return again
		}
	}
}

// pass lets time pass.
func (l *link) pass(d time.Duration) {
	for end := l.now.Add(d); ; {
		again := l.settle()
		if left := end.Sub(l.now); again == 0 || again >= left {
			l.now = end
			l.settle()
			return
		}
		l.now = l.now.Add(again)
	}
}

// asks has a call wait as long as the controller does, and longer: 30 s.
func (l *link) asks(r ledger.Request) (ledger.Allocation, error) {
	for end := l.now.Add(30 * time.Second); ; {
		a, err := l.state.Allocate(r, l.now)
		var pending *dhcp.PendingError
		again := l.settle()
		if !errors.As(err, &pending) || l.now.After(end) {
			return a, err
		}
		if a, err = l.state.Allocate(r, l.now); !errors.As(err, &pending) {
			return a, err
		}
		l.now = l.now.Add(max(again, time.Millisecond))
	}
}

func request(uid, addr string) ledger.Request {
	r := ledger.Request{Cluster: cluster, Pool: "lan", Holder: ledger.Holder{UID: uid, Namespace: "n", Name: "of-" + uid}, Family: ipam.IPv4}
	if addr != "" {
		r.Addr = netip.MustParseAddr(addr)
		r.Family = ipam.FamilyOf(r.Addr)
	}
	return r
}

func (l *link) gives(r ledger.Request, want string) {
	l.Helper()
	if a, err := l.asks(r); err != nil || a.Addr.String() != want {
		l.Fatalf("it gets %s, %v; want %s", a.Addr, err, want)
	}
}

func (l *link) refuses(r ledger.Request, text string) {
	l.Helper()
	if a, err := l.asks(r); err == nil || err.Error() != text {
		l.Errorf("it gets %s, %v\nwant: %s", a.Addr, err, text)
	}
}

func (l *link) holds(want ...string) {
	l.Helper()
	have := []string{}
	for _, a := range l.state.List(cluster) {
		have = append(have, a.UID+" "+a.Addr.String())
	}
	if !slices.Equal(have, want) {
		l.Errorf("it holds %q, want %q", have, want)
	}
}

// asked checks what the first server was asked since the last time.
func (l *link) asked(want ...string) {
	l.Helper()
	if d := cmp.Diff(want, l.servers[0].Log); d != "" {
		l.Error(d)
	}
	l.servers[0].Log = nil
}

// said checks the events since the last time.
func (l *link) said(want ...string) {
	l.Helper()
	if d := cmp.Diff(want, l.events); d != "" {
		l.Error(d)
	}
	l.events = nil
}

// blind is a link as the contract wants it. DHCP can't tell why a server has no address for a client.
type blind struct{ *link }

type noAddress struct{ error }

func (noAddress) Is(as error) bool {
	return as == ledger.ErrTaken || as == ledger.ErrOutside || as == ledger.ErrExhausted
}

func (b blind) Allocate(r ledger.Request) (netip.Addr, error) {
	a, err := b.asks(r)
	var pending *dhcp.PendingError
	if errors.As(err, &pending) || errors.Is(err, ledger.ErrTaken) {
		err = noAddress{err}
	}
	return a.Addr, err
}

func (b blind) Release(cluster, uid string, a netip.Addr) error {
	b.state.Release(cluster, uid, a, b.now)
	b.settle()
	return nil
}

func (b blind) List(cluster string) ([]ledger.Allocation, error) { return b.state.List(cluster), nil }

func TestContract(t *testing.T) {
	contract.Run(t, func(t *testing.T) contract.IPAM { return blind{newLink(t)} })
}
