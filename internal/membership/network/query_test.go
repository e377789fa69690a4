package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

func thrice() rounds { return rounds{askedTimes, replyTimeout, new(pace)} }

// peerMAC is the MAC of the host on a fake wire.
func peerMAC() [6]byte { return [6]byte{2, 0, 0, 0, 0, 2} }

// fakeWire is a wire without a kernel, for synctest.
type fakeWire struct {
	has     map[netip.Addr]bool
	loses   int   // how many of the first requests for an address are lost
	fails   error // instead of sending
	answers chan netip.Addr
	closed  chan struct{}

	mu    sync.Mutex
	asked map[netip.Addr][]time.Time
}

func newFakeWire(has []netip.Addr) *fakeWire {
	w := &fakeWire{has: map[netip.Addr]bool{}, answers: make(chan netip.Addr, 10_000), closed: make(chan struct{}), asked: map[netip.Addr][]time.Time{}}
	for _, a := range has {
		w.has[a] = true
	}
	return w
}

func (w *fakeWire) ask(a netip.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[a] = append(w.asked[a], time.Now())
	if w.has[a] && len(w.asked[a]) > w.loses {
		w.answers <- a
	}
	return w.fails
}

func (w *fakeWire) answer() (netip.Addr, [6]byte, error) {
	select {
	case a := <-w.answers:
		return a, peerMAC(), nil
	case <-w.closed:
		return netip.Addr{}, [6]byte{}, net.ErrClosed
	}
}

func (w *fakeWire) Close() error {
	close(w.closed)
	return nil
}

// addresses returns n of them, from the first on, and every third of these.
func addresses(first string, n int) (all, third []netip.Addr) {
	a := netip.MustParseAddr(first)
	for i := range n {
		all = append(all, a)
		if i%3 == 0 {
			third = append(third, a)
		}
		a = a.Next()
	}
	return all, third
}

// checkQuery is run on a fake wire and on veth: of many addresses a host has every third, and
// the query finds that.
func checkQuery(t *testing.T, all, third []netip.Addr, mac [6]byte, open func() wire) {
	t.Helper()
	want := map[netip.Addr][6]byte{}
	for _, a := range third {
		want[a] = mac
	}
	for _, addrs := range [][]netip.Addr{all, third} {
		start := time.Now()
		answered, err := runQuery(t.Context(), open(), addrs, thrice())
		have := map[netip.Addr][6]byte{}
		for a, h := range answered {
			have[a] = h.mac
			if h.at.Before(start) || h.at.After(time.Now()) {
				t.Fatalf("heard at %v", h.at)
			}
		}
		if !maps.Equal(want, have) || err != nil {
			t.Errorf("of %d addresses %d are answered, want %d; %v", len(addrs), len(have), len(want), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runQuery(ctx, open(), all, thrice()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestQueryOnAFakeWire(t *testing.T) {
	for name, first := range map[string]string{"IPv4": "192.0.2.1", "IPv6": "2001:db8::1"} {
		for lost := range askedTimes {
			t.Run(fmt.Sprintf("%s, %d questions for each are lost", name, lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					all, third := addresses(first, 3000)
					checkQuery(t, all, third, peerMAC(), func() wire {
						w := newFakeWire(third)
						w.loses = lost
						return w
					})
				})
			})
		}
	}
}

func TestQueryOnVeth(t *testing.T) {
	onHost(t, func() {
		for family, first := range map[string]string{"inet": "198.51.100.1", "inet6": "2001:db8:1::1"} {
			all, third := addresses(first, 600)
			var batch strings.Builder
			for _, a := range third {
				fmt.Fprintf(&batch, "address add %s/%d dev eth0 nodad\n", a, a.BitLen())
			}
			add := exec.Command("ip", "-n", os.Getenv(inside), "-batch", "-")
			add.Stdin = strings.NewReader(batch.String())
			if out, err := add.CombinedOutput(); err != nil {
				t.Fatalf("give the peer addresses: %v\n%s", err, out)
			}
			out, err := exec.Command("ip", "netns", "exec", os.Getenv(inside), "cat", "/sys/class/net/eth0/address").Output()
			if err != nil {
				t.Fatal(err)
			}
			mac, err := net.ParseMAC(strings.TrimSpace(string(out)))
			if err != nil {
				t.Fatal(err)
			}
			link, err := net.InterfaceByName("eth0")
			if err != nil {
				t.Fatal(err)
			}
			t.Log(family)
			checkQuery(t, all, third, [6]byte(mac), func() (w wire) {
				until(t, "the link has an address to ask from", func() bool { w, err = openWire(link, all); return err == nil })
				return w
			})
			have := NewHostProber(nil, 0).Has(t.Context(), all, []string{"eth0"})
			if one := have[third[0]]; one.Reply != membership.Answered || one.MAC != [6]byte(mac) || one.At.IsZero() || have[all[1]] != (Answer{Reply: membership.Unanswered}) {
				t.Errorf("one that the peer has: %v; one that no host has: %v", have[third[0]], have[all[1]])
			}
		}
	})
}

func TestQueryKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3000
		all, _ := addresses("192.0.2.1", n)
		start := time.Now()
		first, second := newFakeWire(nil), newFakeWire(nil)
		together := thrice()
		var both sync.WaitGroup
		for i, w := range []*fakeWire{first, second} {
			both.Go(func() {
				if _, err := runQuery(t.Context(), w, all[i*n/2:(i+1)*n/2], together); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		if took := time.Since(start); took > time.Second {
			t.Errorf("thousands of free addresses took %v", took)
		}
		var times []time.Time
		for _, w := range []*fakeWire{first, second} {
			for a, at := range w.asked {
				if len(at) != askedTimes || at[1].Sub(at[0]) < replyTimeout || at[2].Sub(at[1]) < replyTimeout {
					t.Fatalf("%s was asked for at %v", a, at)
				}
				times = append(times, at...)
			}
		}
		slices.SortFunc(times, time.Time.Compare)
		const window = 150
		for i := window; i < len(times); i++ {
			if within := times[i].Sub(times[i-window]); within < (window*time.Second/perSecond)*8/10 {
				t.Fatalf("%d questions within %v", window, within)
			}
		}
		if last := times[len(times)-1].Add(replyTimeout); time.Now().Before(last) {
			t.Errorf("the last question was given up after %v", time.Since(times[len(times)-1]))
		}
	})
}

func TestQueryEndsWhenAllAddressesAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, _ := addresses("192.0.2.1", 10)
		start := time.Now()
		if have, err := runQuery(t.Context(), newFakeWire(all), all, thrice()); err != nil || len(have) != len(all) {
			t.Errorf("%v, %v", have, err)
		}
		if took := time.Since(start); took >= replyTimeout {
			t.Errorf("it took %v", took)
		}
	})
}

func TestABrokenWireIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, third := addresses("192.0.2.1", 10)
		w := newFakeWire(third)
		w.fails = errors.New("the cable is cut")
		if _, err := runQuery(t.Context(), w, all, thrice()); !errors.Is(err, w.fails) {
			t.Errorf("writing fails: %v", err)
		}
		w = newFakeWire(third)
		_ = w.Close()
		_, err := runQuery(t.Context(), reopened{w}, all, thrice())
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading fails: %v", err)
		}
	})
}

// reopened is a wire that can be closed twice.
type reopened struct{ *fakeWire }

func (reopened) Close() error { return nil }

const goodReply = "ffffffffffff 020000000002 0806 0001 0800 06 04 0002 020000000002 c0000201 020000000001 c0000209"

func frameOf(t testing.TB, hex string) []byte {
	var b []byte
	if _, err := fmt.Sscanf(strings.ReplaceAll(hex, " ", ""), "%x", &b); err != nil && hex != "" {
		t.Fatal(err)
	}
	return b
}

func TestReadAnswer(t *testing.T) {
	for _, c := range []struct {
		name, frame string
		want        bool
	}{
		{"a reply", goodReply, true},
		{"a request", strings.Replace(goodReply, "0002", "0001", 2), false},
		{"cut short", goodReply[:len(goodReply)-4], false},
		{"addresses of another length", strings.Replace(goodReply, "06 04", "08 02", 1), false},
		{"nothing", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, mac, ok := packetWire{proto: neighbor.ARP()}.read(frameOf(t, c.frame))
			if ok != c.want || ok && (addr.String() != "192.0.2.1" || mac != peerMAC()) {
				t.Errorf("%s has %s: %t", net.HardwareAddr(mac[:]), addr, ok)
			}
		})
	}
}

// FuzzReadAnswer checks that read does not panic, does not change the frame, and returns only
// addresses that are in it.
func FuzzReadAnswer(f *testing.F) {
	f.Add(frameOf(f, goodReply))
	f.Add(frameOf(f, strings.Replace(goodReply, "06 04", "04 06", 1)))
	f.Add(make([]byte, 128))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		addr, mac, ok := packetWire{proto: neighbor.ARP()}.read(b)
		if !bytes.Equal(before, b) {
			t.Errorf("changed %x into %x", before, b)
		}
		if ok && (!addr.Is4() || !bytes.Contains(b, slices.Concat(mac[:], addr.AsSlice()))) {
			t.Errorf("%s has %s, in %x", net.HardwareAddr(mac[:]), addr, b)
		}
	})
}
