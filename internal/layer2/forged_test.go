package layer2

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"
)

// lineLog counts lines. The zero value is ready.
type lineLog struct{ n atomic.Int64 }

func (l *lineLog) Write(b []byte) (int, error) {
	l.n.Add(int64(bytes.Count(b, []byte("\n"))))
	return len(b), nil
}

// forged is what the n-th of many machines says.
func forged(n int, source string) []byte {
	b := net.HardwareAddr{2, 0xf0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[2:], uint32(n))
	return question{mac: b.String(), source: source, target: "192.0.2.1"}.arp()
}

// One host that says in many names that it has an address makes this node tell that
// a few times, for each address and for all together.
func TestForgedFramesAreToldSeldom(t *testing.T) {
	vips := make([]string, 250)
	for i := range vips {
		vips[i] = fmt.Sprintf("198.51.100.%d", i+1)
	}
	for _, c := range []struct {
		name           string
		machines       int
		vips           []string
		updates, lines int // at most
		foreign        int // shown of the first address
	}{
		{"two that take turns", 2, vips[:1], 2, 2, 2},
		{"another each time", 1 << 20, vips[:1], maxForeign, maxForeign, maxForeign},
		{"another each time, for all addresses", 1 << 20, vips, reportBurst + 10*reportsPerSecond, reportBurst + 10*reportsPerSecond, maxForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
				a.Set(claimsFor(c.vips...))
				f.lately(5 * time.Second)
				updates := 0
				for i := range 10_000 {
					f.in <- forged(i%c.machines, c.vips[i%len(c.vips)])
					f.lately(time.Millisecond)
					select {
					case <-a.stateChanged:
						updates++
					default:
					}
				}
				if updates == 0 || updates > c.updates || f.log.n.Load() == 0 || f.log.n.Load() > int64(c.lines) {
					t.Errorf("10,000 frames in 10 s: told %d times, at most %d wanted, and %d lines in the log, at most %d wanted", updates, c.updates, f.log.n.Load(), c.lines)
				}
				if got := a.Addresses()[0]; got.State != Announced || len(got.Foreign) > c.foreign || len(got.Foreign) == 0 {
					t.Errorf("standing %+v", got)
				}
			})
		})
	}
}

// What is not told for lack of room counts all the same: the address is not announced.
func TestForeignHostThatIsNotToldCounts(t *testing.T) {
	onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		for a.mayReport() {
		}
		a.Set(newClaims(vip4))
		f.lately(10 * time.Millisecond)
		f.in <- foreignSays(vip4)
		f.lately(600 * time.Millisecond)
		if got := standing(a); got != vip4+" Probing" || len(a.stateChanged) != 0 {
			t.Errorf("standing %s, told %d times", got, len(a.stateChanged))
		}
		f.lately(time.Second) // there is room again
		f.in <- foreignSays(vip4)
		f.take()
		if got := standing(a); got != vip4+" Conflict "+foreignMAC+" n0" || len(a.stateChanged) == 0 {
			t.Errorf("standing %s", got)
		}
	})
}

// RFC 5227 2.1.1: a probe of another host ends the trial. But only the first: one
// every now and then would keep the address unannounced.
func TestProbesOfOthersDelayOnce(t *testing.T) {
	for _, fam := range []family{ipv4, ipv6} {
		t.Run(string(fam), func(t *testing.T) {
			onFake(t, Options{}, fam, func(t *testing.T, a *Announcer, f *fakeWire) {
				probe, vip := question{mac: foreignMAC, source: "0.0.0.0"}.arp(), vip4
				if fam == ipv6 {
					probe, vip = question{mac: foreignMAC, source: "::", options: []ndp.Option{}}.ndp(), vip6
				}
				a.Set(newClaims(vip))
				f.lately(10 * time.Millisecond)
				f.in <- probe
				if got := strings.Join(f.lately(490*time.Millisecond), "\n"); got != "" {
					t.Errorf("after a probe of another host: %s", got)
				}
				sent := 0
				for range 26 { // 2.6 s
					f.in <- probe
					sent += len(f.lately(100 * time.Millisecond))
				}
				if got := standing(a); got != vip+" Announced" || sent < 4 {
					t.Errorf("standing %s, %d frames sent", got, sent)
				}
			})
		})
	}
}

// Two clusters try one address at the same moment: in the end one has it, and the
// other says who.
func TestTwoTryAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		a, f := startFake(ctx, &running, Options{}, ipv4, nodeMAC)
		b, g := startFake(ctx, &running, Options{}, ipv4, "02:00:00:00:00:0d")
		relay := func(to *fakeWire) func([]byte) {
			return func(frame []byte) {
				running.Go(func() {
					time.Sleep(time.Millisecond) // on the wire
					select {
					case to.in <- frame:
					case <-ctx.Done():
					}
				})
			}
		}
		f.hear, g.hear = relay(g), relay(f)
		a.Set(newClaims(vip4))
		b.Set(newClaims(vip4))
		time.Sleep(4 * time.Second)
		one, two := a.Addresses()[0].State, b.Addresses()[0].State
		if !(one == Announced && two == Conflict) && !(one == Conflict && two == Announced) {
			t.Errorf("after 4 s: %s and %s, want one that announces the address", standing(a), standing(b))
		}
		cancel()
		running.Wait()
	})
}
