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

// watched is how to watch the router of a peer.
type watched struct {
	name string // of the peer
	hops announce.Hops
	bfd.Session
}

// run holds the BFD sessions until ctx ends, and signals the BGP sessions when one
// changes. It sends the routers nothing at its end.
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
				wait.Signal(s.status.changes)
			}
			w.mu.Unlock()
		}
	}
}

const (
	// watchAfter is how long a BGP session must have been up before BFD starts. FRR
	// restarts its BFD session when the BGP session shows it its own address, and
	// would take the path for broken if BFD were up already.
	watchAfter = time.Second
	// strictAfter is how long a BGP session must have been down before BFD starts
	// without it: the router may require BFD first.
	strictAfter = 10 * time.Second
)

// watchFrom returns when to start BFD with the router of a session that was created
// at made. The previous speaker may have just been restarted: then its router must
// first drop the old BFD session. Otherwise it would take the new one for a broken
// path.
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

// set sets how to watch the router of s. Equal input changes nothing.
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
	// Peers with one address and different ports share a session: that of the first
	// name.
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
	wait.Signal(s.status.changes)
}

func (w *watch) has(s *session) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, has := w.want[s]
	return has
}

// equal reports whether x and y watch in the same way.
func (x watched) equal(y watched) bool {
	return x.name == y.name && x.hops == y.hops && x.Path == y.Path && x.Transmit == y.Transmit && x.Receive == y.Receive &&
		x.Multiplier == y.Multiplier && x.MinTTL == y.MinTTL && x.Passive == y.Passive && slices.Equal(x.Keys, y.Keys)
}

// watching returns how to watch the router of a peer whose address is known.
func watching(p announce.Peer, before watched) watched {
	out := watched{p.Name, p.BFD.Hops, bfd.Session{
		Path:     bfd.Path{Peer: p.Addr, Local: p.SourceAddr, Device: p.Device},
		Transmit: p.BFD.Transmit, Receive: p.BFD.Receive, Multiplier: p.BFD.Multiplier, Passive: p.BFD.Passive,
	}}
	for _, k := range p.BFD.Keys {
		key := bfd.Key{ID: k.ID, Secret: k.Secret, Type: bfd.KeyedSHA1}
		if k.Meticulous {
			key.Type = bfd.MeticulousSHA1
		}
		out.Keys = append(out.Keys, key)
	}
	far := p.BFD.Hops == announce.MultiHop
	if p.BFD.Hops == announce.HopsByNet {
		// Determined once: a loose cable may remove the subnet.
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

// states returns the BFD states of the watched routers.
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

// pathLost explains why a BFD session was lost; "": the path may still work (RFC 5882
// section 4.2).
func pathLost(by bfd.State) string {
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
