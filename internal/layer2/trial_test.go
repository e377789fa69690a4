package layer2

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/neighbor"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const foreignMAC = "02:00:00:00:00:99"

// fakeWire is a wire without a kernel, for time that is not real.
type fakeWire struct {
	in     chan []byte
	closed chan struct{}
	filter atomic.Pointer[bpf.VM]
	start  time.Time
	hear   func(sent []byte)
	mu     sync.Mutex
	sent   []string // with the time since the start
	log    lineLog
}

func (f *fakeWire) ReadFrom(frame []byte) (int, net.Addr, error) {
	for {
		select {
		case <-f.closed:
			return 0, nil, os.ErrClosed
		case b := <-f.in:
			if n, err := f.filter.Load().Run(b); err != nil || n > 0 {
				return copy(frame, b), nil, err
			}
		}
	}
}

func (f *fakeWire) WriteTo(frame []byte, _ net.Addr) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, fmt.Sprintf("%v %s", time.Since(f.start).Round(time.Millisecond), describe(frame)))
	if f.hear != nil {
		f.hear(frame)
	}
	return len(frame), nil
}

func (f *fakeWire) SetBPF(raw []bpf.RawInstruction) error {
	program, _ := bpf.Disassemble(raw)
	vm, err := bpf.NewVM(program[neighbor.PreambleLen:]) // before that it asks a kernel
	f.filter.Store(vm)
	return err
}

func (f *fakeWire) Close() error {
	close(f.closed)
	return nil
}

// take returns what was sent since the last time, once all is quiet.
func (f *fakeWire) take() []string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.sent
	f.sent = nil
	return out
}

// lately lets time pass and returns what was sent meanwhile.
func (f *fakeWire) lately(d time.Duration) []string {
	time.Sleep(d)
	return f.take()
}

// onFake runs body in time that is not real, with an announcer of one worker.
func onFake(t *testing.T, o Options, fam family, body func(*testing.T, *Announcer, *fakeWire)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		a, f := startFake(ctx, &running, o, fam, nodeMAC)
		body(t, a, f)
		cancel()
		running.Wait()
	})
}

// startFake returns an announcer with one worker, on a link of that MAC.
func startFake(ctx context.Context, running *sync.WaitGroup, o Options, fam family, self string) (*Announcer, *fakeWire) {
	f := &fakeWire{in: make(chan []byte), closed: make(chan struct{}), start: time.Now()}
	a := New(slog.New(slog.NewTextHandler(&f.log, nil)), o)
	a.links.Store(&[]Link{{Name: "n0", MAC: mac(self), Up: true}})
	w := newWorker(a, role{family: fam, link: "n0", mac: string(mac(self)), index: -1}, nil)
	running.Go(func() { _ = w.speak(ctx, f) })
	running.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-a.wake:
				wait.Signal(w.wake)
			}
		}
	})
	return a, f
}

func newClaims(addrs ...string) []announce.Claim {
	claims := claimsFor(addrs...)
	for i := range claims {
		claims[i].NeedsDAD = true
	}
	return claims
}

func standing(a *Announcer) string {
	var out []string
	for _, s := range a.Addresses() {
		text := fmt.Sprint(s.Addr, " ", s.State)
		for _, f := range s.Foreign {
			text += fmt.Sprint(" ", f.MAC, " ", f.Link)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func expect(t *testing.T, what, want string, got []string) {
	t.Helper()
	if diff := cmp.Diff(strings.Fields(want), strings.Fields(strings.Join(got, "\n"))); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

const (
	arpProbe = "ARP request to ff:ff:ff:ff:ff:ff from 02:00:00:00:00:0a: 0.0.0.0 is at 02:00:00:00:00:0a; for 192.0.2.100 at 00:00:00:00:00:00"
	ndpProbe = "NS to 33:33:ff:00:01:00 from 02:00:00:00:00:0a: :: -> ff02::1:ff00:100 hops 255 target=2001:db8::100"
	ndpNews  = "NA to 33:33:00:00:00:01 from 02:00:00:00:00:0a: 2001:db8::100 -> ff02::1 hops 255 router=false solicited=false override=true target=2001:db8::100 mac=02:00:00:00:00:0a"
)

func foreignSays(source string) []byte {
	return question{mac: foreignMAC, source: source, target: "192.0.2.1"}.arp()
}

func TestNewAddressIsProbedFirst(t *testing.T) {
	t.Run("RFC 5227 2.1.1", func(t *testing.T) {
		onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
			a.Set(newClaims(vip4))
			expect(t, "the trial", "0s "+arpProbe+"\n150ms "+arpProbe+"\n300ms "+arpProbe, f.lately(450*time.Millisecond))
			f.in <- question{}.arp()
			expect(t, "a question during the trial", "", f.take())
			if got := standing(a); got != vip4+" Probing" {
				t.Errorf("during the trial: %s", got)
			}
			// The claim exists by now, so that it is not new any more; that changes nothing.
			a.Set(claimsFor(vip4))
			expect(t, "the outcome", "500ms "+announce1+"\n500ms "+announce2, f.lately(100*time.Millisecond))
			if got := standing(a); got != vip4+" Announced" || len(a.stateChanged) == 0 {
				t.Errorf("after the trial: %s, told: %d", got, len(a.stateChanged))
			}
		})
	})
	t.Run("RFC 4862 5.4.2", func(t *testing.T) {
		onFake(t, Options{}, ipv6, func(t *testing.T, a *Announcer, f *fakeWire) {
			a.Set(newClaims(vip6))
			expect(t, "the trial and its outcome", "0s "+ndpProbe+"\n150ms "+ndpProbe+"\n300ms "+ndpProbe+"\n500ms "+ndpNews, f.lately(600*time.Millisecond))
		})
	})
	t.Run("what was announced before is announced at once", func(t *testing.T) {
		onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
			a.Set(claimsFor(vip4))
			expect(t, "a takeover", "0s "+announce1+"\n0s "+announce2, f.lately(50*time.Millisecond))
		})
	})
}

// A foreign host answers probes until it goes.
func TestAddressThatAForeignHostHas(t *testing.T) {
	onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		var there atomic.Bool
		there.Store(true)
		f.hear = func([]byte) {
			if there.Load() {
				go func() { f.in <- question{mac: foreignMAC, source: vip4, target: "0.0.0.0", edit: set(21, 2)}.arp() }()
			}
		}
		a.Set(newClaims(vip4))
		probes := f.lately(35 * time.Second)
		for _, p := range probes {
			if !strings.HasSuffix(p, arpProbe) {
				t.Errorf("while a foreign host has the address: %s", p)
			}
		}
		if len(probes) != 7 {
			t.Errorf("%d probes in 35 s, want 3, then one each 10 s:\n%s", len(probes), strings.Join(probes, "\n"))
		}
		if got := standing(a); got != vip4+" Conflict "+foreignMAC+" n0" || len(a.stateChanged) == 0 {
			t.Errorf("standing: %s, told: %d", got, len(a.stateChanged))
		}
		<-a.stateChanged
		there.Store(false)
		f.lately(neighbor.ProbeForget + neighbor.ProbeRefresh)
		if got := standing(a); got != vip4+" Announced" || len(a.stateChanged) == 0 {
			t.Errorf("when the foreign host is gone: %s, told: %d", got, len(a.stateChanged))
		}
		if n := len(f.lately(neighbor.Refresh)); n == 0 {
			t.Error("not announced when the foreign host is gone")
		}
	})
}

func TestWhoIsAForeignHostInATrial(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		mac   string // of a speaker
		want  State
	}{
		{"RFC 5227 2.1.1: who answers has it", question{mac: foreignMAC, source: vip4, edit: set(21, 2)}.arp(), "", Conflict},
		{"RFC 5227 2.1.1: who speaks in its name has it", foreignSays(vip4), "", Conflict},
		{"RFC 5227 2.1.1: who probes for it as well, may want it", question{mac: foreignMAC, source: "0.0.0.0"}.arp(), "", Probing},
		{"who merely asks for it has it not", question{mac: foreignMAC}.arp(), "", Announced},
		{"another speaker is no foreign host", foreignSays(vip4), foreignMAC, Announced},
		{"nor are we ourselves", question{mac: nodeMAC, source: "0.0.0.0"}.arp(), "", Announced},
		{"a frame that can't be read says nothing", question{mac: "ff:ff:ff:ff:ff:ff", source: vip4}.arp(), "", Announced},
	} {
		t.Run(c.name, func(t *testing.T) {
			onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
				if c.mac != "" {
					a.SetSpeakers([][6]byte{[6]byte(mac(c.mac))})
				}
				a.Set(newClaims(vip4))
				f.lately(10 * time.Millisecond)
				f.in <- c.frame
				f.lately(500 * time.Millisecond)
				if got := a.Addresses()[0].State; got != c.want {
					t.Errorf("state %s, want %s", got, c.want)
				}
			})
		})
	}
}

// Where foreign hosts are ignored, as a router with proxy ARP (RFC 1027) is to be, the address is
// announced as if none answered; on other links they count.
func TestForeignHostsThatAreIgnored(t *testing.T) {
	for links, want := range map[string]string{"n*": vip4 + " Announced", "n1": vip4 + " Conflict " + foreignMAC + " n0"} {
		t.Run(links, func(t *testing.T) {
			onFake(t, Options{Defend: true}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
				f.hear = func(sent []byte) {
					if strings.HasSuffix(describe(sent), arpProbe) {
						go func() { f.in <- question{mac: foreignMAC, source: vip4, target: "0.0.0.0", edit: set(21, 2)}.arp() }()
					}
				}
				claims := newClaims(vip4)
				claims[0].Ignore = []announce.Links{{Only: []string{links}}}
				a.Set(claims)
				f.lately(10 * time.Millisecond)
				f.in <- question{mac: foreignMAC, source: "0.0.0.0"}.arp()
				f.lately(5 * time.Second)
				f.in <- foreignSays(vip4)
				f.lately(time.Second)
				if got := standing(a); got != want {
					t.Errorf("standing: %s, want %s", got, want)
				}
			})
		})
	}
}

func TestConflictLater(t *testing.T) {
	for _, defend := range []bool{false, true} {
		t.Run(fmt.Sprintf("defend=%t", defend), func(t *testing.T) {
			onFake(t, Options{Defend: defend}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
				a.Set(claimsFor(vip4))
				f.lately(5 * time.Second)
				defenses := 0
				for range 25 { // seconds, between two refreshes
					f.in <- foreignSays(vip4)
					defenses += len(f.lately(time.Second)) / 2
				}
				if want := map[bool]int{true: 3, false: 0}[defend]; defenses != want {
					t.Errorf("RFC 5227 2.4: defended %d times in 25 s, want %d", defenses, want)
				}
				if got := standing(a); got != vip4+" Announced "+foreignMAC+" n0" || len(a.stateChanged) == 0 {
					t.Errorf("standing: %s, told: %d", got, len(a.stateChanged))
				}
				<-a.stateChanged
				f.in <- question{}.arp()
				if got := strings.Join(f.take(), ""); !strings.Contains(got, "ARP reply") {
					t.Errorf("in a conflict a question gets %q", got)
				}
				f.lately(forget + neighbor.Refresh + time.Second)
				if got := standing(a); got != vip4+" Announced" || len(a.stateChanged) == 0 {
					t.Errorf("long after: %s, told: %d", got, len(a.stateChanged))
				}
				if got := a.Stats()[0]; got.Conflicts != 25 || got.Defenses != 2*uint64(defenses) {
					t.Errorf("counted %+v", got)
				}
			})
		})
	}
}

// A node joins, and its speaker takes an address over before this one has
// heard of its links.
func TestForeignHostTurnsOutToBeASpeaker(t *testing.T) {
	onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		a.Set(claimsFor(vip4))
		f.lately(time.Second)
		f.in <- foreignSays(vip4)
		f.take()
		<-a.stateChanged
		a.SetSpeakers([][6]byte{[6]byte(mac(foreignMAC))})
		if got := standing(a); got != vip4+" Announced" || len(a.stateChanged) == 0 {
			t.Errorf("standing: %s, told: %d", got, len(a.stateChanged))
		}
	})
}

func TestOnesProbesForAnAddressOfOursAreAnswered(t *testing.T) {
	onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		a.Set(claimsFor(vip4))
		f.lately(5 * time.Second)
		f.in <- question{mac: foreignMAC, source: "0.0.0.0"}.arp()
		if got := f.take(); len(got) != 1 || !strings.Contains(got[0], "ARP reply to "+foreignMAC) {
			t.Errorf("answer: %q", got)
		}
		if got := standing(a); got != vip4+" Announced" {
			t.Errorf("standing: %s: who gives way is no conflict", got)
		}
	})
}

func TestWhoAsksTooOftenIsLimited(t *testing.T) {
	onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		a.Set(claimsFor(vip4))
		f.lately(5 * time.Second)
		for range 1000 {
			f.in <- question{}.arp()
		}
		f.in <- question{mac: foreignMAC}.arp()
		f.in <- []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x99\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc0\x00\x02\x64")
		sent := f.take()
		if got := a.Stats()[0]; got.Requests != 1001 || got.Answers != uint64(len(sent)) || got.Limited != 1001-got.Answers || got.Malformed != 1 || got.Answers != requestBurst+3 {
			t.Errorf("counted %+v, sent %d", got, len(sent))
		}
		if last := sent[len(sent)-1]; !strings.Contains(last, foreignMAC) {
			t.Errorf("the other station got no answer; the last one is %s", last)
		}
	})
}
