package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/stories"
)

// TestStories runs the stories of testdata: the calls and packets that an engine with one
// session, or none, gets, and after "=>" the packets that it sends and its changes of
// state, with the time.
//
//	session [tx D] [rx D] [mult N] [passive] [disabled] [key ID:SECRET]... [multihop] [minttl N] [device NAME]
//	none
//	wait D
//	quietly wait D                 packets sent meanwhile are not recorded
//	hear STATUS [P] [F] [D] [my N] [your us|N] [mult N] [tx D] [rx D] [diag N] [ttl N] [from ADDR] [to ADDR] [on DEVICE]
//	     [key ID:SECRET seq N]     without "your" it is "us", but in Down 0
//	waiting hear ...               the packet waits in the socket until that is drained
//	status                         records what States returns
//	unplug | plug                  sending fails | works again
//	refuse                         the peer's host refuses the port, from now on
//
// Jitter is off. A line after "=>" is "TIME what".
func TestStories(t *testing.T) {
	stories.Run(t, "testdata/*.txt", func(t *testing.T, given, want string) {
		synctest.Test(t, func(t *testing.T) {
			if diff := cmp.Diff(want, play(t, given)); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
	})
}

var (
	us   = netip.MustParseAddr("192.0.2.1")
	peer = netip.MustParseAddr("192.0.2.2")
)

// stage is an engine with the wire that the story controls.
type stage struct {
	t      *testing.T
	engine *Engine
	start  time.Time

	mu      sync.Mutex
	out     []string
	quiet   bool
	failing error
	socket  []Datagram // that wait to be drained

	last    string // the status recorded last
	discr   uint32 // the engine's, once seen
	receive func([]Datagram)
}

func play(t *testing.T, given string) string {
	s := &stage{t: t, start: time.Now()}
	s.engine = New(s, slog.New(slog.DiscardHandler))
	s.engine.chance = func() float64 { return 1 }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.engine.Run(ctx) }()
	synctest.Wait()
	for line := range strings.Lines(given) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "//" {
			s.do(words)
			s.recordState()
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return strings.Join(s.out, "\n")
}

func (s *stage) record(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.quiet {
		s.out = append(s.out, time.Since(s.start).String()+" "+fmt.Sprintf(format, args...))
	}
}

func (s *stage) setQuiet(quiet bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet = quiet
}

func (s *stage) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
}

func (s *stage) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}

// recordState records a change of state.
func (s *stage) recordState() {
	synctest.Wait()
	for _, st := range s.engine.States() {
		if now := fmt.Sprintf("is %s (%s)", st.Status, st.Diagnostic); now != s.last {
			s.last = now
			s.record("%s", now)
		}
	}
}

func (s *stage) do(words []string) {
	switch args := words[1:]; words[0] {
	case "session":
		s.engine.Set([]Session{s.session(args)})
	case "none":
		s.engine.Set(nil)
	case "quietly":
		s.setQuiet(true)
		time.Sleep(s.duration(args[1]))
		synctest.Wait()
		s.setQuiet(false)
	case "wait":
		for end := time.Now().Add(s.duration(args[0])); time.Now().Before(end); {
			time.Sleep(min(time.Millisecond, time.Until(end)))
			s.recordState()
		}
	case "hear":
		s.arrives(s.packet(args))
	case "waiting":
		d := s.packet(args[1:])
		s.mu.Lock()
		s.socket = append(s.socket, d)
		s.mu.Unlock()
	case "status":
		s.status()
	case "unplug":
		s.fail(errors.New("network is unreachable"))
	case "refuse":
		s.fail(ErrRefused)
	case "plug":
		s.fail(nil)
	default:
		s.t.Fatalf("unknown word %q", words[0])
	}
}

func (s *stage) session(args []string) Session {
	want := Session{Path: Path{Peer: peer}}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch word {
		case "passive":
			want.Passive = true
			continue
		case "disabled":
			want.Disabled = true
			continue
		case "multihop":
			want.Hops = Multihop
			continue
		}
		value := args[0]
		args = args[1:]
		switch word {
		case "tx":
			want.Transmit = s.duration(value)
		case "rx":
			want.Receive = s.duration(value)
		case "mult":
			want.Multiplier = uint8(s.number(value))
		case "minttl":
			want.MinTTL = uint8(s.number(value))
		case "device":
			want.Device = value
		case "key":
			want.Keys = append(want.Keys, s.key(value))
		default:
			s.t.Fatalf("unknown word %q of a session", word)
		}
	}
	return want
}

// packet returns the packet that the words after "hear" describe.
func (s *stage) packet(args []string) Datagram {
	p := Packet{Multiplier: 3, MyDiscr: 7, DesiredMinTx: 300 * time.Millisecond, RequiredMinRx: 300 * time.Millisecond}
	d := Datagram{From: peer, To: us, TTL: 255}
	for _, st := range s.engine.States() {
		d.Port, d.Device, s.discr = st.Session.ListenPort(), st.Session.Device, st.Discriminator
	}
	for status := AdminDown; status <= Up; status++ {
		if status.String() == args[0] {
			p.Status = status
		}
	}
	if p.Status >= Init {
		p.YourDiscr = s.discr
	}
	var key *Key
	sequence := uint32(0)
	for args = args[1:]; len(args) > 0; args = args[1:] {
		switch args[0] {
		case "P":
			p.Poll = true
			continue
		case "F":
			p.Final = true
			continue
		case "D":
			p.Demand = true
			continue
		}
		value := args[1]
		switch args[0] {
		case "my":
			p.MyDiscr = s.number(value)
		case "your":
			p.YourDiscr = s.discr
			if value != "us" {
				p.YourDiscr = s.number(value)
			}
		case "mult":
			p.Multiplier = uint8(s.number(value))
		case "tx":
			p.DesiredMinTx = s.duration(value)
		case "rx":
			p.RequiredMinRx = s.duration(value)
		case "diag":
			p.Diagnostic = Diagnostic(s.number(value))
		case "ttl":
			d.TTL = uint8(s.number(value))
		case "from":
			d.From = netip.MustParseAddr(value)
		case "to":
			d.To = netip.MustParseAddr(value)
		case "on":
			d.Device = value
		case "seq":
			sequence = s.number(value)
		case "key":
			k := s.key(value)
			key = &k
		default:
			s.t.Fatalf("unknown word %q of a packet", args[0])
		}
		args = args[1:]
	}
	d.Payload = p.Append(nil)
	if key != nil {
		d.Payload = sign(d.Payload, *key, sequence)
	}
	return d
}

func (s *stage) arrives(d Datagram) {
	before := s.discarded()
	s.receive([]Datagram{d})
	for reason, n := range s.discarded() {
		if n > before[reason] {
			s.record("discards: %s", reason)
		}
	}
}

// discarded counts, by reason, what was refused.
func (s *stage) discarded() map[string]uint64 {
	counts := s.engine.Discards()
	for _, st := range s.engine.States() {
		counts[st.LastDiscard] += st.Discarded
	}
	return counts
}

func (s *stage) status() {
	synctest.Wait()
	states := s.engine.States()
	if len(states) == 0 {
		s.record("has no session")
	}
	for _, st := range states {
		s.record("sends every %s, detects in %s, up %d times, last outage: %s / %s; problem %q",
			st.Transmit, st.Detection, st.Ups, st.LastOutage.Diagnostic, st.LastOutage.RemoteDiagnostic, st.Problem)
	}
}

func (s *stage) key(word string) Key {
	id, secret, _ := strings.Cut(word, ":")
	return Key{ID: uint8(s.number(id)), Secret: secret}
}

func (s *stage) number(word string) uint32 {
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		s.t.Fatal(err)
	}
	return uint32(n)
}

func (s *stage) duration(word string) time.Duration {
	d, err := time.ParseDuration(word)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// Open implements Wire.
func (s *stage) Open(Path) (Port, error) {
	if err := s.failure(); err != nil && !errors.Is(err, ErrRefused) {
		return nil, err
	}
	return s, nil
}

// Deliver implements Wire.
func (s *stage) Deliver(ctx context.Context, receive func([]Datagram)) error {
	s.receive = receive
	<-ctx.Done()
	return nil
}

// Drain implements Wire.
func (s *stage) Drain() {
	s.mu.Lock()
	socket := s.socket
	s.socket = nil
	s.mu.Unlock()
	for _, d := range socket {
		s.arrives(d)
	}
}

// Peer implements Port.
func (s *stage) Peer() netip.Addr { return peer }

// Close implements Port.
func (s *stage) Close() error { return nil }

// Send implements Port.
func (s *stage) Send(b []byte) error {
	if err := s.failure(); err != nil {
		return err
	}
	p, auth, err := Parse(b)
	if err != nil {
		s.t.Errorf("it sends % x: %v", b, err)
	}
	words := []string{"sends", p.Status.String()}
	if p.Diagnostic != NoDiagnostic {
		words = append(words, "("+p.Diagnostic.String()+")")
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{{p.Poll, "P"}, {p.Final, "F"}} {
		if flag.set {
			words = append(words, flag.name)
		}
	}
	words = append(words, fmt.Sprintf("tx %s rx %s mult %d your %d", p.DesiredMinTx, p.RequiredMinRx, p.Multiplier, p.YourDiscr))
	if auth != nil {
		words = append(words, fmt.Sprintf("key %d", auth[2]))
	}
	s.record("%s", strings.Join(words, " "))
	return nil
}
