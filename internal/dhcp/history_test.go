package dhcp_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/dhcp"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// Whatever messages are lost, however often the program restarts, and whatever Services do: what the program lists, the server
// has leased to that client, and no two Services have one address. In the end all that is asked for
// is there, and what was given back is not.
func TestHistories(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { live(newLink(t), rand.New(rand.NewPCG(seed, 1))) })
	}
}

// live lives through one history.
func live(l *link, random *rand.Rand) {
	l.random = rand.New(rand.NewPCG(random.Uint64(), 1))
	l.servers[0].Lease = 10 * time.Minute
	losses := random.IntN(3) * 20 // of a hundred messages, and as many answers
	l.lose = func(dhcp.Message) bool { return random.IntN(100) < losses }
	uids, asks := [3]int{}, map[string]ledger.Request{} // of three names; what they ask for
	for range 60 {
		n := random.IntN(3)
		r := request(fmt.Sprint(n, ".", uids[n]), "")
		r.Name = fmt.Sprint("web", n)
		if random.IntN(3) == 0 {
			r.Family = ipam.IPv6
		}
		at := fmt.Sprint(r.UID, r.Family)
		switch random.IntN(9) {
		case 0:
			uids[n]++ // the Service is created again
		case 1:
			for _, a := range l.state.List(cluster) {
				if a.UID == r.UID && ipam.FamilyOf(a.Addr) == r.Family {
					l.state.Release(cluster, r.UID, a.Addr, l.now)
				}
			}
			delete(asks, at)
		case 2:
			l.restart()
		case 3:
			l.servers[0].Away = !l.servers[0].Away
		case 4:
			l.pass(time.Duration(random.IntN(600)) * time.Second)
		default:
			if random.IntN(3) == 0 && r.Family == ipam.IPv4 {
				r.Addr = netip.MustParseAddr(fmt.Sprint("192.0.2.", 10+random.IntN(3)))
			}
			asks[at] = r
			_, _ = l.state.Allocate(r, l.now)
		}
		l.pass(time.Duration(random.IntN(20)) * time.Second)
		l.agree()
	}
	l.lose, l.servers[0].Away = nil, false
	l.pass(3 * time.Minute)
	l.agree()
	for _, r := range asks {
		if strings.HasSuffix(r.UID, fmt.Sprint(".", uids[int(r.UID[0]-'0')])) && r.Family == ipam.IPv4 {
			r.Addr = netip.Addr{}
			_, err := l.asks(r)
			var pending *dhcp.PendingError
			if errors.As(err, &pending) && len(l.servers[0].Leased()) < 3 {
				l.Errorf("%s has nothing: %v", r.UID, err)
			}
		}
	}
	l.agree()
}

// agree checks that the program and the server say the same.
func (l *link) agree() {
	l.Helper()
	holders := map[netip.Addr]string{}
	for _, a := range l.state.List(cluster) {
		if other := holders[a.Addr]; other != "" {
			l.Errorf("%s and %s have %s", other, a.UID, a.Addr)
		}
		if holders[a.Addr] = a.UID; l.servers[0].Client(a.Addr) != l.clients[a.Addr] {
			l.Errorf("%s has %s, and the server has leased it to %x, not %x", a.UID, a.Addr, l.servers[0].Client(a.Addr), l.clients[a.Addr])
		}
	}
}
