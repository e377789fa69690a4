package bgp

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// watch holds the BFD sessions (RFC 5880) that BGP sessions want.
type watch struct {
	engine *bfd.Engine

	mu   sync.Mutex
	want map[*session]watched
}

// watched is how the router of a peer is watched.
type watched struct {
	name string // of the peer
	hops announce.Hops
	bfd.Session
}

// run holds the BFD sessions until ctx ends, and wakes the BGP sessions when
// they change. It tells the routers nothing when it ends.
func (w *watch) run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- w.engine.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-w.engine.Changed():
			w.mu.Lock()
			for s := range w.want {
				wait.Signal(s.wake)
				wait.Signal(s.status.news)
			}
			w.mu.Unlock()
		}
	}
}

const (
	// watchAfter is how long a session must have been up for BFD to begin. FRR,
	// once it knows by the session which address of its own is the right one,
	// begins BFD anew, and takes that for a broken path if BFD was up already.
	watchAfter = time.Second
	// strictAfter is how long a session must have been down for BFD to begin
	// without: the router may be waiting for that.
	strictAfter = 10 * time.Second
)

// watchFrom is when to begin BFD with the router of a session, which was made
// at that time: perhaps by a speaker that has just been restarted, and then the
// router must first have forgotten the BFD of the former, or it would take ours
// for the news that the path is broken.
func watchFrom(p announce.Peer, now view, made time.Time) time.Time {
	if now.session != Established {
		return now.down.Add(strictAfter)
	}
	from, forgotten := now.since.Add(watchAfter), made.Add(time.Duration(p.BFD.Multiplier)*max(p.BFD.Transmit, p.BFD.Receive))
	if from.Before(forgotten) {
		return forgotten
	}
	return from
}

// set says how to watch the router of s. What is as before touches nothing.
func (w *watch) set(s *session, p announce.Peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.want[s]
	if p.BFD.Multiplier == 0 {
		delete(w.want, s)
	} else {
		w.want[s] = watching(p, before)
	}
	if w.want[s].equal(before) {
		return
	}
	// Peers at one address, of different ports, share a session: that of the
	// first name.
	all := make([]watched, 0, len(w.want))
	for _, x := range w.want {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b watched) int { return cmp.Compare(a.name, b.name) })
	var sessions []bfd.Session
	taken := map[bfd.Path]bool{}
	for _, x := range all {
		if !taken[x.Path] {
			sessions = append(sessions, x.Session)
			taken[x.Path] = true
		}
	}
	w.engine.Set(sessions)
	wait.Signal(s.status.news)
}

func (w *watch) has(s *session) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, has := w.want[s]
	return has
}

// equal compares all that watching sets.
func (x watched) equal(y watched) bool {
	return x.name == y.name && x.hops == y.hops && x.Path == y.Path && x.Transmit == y.Transmit && x.Receive == y.Receive &&
		x.Multiplier == y.Multiplier && x.MinTTL == y.MinTTL && x.Passive == y.Passive
}

// watching returns how to watch the router of a peer whose address is known.
func watching(p announce.Peer, before watched) watched {
	out := watched{p.Name, p.BFD.Hops, bfd.Session{
		Path:     bfd.Path{Peer: p.Addr, Local: p.SourceAddr, Device: p.Device},
		Transmit: p.BFD.Transmit, Receive: p.BFD.Receive, Multiplier: p.BFD.Multiplier, Passive: p.BFD.Passive,
	}}
	far := p.BFD.Hops == announce.MultiHop
	if p.BFD.Hops == announce.HopsByNet {
		// Found out once: a cable that comes loose may take the subnet away.
		known := before.Peer == p.Addr && before.hops == p.BFD.Hops
		far = known && before.Hops == bfd.Multihop || !known && !inSubnet(p.Addr)
	}
	if far {
		out.Hops, out.MinTTL = bfd.Multihop, p.BFD.MinTTL
	}
	return out
}

// inSubnet reports whether an address is in a subnet of this node.
func inSubnet(a netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(own, func(o net.Addr) bool {
		p, err := netip.ParsePrefix(o.String())
		return err == nil && p.Contains(a)
	})
}

// states returns how the watched routers' sessions stand.
func (w *watch) states() map[*session]bfd.State {
	byPath := map[bfd.Path]bfd.State{}
	for _, st := range w.engine.States() {
		byPath[st.Session.Path] = st
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[*session]bfd.State, len(w.want))
	for s, want := range w.want {
		if st, ok := byPath[want.Path]; ok {
			out[s] = st
		}
	}
	return out
}

// severed tells in plain words why a BFD session was lost; "" if the path may
// still be well (RFC 5882 section 4.2).
func severed(by bfd.State) string {
	o := by.LastOutage
	switch {
	case o.RemoteStatus == bfd.AdminDown:
		return ""
	case o.Diagnostic == bfd.DetectionTimeExpired:
		return "BFD: detection time expired: no packet came from the router"
	case o.Diagnostic == bfd.NeighborSignaledDown:
		return fmt.Sprintf("BFD: the router signaled down; its diagnostic is %q", o.RemoteDiagnostic)
	}
	return ""
}
