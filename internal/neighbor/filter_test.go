package neighbor

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
)

func TestFilterDropsWhatConcernsNoHost(t *testing.T) {
	asker := Station{MAC: askerMAC}
	other4, other6 := netip.MustParseAddr("192.0.2.101"), netip.MustParseAddr("2001:db8::101")
	routed := seedNDP(addr6, ndp.NewNonce())
	routed[21] = 254
	echo := seedNDP(addr6, ndp.NewNonce())
	echo[54] = 128
	cases := []struct {
		name  string
		p     Protocol
		frame []byte
		want  bool
	}{
		{"ARP sees requests", ARP(), seedARP(addr4), true},
		{"ARP sees probes", ARP(), probeARP(addr4, asker), true},
		{"ARP sees announcements by others, both forms", ARP(), announceARP(addr4, asker)[0], true},
		{"ARP sees announcements by others, both forms", ARP(), announceARP(addr4, asker)[1], true},
		{"ARP doesn't see requests for others", ARP(), seedARP(other4), false},
		{"ARP doesn't see announcements of others", ARP(), announceARP(other4, asker)[1], false},
		{"ARP doesn't see IPv6", ARP(), announceNDP(addr6, asker)[0], false},
		{"NDP sees solicitations", NDP(), seedNDP(addr6, ndp.NewNonce()), true},
		{"NDP sees advertisements", NDP(), announceNDP(addr6, asker)[0], true},
		{"NDP doesn't see solicitations of others", NDP(), seedNDP(other6, ndp.NewNonce()), false},
		{"NDP doesn't see what came through a router", NDP(), routed, false},
		{"NDP doesn't see other messages", NDP(), echo, false},
		{"NDP doesn't see ARP", NDP(), seedARP(addr4), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := passes(t, c.p, []netip.Addr{addr4, addr6}[index(c.p):][:1], c.frame); got != c.want {
				t.Errorf("passes = %t, want %t", got, c.want)
			}
		})
	}
}

func index(p Protocol) int {
	if p.Name == "NDP" {
		return 1
	}
	return 0
}

// TestFilterAgreesWithTable compares the filter, run by a virtual machine, with a
// plain set, on addresses that are in it, beside it, and anywhere.
func TestFilterAgreesWithTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range []Protocol{ARP(), NDP()} {
		for _, n := range []int{0, 1, 2, 15, 16, 17, 33, 100, 665, 1000, FullFilter, 5000, 20_000} {
			for _, spread := range []uint32{2, 50, 1 << 20} {
				t.Run(fmt.Sprintf("%s, %d addresses, about %d apart", p.Name, n, spread), func(t *testing.T) {
					testFilterAgrees(t, rng, p, n, spread)
				})
			}
		}
	}
}

func testFilterAgrees(t *testing.T, rng *rand.Rand, p Protocol, n int, spread uint32) {
	addrs, set := make([]netip.Addr, n), map[netip.Addr]bool{}
	var last uint32 = rng.Uint32()
	for i := range addrs {
		last += 1 + rng.Uint32N(spread)
		addrs[i] = nth(p, last)
		set[addrs[i]] = true
	}
	rng.Shuffle(n, func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	program := p.Filter(1, addrs, FullFilter)
	if len(program) > 4096 {
		t.Fatalf("%d instructions, the kernel takes 4096", len(program))
	}
	if _, err := bpf.Assemble(program); err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(program[PreambleLen:])
	if err != nil {
		t.Fatal(err)
	}
	check := func(addr netip.Addr) {
		frames, exact := [][]byte{ask(p, addr)}, []bool{n <= FullFilter}
		for _, f := range p.Announce(addr, Station{MAC: askerMAC}) {
			frames, exact = append(frames, f), append(exact, n <= FullFilter/senderShare)
		}
		for i, f := range frames {
			got, err := vm.Run(f)
			if err != nil {
				t.Fatal(err)
			}
			if set[addr] && got == 0 {
				t.Errorf("frame %d about %v is dropped, but it is claimed", i, addr)
			} else if !set[addr] && got > 0 && exact[i] {
				t.Errorf("frame %d about %v passes, but it is not claimed", i, addr)
			}
		}
	}
	for i := range min(n, 300) {
		check(addrs[i])
		check(addrs[i].Next())
		check(addrs[i].Prev())
	}
	wrong := 0
	for range 300 {
		check(nth(p, rng.Uint32()))
		if addr := nth(p, rng.Uint32()); !set[addr] {
			if got, _ := vm.Run(ask(p, addr)); got > 0 {
				wrong++
			}
		}
	}
	// With evenly spread addresses hardly any gap is wide: that is the worst case.
	if wrong > 10 && spread < 1<<20 {
		t.Errorf("%d of 300 foreign addresses pass", wrong)
	}
}

// nth returns an address that ends in these bits.
func nth(p Protocol, bits uint32) netip.Addr {
	b := [16]byte{0x20, 1, 0xd, 0xb8, 12: byte(bits >> 24), byte(bits >> 16), byte(bits >> 8), byte(bits)}
	if p.Name == "ARP" {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

func ask(p Protocol, addr netip.Addr) []byte {
	if p.Name == "ARP" {
		return seedARP(addr)
	}
	return seedNDP(addr, ndp.NewNonce())
}

func TestLowerLimitsGiveShorterFilters(t *testing.T) {
	var addrs []netip.Addr
	for i := range uint32(FullFilter) {
		addrs = append(addrs, nth(ARP(), 1000*i))
	}
	before := 4096
	for limit := FullFilter; limit >= 1; limit /= 2 {
		f := filterARP(1, addrs, limit)
		if len(f) >= before || len(f) > 50+2*limit {
			t.Errorf("limit %d: %d instructions, after %d", limit, len(f), before)
		}
		before = len(f)
		if limit < 4 {
			break // nothing is left to leave out
		}
	}
}

func TestLimiter(t *testing.T) {
	ask := func(mac byte, unicast bool) Message {
		return Message{Sender: net.HardwareAddr{2, 0, 0, 0, 0, mac}, Unicast: unicast}
	}
	l, now := NewLimiter(), start
	allowed := func(m Message, n int) (yes int) {
		for range n {
			if l.Allow(m, now, 50, PerSecond) {
				yes++
			}
		}
		return yes
	}
	if got := allowed(ask(1, false), 1000); got != 51 {
		t.Errorf("a burst of 1000 questions got %d answers, want 51", got)
	}
	if got := allowed(ask(2, false), 10); got != 10 {
		t.Errorf("another station got %d answers to 10 questions", got)
	}
	if got := allowed(ask(1, true), 10); got != 10 {
		t.Errorf("unicast questions got %d answers to 10", got)
	}
	now = now.Add(100 * time.Millisecond)
	if got := allowed(ask(1, false), 1000); got != 10 {
		t.Errorf("after 100 ms there were %d more answers, want 10", got)
	}
	now = now.Add(time.Hour)
	if got := allowed(ask(1, false), 1000); got != 51 {
		t.Errorf("after an hour, a burst of 1000 questions got %d answers, want 51", got)
	}
}

// A thousand forged stations that ask all they can make no other host's questions fail.
func TestLimiterIsFair(t *testing.T) {
	l, now := NewLimiter(), start
	ask := func(kind byte, n int) bool {
		return l.Allow(Message{Sender: net.HardwareAddr{2, kind, 0, 0, byte(n >> 8), byte(n)}}, now, 50, PerSecond)
	}
	forged := 0
	for range 500 { // 5 s
		for n := range 1000 {
			for range 3 {
				if ask(1, n) {
					forged++
				}
			}
		}
		now = now.Add(10 * time.Millisecond)
	}
	if most := 1000 * (51 + 500); forged > most {
		t.Errorf("the forged stations got %d answers, at most %d wanted", forged, most)
	}
	for n := range 1000 {
		if !ask(2, n) {
			t.Errorf("station %d got no answer to its first question", n)
		}
	}
}
