package source

import (
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// histories is how many random ones there are.
func histories(t *testing.T) int64 {
	n, err := strconv.ParseInt(os.Getenv("SOURCE_HISTORIES"), 10, 64)
	if err != nil && os.Getenv("SOURCE_HISTORIES") != "" {
		t.Fatal(err)
	}
	return max(n, 200)
}

// history is Services that come and go, a State, and an IPAM that is slow, loses answers, refuses, lies and
// forgets.
type history struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Time
	ledger  *ledger.Ledger
	state   State
	target  *Target
	has     map[string]netip.Addr // by uid; zero: it waits
	kept    map[netip.Addr]time.Time
	outside netip.Addr // that the pool does not have for now
	born    int
	flight  []flight
	quiet   bool // nothing goes wrong any more
	lies    bool
	began   uint64 // the last call before the present term
	log     []string
}

// flight is a call that is under way.
type flight struct {
	Call
	at time.Time
}

const graceTime = 20 * time.Second

func newLedger() *ledger.Ledger {
	return ledger.New(map[string][]ipam.Range{"lan": {{First: netip.MustParseAddr("192.0.2.10"), Last: netip.MustParseAddr("192.0.2.13")}}}, nil)
}

func newHistory(t *testing.T, seed int64) *history {
	h := &history{
		t: t, rng: rand.New(rand.NewSource(seed)), now: time.Unix(1000, 0), ledger: newLedger(), has: map[string]netip.Addr{}, kept: map[netip.Addr]time.Time{},
		target: &Target{Pool: "lan", Endpoint: "ipam:1", Timeout: 5 * time.Second, Grace: graceTime, Revision: "1"},
	}
	h.lies = h.rng.Intn(3) == 0
	return h
}

func (h *history) logf(format string, args ...any) {
	h.log = append(h.log, h.now.Format("05.000 ")+fmt.Sprintf(format, args...))
}

func (h *history) failf(format string, args ...any) {
	h.t.Helper()
	h.t.Errorf(format, args...)
}

// holder returns who has a; "": no Service.
func (h *history) holder(a netip.Addr) string {
	for uid, x := range h.has {
		if x == a && a.IsValid() {
			return uid
		}
	}
	return ""
}

func (h *history) inUse(a netip.Addr) bool {
	return h.holder(a) != "" || h.now.Before(h.kept[a])
}

// pass gives Services what the IPAM hands out, and asks.
func (h *history) pass() time.Duration {
	h.state.Set([]*Target{h.target})
	var claims []Claim
	uids := []string{}
	for uid := range h.has {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	for _, uid := range uids {
		c := Claim{Key: Key{uid, ipam.IPv4}, Pool: "lan"}
		if !h.has[uid].IsValid() {
			for _, o := range h.state.Offers(uid) {
				switch {
				case !o.Addr.IsValid():
				case h.inUse(o.Addr):
					c.Refused, c.Cause = o.Addr, "hands out what another has"
				case o.Addr == h.outside:
					c.Refused, c.Cause = o.Addr, "hands out what the pool does not have"
				default:
					h.has[uid] = o.Addr
					h.logf("%s has %s", uid, o.Addr)
				}
			}
		}
		c.Addr, c.Held = h.has[uid], h.has[uid].IsValid()
		claims = append(claims, c)
	}
	calls, again := h.state.Pass(Input{
		Now: h.now, Cluster: "c", Claims: claims, InUse: func(a netip.Addr, _ ipam.Key) bool { return h.inUse(a) },
		Alive: func(uid string) bool { _, there := h.has[uid]; return there },
	})
	for _, c := range calls {
		for _, other := range h.flight {
			if other.Kind == c.Kind && other.Key == c.Key && other.number > h.began {
				h.failf("two calls at once: %v and %v", other.Call, c)
			}
		}
		if c.Kind == Release && h.holder(c.Addr) == c.UID {
			h.failf("it gives back %s, which %s has", c.Addr, c.UID)
		}
		another := h.holder(c.Addr) != "" && h.holder(c.Addr) != c.UID
		if c.Kind == Release && h.inUse(c.Addr) && !another {
			h.failf("it gives back %s, which is in use", c.Addr)
		}
		delay := time.Duration(h.rng.Intn(300)) * time.Millisecond
		if !h.quiet && h.rng.Intn(5) == 0 {
			delay = time.Duration(h.rng.Intn(6000)) * time.Millisecond
		}
		h.logf("%s %s %s", c.Kind, c.UID, c.Addr)
		h.flight = append(h.flight, flight{c, h.now.Add(delay)})
	}
	return again
}

// answer has the IPAM do a call, and its answer come, or not.
func (h *history) answer(f flight) {
	a := Answer{Call: f.Call}
	bad := 0
	if !h.quiet {
		bad = h.rng.Intn(12)
	}
	switch {
	case bad == 1: // it does not get there
		a.Failure, a.Text = Unavailable, "can't be reached"
	case bad == 2 && f.Kind != List:
		a.Failure, a.Text = Refused, "answers: no"
	case f.Kind == List:
		for _, x := range h.ledger.List("c") {
			a.Held = append(a.Held, Allocation{Key{x.UID, ipam.FamilyOf(x.Addr)}, x.Pool, x.Addr})
		}
		if h.lies && !h.quiet && bad == 4 {
			a.Held = nil
		}
	case f.Kind == Allocate:
		x, _, err := h.ledger.Allocate(ledger.Request{Cluster: "c", Pool: f.Pool, Holder: ledger.Holder{UID: f.UID}, Family: f.Family, Addr: f.Addr, Replaces: f.Replaces})
		a.Given, a.Of = x.Addr, x.Pool
		if err != nil {
			a.Given, a.Failure, a.Text = netip.Addr{}, Refused, err.Error()
		}
		if h.lies && !h.quiet && err == nil && bad == 5 {
			a.Given = netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 10+h.rng.Intn(4)))
		}
	default:
		if h.holder(f.Addr) == f.UID && f.number > h.began {
			h.failf("it gives back %s, which %s has by now", f.Addr, f.UID)
		}
		h.ledger.Release("c", f.UID, f.Addr)
	}
	if bad == 3 {
		a.Failure, a.Text, a.Given = Slow, "did not answer", netip.Addr{}
	}
	h.logf("  %s %s %s: %s %s, %d", f.Kind, f.UID, f.Addr, a.Given, a.Text, a.Failure)
	h.state.Done(a, h.now)
}

// step lets something happen.
func (h *history) step() {
	switch h.rng.Intn(8) {
	case 0, 1:
		h.born++
		h.has[fmt.Sprint("u", h.born)] = netip.Addr{}
	case 2, 3:
		for uid, a := range h.has { // any
			h.logf("%s goes", uid)
			delete(h.has, uid)
			if a.IsValid() && h.rng.Intn(2) == 0 {
				h.kept[a] = h.now.Add(graceTime)
			}
			break
		}
	case 4:
		for a, until := range h.kept { // its Service is created again
			if h.now.Before(until) && h.holder(a) == "" {
				h.born++
				h.has[fmt.Sprint("u", h.born)] = a
				h.logf("u%d has %s again", h.born, a)
				delete(h.kept, a)
			}
			break
		}
	case 5:
		h.logf("a new term")
		h.state.Reset()
		h.began = h.state.calls
		if h.rng.Intn(2) == 0 {
			h.flight = nil // the process is another one
		}
	case 6:
		h.state.Changed("ipam:1")
	case 7:
		h.outside = netip.Addr{}
		if h.rng.Intn(2) == 0 {
			h.outside = netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 10+h.rng.Intn(4)))
		}
		h.logf("the pool does not have %s", h.outside)
	}
}

// live lets time pass.
func (h *history) live(d time.Duration) {
	for end := h.now.Add(d); h.now.Before(end); h.now = h.now.Add(100 * time.Millisecond) {
		due := h.flight
		h.flight = nil
		for _, f := range due {
			if f.at.After(h.now) {
				h.flight = append(h.flight, f)
				continue
			}
			h.answer(f)
		}
		h.pass()
	}
}

// TestHistories: whatever an IPAM does, no address is given back that a Service has, and in the end it holds
// exactly what Services have.
func TestHistories(t *testing.T) {
	for seed := range histories(t) {
		h := newHistory(t, seed)
		for range 3 + h.rng.Intn(12) {
			h.step()
			h.live(time.Duration(h.rng.Intn(8000)) * time.Millisecond)
		}
		h.quiet, h.outside = true, netip.Addr{}
		h.live(graceTime + 5*time.Minute)
		want, have := map[string]netip.Addr{}, map[string]netip.Addr{}
		for uid, a := range h.has {
			if a.IsValid() {
				want[uid] = a
			}
		}
		for _, x := range h.ledger.List("c") {
			have[x.UID] = x.Addr
		}
		if fmt.Sprint(want) != fmt.Sprint(have) {
			h.failf("Services have %v, the IPAM holds %v", want, have)
		}
		if waiting := len(h.has) - len(want); waiting > 0 && len(want) < 4 {
			h.failf("%d Services wait, and %d addresses are free", waiting, 4-len(want))
		}
		if t.Failed() {
			for _, line := range h.log {
				t.Log(line)
			}
			t.Fatalf("seed %d", seed)
		}
	}
}
