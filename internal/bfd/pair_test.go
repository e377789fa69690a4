package bfd_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
)

// ends is two engines that a network joins. The same tests run on each kind of network.
type ends struct {
	*testing.T
	a, b *end
	cut  func(bool) // silently, both ways
	wait func(what string, until func() bool)
}

type end struct {
	*bfd.Engine
	addr   netip.Addr
	inside func(func()) // runs a function in the end's network namespace
}

// state returns the state of e's only session.
func (e *end) state() bfd.State {
	states := e.States()
	if len(states) == 0 {
		return bfd.State{}
	}
	return states[0]
}

func (e *end) is(s bfd.Status) func() bool { return func() bool { return e.state().Status == s } }

func (e *ends) set(want bfd.Session) {
	a, b := want, want
	a.Peer, b.Peer = e.b.addr, e.a.addr
	e.a.Set([]bfd.Session{a})
	e.b.Set([]bfd.Session{b})
}

func (e *ends) up() {
	e.Helper()
	e.wait("a is Up", e.a.is(bfd.Up))
	e.wait("b is Up", e.b.is(bfd.Up))
}

// pairTests are run with a new pair each.
var pairTests = map[string]func(*ends){
	"both sides notice that the path is cut, and that it is back": func(e *ends) {
		e.set(bfd.Session{Transmit: 50 * time.Millisecond, Receive: 50 * time.Millisecond})
		e.up()
		e.cut(true)
		e.wait("a is Down", e.a.is(bfd.Down))
		e.wait("b is Down", e.b.is(bfd.Down))
		if o := e.a.state().LastOutage; o.Diagnostic != bfd.DetectionTimeExpired {
			e.Errorf("a's outage is %+v", o)
		}
		e.cut(false)
		e.up()
	},
	"timers change while Up": func(e *ends) {
		e.set(bfd.Session{})
		e.up()
		for _, want := range []time.Duration{60 * time.Millisecond, time.Second, 100 * time.Millisecond} {
			e.set(bfd.Session{Transmit: want, Receive: want})
			e.wait("both have agreed on "+want.String(), func() bool {
				a, b := e.a.state(), e.b.state()
				return a.Transmit == want && b.Transmit == want && a.Detection == 3*want && b.Detection == 3*want
			})
		}
		if a, b := e.a.state(), e.b.state(); a.Ups != 1 || b.Ups != 1 {
			e.Errorf("a was up %d times, b %d times", a.Ups, b.Ups)
		}
	},
	"a passive side waits for an active one": func(e *ends) {
		e.a.Set([]bfd.Session{{Path: bfd.Path{Peer: e.b.addr}, Passive: true}})
		e.b.Set([]bfd.Session{{Path: bfd.Path{Peer: e.a.addr}}})
		e.up()
	},
	"AdminDown is signaled": func(e *ends) {
		e.set(bfd.Session{})
		e.up()
		e.a.Set([]bfd.Session{{Path: bfd.Path{Peer: e.b.addr}, Disabled: true}})
		e.wait("b knows", func() bool { s := e.b.state(); return s.Status == bfd.Down && s.RemoteStatus == bfd.AdminDown })
		if o := e.b.state().LastOutage; o.RemoteStatus != bfd.AdminDown || o.RemoteDiagnostic != bfd.AdministrativelyDown {
			e.Errorf("b's outage is %+v", o)
		}
		e.set(bfd.Session{})
		e.up()
	},
	"a session that is no longer wanted signals AdminDown": func(e *ends) {
		e.set(bfd.Session{})
		e.up()
		e.a.Set(nil)
		e.wait("b knows", func() bool { return e.b.state().RemoteStatus == bfd.AdminDown })
	},
	"authentication": func(e *ends) { e.authenticate(bfd.MeticulousSHA1) },
	"authentication whose sequence number need not grow": func(e *ends) { e.authenticate(bfd.KeyedSHA1) },
	"a key is exchanged by another, and no packet is refused": func(e *ends) {
		old, next := bfd.Key{ID: 1, Secret: "sesame"}, bfd.Key{ID: 2, Secret: "mustard"}
		e.set(bfd.Session{Keys: []bfd.Key{old}})
		e.up()
		for _, keys := range [][2][]bfd.Key{{{old, next}, {old}}, {{old, next}, {old, next}}, {{next, old}, {old, next}}, {{next, old}, {next}}, {{next}, {next}}} {
			e.a.Set([]bfd.Session{{Path: bfd.Path{Peer: e.b.addr}, Keys: keys[0]}})
			e.b.Set([]bfd.Session{{Path: bfd.Path{Peer: e.a.addr}, Keys: keys[1]}})
			before := e.b.state().Received
			e.wait("packets of both", func() bool { return e.b.state().Received > before+5 })
		}
		e.up()
		for _, s := range []bfd.State{e.a.state(), e.b.state()} {
			if s.Discarded != 0 {
				e.Errorf("%d packets discarded: %s", s.Discarded, s.LastDiscard)
			}
		}
	},
	"the peer has another type of authentication": func(e *ends) {
		e.a.Set([]bfd.Session{{Path: bfd.Path{Peer: e.b.addr}, Keys: []bfd.Key{{ID: 1, Secret: "sesame", Type: bfd.KeyedSHA1}}}})
		e.b.Set([]bfd.Session{{Path: bfd.Path{Peer: e.a.addr}, Keys: []bfd.Key{{ID: 1, Secret: "sesame"}}}})
		e.wait("b refuses", func() bool {
			s := e.b.state()
			return s.Discarded > 0 && strings.HasPrefix(s.LastDiscard, bfd.ErrAuthType.Error())
		})
	},
	"several hops, on another port": func(e *ends) {
		e.a.Set([]bfd.Session{{Path: bfd.Path{Peer: e.b.addr, Hops: bfd.Multihop, Port: 7784}, MinTTL: 250}})
		e.b.Set([]bfd.Session{{Path: bfd.Path{Peer: e.a.addr, Hops: bfd.Multihop, Port: 7784}, MinTTL: 250}})
		e.up()
	},
}

// authenticate has the ends agree on a key, differ, and agree again.
func (e *ends) authenticate(by bfd.AuthType) {
	right, wrong := []bfd.Key{{ID: 1, Secret: "sesame", Type: by}}, []bfd.Key{{ID: 1, Secret: "mustard", Type: by}}
	e.set(bfd.Session{Keys: right})
	e.up()
	e.a.Set([]bfd.Session{{Path: bfd.Path{Peer: e.b.addr}, Keys: wrong}})
	e.wait("both are Down", func() bool { return e.a.state().Status == bfd.Down && e.b.state().Status == bfd.Down })
	if s := e.b.state(); s.Discarded == 0 || s.LastDiscard != bfd.ErrAuthHash.Error()+" (key ID 1)" {
		e.Errorf("b discarded %d, the last because %q", s.Discarded, s.LastDiscard)
	}
	e.set(bfd.Session{Keys: right})
	e.up()
}

// network is an in-memory wire for both ends.
type network struct {
	mu       sync.Mutex
	cut      bool
	receives map[netip.Addr]func([]bfd.Datagram)
}

// plug is one end's wire on a network.
type plug struct {
	*network
	addr netip.Addr
	path bfd.Path
}

func (p plug) Open(path bfd.Path) (bfd.Port, error) { return plug{p.network, p.addr, path}, nil }
func (p plug) Drain()                               {}
func (p plug) Peer() netip.Addr                     { return p.path.Peer }
func (p plug) Close() error                         { return nil }

func (p plug) Deliver(ctx context.Context, receive func([]bfd.Datagram)) error {
	p.mu.Lock()
	p.receives[p.addr] = receive
	p.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (p plug) Send(b []byte) error {
	p.mu.Lock()
	receive := p.receives[p.path.Peer]
	if p.cut {
		receive = nil
	}
	p.mu.Unlock()
	if receive != nil {
		receive([]bfd.Datagram{{From: p.addr, To: p.path.Peer, Port: p.path.ListenPort(), TTL: 255, Payload: b}})
	}
	return nil
}

func TestPairInMemory(t *testing.T) {
	for name, body := range pairTests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := &network{receives: map[netip.Addr]func([]bfd.Datagram){}}
				newEnd := func(addr string) *end {
					a := netip.MustParseAddr(addr)
					return &end{Engine: bfd.New(plug{network: net, addr: a}, slog.New(slog.DiscardHandler)), addr: a, inside: func(f func()) { f() }}
				}
				e := &ends{T: t, a: newEnd("192.0.2.1"), b: newEnd("192.0.2.2")}
				e.cut = func(cut bool) {
					net.mu.Lock()
					defer net.mu.Unlock()
					net.cut = cut
				}
				e.wait = func(what string, until func() bool) {
					t.Helper()
					for range 10000 {
						if synctest.Wait(); until() {
							return
						}
						time.Sleep(time.Millisecond)
					}
					t.Fatalf("never happened: %s; a %+v, b %+v", what, e.a.state(), e.b.state())
				}
				stop := e.run()
				defer stop()
				body(e)
			})
		})
	}
}

// run runs both engines until stop is called.
func (e *ends) run() (stop func()) {
	ctx, cancel := context.WithCancel(e.Context())
	var running sync.WaitGroup
	for _, end := range []*end{e.a, e.b} {
		running.Go(func() {
			end.inside(func() {
				if err := end.Run(ctx); err != nil {
					e.Error(err)
				}
			})
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}
