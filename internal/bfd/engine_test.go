package bfd

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// bench is a wire with hooks that counts its open ports.
type bench struct {
	opening func(Path) error // called before a port opens; may be nil
	sending func(Path)       // called before a packet is sent; may be nil
	open    map[Path]int     // ports
	receive func([]Datagram)
}

type benchPort struct {
	*bench
	path Path
}

func (w *bench) Open(path Path) (Port, error) {
	if w.opening != nil {
		if err := w.opening(path); err != nil {
			return nil, err
		}
	}
	w.open[path]++
	return benchPort{w, path}, nil
}

func (w *bench) Deliver(ctx context.Context, receive func([]Datagram)) error {
	w.receive = receive
	<-ctx.Done()
	return nil
}

func (w *bench) Drain() {}

func (p benchPort) Send([]byte) error {
	if p.sending != nil {
		p.sending(p.path)
	}
	return nil
}

func (p benchPort) Peer() netip.Addr { return p.path.Peer }

func (p benchPort) Close() error {
	p.open[p.path]--
	return nil
}

// onBench runs an engine on a bench, in a synctest bubble.
func onBench(t *testing.T, body func(*testing.T, *Engine, *bench)) {
	synctest.Test(t, func(t *testing.T) {
		w := &bench{open: map[Path]int{}}
		e := New(w, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		body(t, e, w)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for path, n := range w.open {
			if n != 0 {
				t.Errorf("in the end %d ports to %s are open", n, path.Peer)
			}
		}
	})
}

// packetFrom returns a packet of a peer that is Down, as it arrives.
func packetFrom(from netip.Addr) []Datagram {
	p := Packet{Status: Down, Multiplier: 3, MyDiscr: 7, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
	return []Datagram{{From: from, To: us, Port: SingleHopPort, TTL: 255, Payload: p.Append(nil)}}
}

// The engine sends and opens ports without its lock; packets arrive meanwhile.
func TestAPacketForASessionThatIsBeingForgottenDoesNoHarm(t *testing.T) {
	onBench(t, func(t *testing.T, e *Engine, w *bench) {
		leaving, other := Session{Path: Path{Peer: peer}}, Session{Path: Path{Peer: netip.MustParseAddr("192.0.2.9")}}
		e.Set([]Session{leaving})
		synctest.Wait()
		w.receive(packetFrom(peer))
		e.Set(nil) // it is forgotten after three seconds
		synctest.Wait()
		time.Sleep(2 * time.Second)
		tries := 0
		w.opening = func(Path) error {
			if tries++; tries == 1 {
				return errors.New("try again in a second")
			}
			w.receive(packetFrom(peer))
			return nil
		}
		e.Set([]Session{other})
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if tries != 2 || len(e.sessions) != 1 {
			t.Fatalf("%d tries to open, %d sessions: the test no longer tests what it should", tries, len(e.sessions))
		}
		w.opening = nil
		e.Set([]Session{leaving, other})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := len(e.States()); n != 2 || w.open[leaving.Path] != 1 {
			t.Errorf("there are %d sessions and %d ports for the one that was set again", n, w.open[leaving.Path])
		}
	})
}

func TestSessionsThatNoPacketCouldDistinguishAreRefused(t *testing.T) {
	onBench(t, func(t *testing.T, e *Engine, w *bench) {
		near := Session{Path: Path{Peer: peer}}
		far := Session{Path: Path{Peer: peer, Hops: Multihop, Port: SingleHopPort}}
		e.Set([]Session{near, far})
		synctest.Wait()
		for _, s := range e.States() {
			if refused := s.Problem != ""; refused != (s.Session.Hops == Multihop) {
				t.Errorf("%+v: problem %q", s.Session.Path, s.Problem)
			}
		}
	})
}

// Opening ports takes time; a session that is Up must send on time meanwhile.
func TestManyNewSessionsDontDelayTheOthers(t *testing.T) {
	onBench(t, func(t *testing.T, e *Engine, w *bench) {
		fast := Session{Path: Path{Peer: peer}, Transmit: 50 * time.Millisecond, Receive: 50 * time.Millisecond}
		e.Set([]Session{fast})
		synctest.Wait()
		p := Packet{Status: Init, Multiplier: 200, MyDiscr: 7, YourDiscr: e.States()[0].Discriminator, RequiredMinRx: time.Millisecond, DesiredMinTx: 50 * time.Millisecond}
		w.receive([]Datagram{{From: peer, To: us, Port: SingleHopPort, TTL: 255, Payload: p.Append(nil)}})
		synctest.Wait()
		w.opening = func(Path) error { time.Sleep(time.Millisecond); return nil }
		last, longest := time.Now(), time.Duration(0)
		w.sending = func(path Path) {
			if path == fast.Path {
				longest, last = max(longest, time.Since(last)), time.Now()
			}
		}
		sessions := []Session{fast}
		for i := range 1000 {
			sessions = append(sessions, Session{Path: Path{Peer: netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})}})
		}
		e.Set(sessions)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(w.open) != len(sessions) || longest == 0 || longest > 100*time.Millisecond {
			t.Errorf("with %d ports open, the longest time between two packets was %s", len(w.open), longest)
		}
	})
}

// States shows why a session does not come Up: the reason for which its packets are refused.
func TestARefusalIsReportedUntilAPacketIsAccepted(t *testing.T) {
	onBench(t, func(t *testing.T, e *Engine, w *bench) {
		e.Set([]Session{{Path: Path{Peer: peer}}})
		expectChange := func(what string, want bool) {
			t.Helper()
			time.Sleep(2 * time.Second) // a session that is Down sends once a second, and then compares its summary
			synctest.Wait()
			select {
			case <-e.Changed():
				if !want {
					t.Errorf("%s: unexpected signal", what)
				}
			default:
				if want {
					t.Errorf("%s: no signal", what)
				}
			}
		}
		expectChange("it has begun", false)
		low := packetFrom(peer)
		low[0].TTL = 63
		w.receive(low)
		expectChange("a packet was refused", true)
		w.receive(low)
		expectChange("another one was", false)
		if got := e.States()[0]; !got.Refused || got.TTL != 63 || got.LastDiscard != ErrTTL.Error() {
			t.Errorf("%+v", got)
		}
		w.receive(packetFrom(peer))
		expectChange("one was accepted", true)
		if got := e.States()[0]; got.Refused || got.TTL != 0 || got.LastDiscard == "" {
			t.Errorf("%+v", got)
		}
	})
}

// reentrant is a log handler that calls the engine.
type reentrant struct {
	slog.Handler
	engine **Engine
}

func (r reentrant) Enabled(context.Context, slog.Level) bool { return true }
func (r reentrant) Handle(context.Context, slog.Record) error {
	(*r.engine).States()
	return nil
}

// A log handler may be slow: the engine logs without its lock.
func TestTheEngineLogsWithoutItsLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e *Engine
		w := &bench{open: map[Path]int{}}
		e = New(w, slog.New(reentrant{slog.DiscardHandler, &e}))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		e.Set([]Session{{Path: Path{Peer: peer}}})
		synctest.Wait()
		w.receive(packetFrom(peer))
		synctest.Wait()
		if got := e.States()[0].Status; got != Init {
			t.Errorf("the session is %s", got)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
