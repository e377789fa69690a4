package bgp

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// A router that takes no more routes is left alone, instead of all going up and down, until
// there are fewer.

func TestALimitOfPrefixesOfBIRD4(t *testing.T) { testLimitOfBIRD(t, "r4", "ipv4", ends4()) }
func TestALimitOfPrefixesOfBIRD6(t *testing.T) { testLimitOfBIRD(t, "r6", "ipv6", ends6()) }
func TestALimitOfPrefixesOfFRR4(t *testing.T)  { testLimitOfFRR(t, "ipv4", ends4()) }
func TestALimitOfPrefixesOfFRR6(t *testing.T)  { testLimitOfFRR(t, "ipv6", ends6()) }

func testLimitOfBIRD(t *testing.T, neighbor, family string, e ends) {
	if !inRack(t) {
		return
	}
	router := startBird(t, strings.ReplaceAll(birdFour, family+" { import all;", family+" { receive limit 2 action restart; import all;"))
	waitsForFewer(t, e, func() {
		if out, err := router.ask("restart", neighbor); err != nil { // without the time that BIRD waits after an error
			t.Fatal(out, err)
		}
	})
	router.counts(t, neighbor, 2)
}

func testLimitOfFRR(t *testing.T, family string, e ends) {
	if !inRack(t) {
		return
	}
	router := startFRR(t, os.Getenv(routerNS), frrHead+fmt.Sprintf(`
 neighbor %s remote-as 64512
 neighbor %[1]s passive
%s address-family %s unicast
  neighbor %[1]s maximum-prefix 2
 exit-address-family
`, e.plain, activate(e.plain), family), "")
	waitsForFewer(t, e, func() {
		if _, err := router.ask("clear bgp *"); err != nil {
			t.Fatal(err)
		}
	})
	router.path(t, family, e.prefixes[0])
}

// waitsForFewer offers more routes than the router takes, and then fewer.
func waitsForFewer(t *testing.T, e ends, reset func()) {
	t.Helper()
	s, _ := startSessions(t)
	p := peer("p", e.router)
	p.SourceAddr = netip.MustParseAddr(e.plain)
	two := e.prefixes[:2]
	s.Set([]announce.Peering{{Peer: p, Routes: routes(two...)}})
	establish(t, s, "p")
	five := append(slices.Clone(e.prefixes[:]), strings.Replace(e.prefixes[0], "1/", "5/", 1)) // FRR looks at the count before each
	s.Set([]announce.Peering{{Peer: p, Routes: routes(five...)}})
	fails(t, s, "p", `"maximum number of prefixes reached"`)
	reset()
	for range 50 { // a second is the pause after other losses
		if st := state(s, "p"); st.Session != Idle || st.DropsBy["PrefixLimit"] != 1 || st.Drops != 1 {
			t.Fatalf("%+v", st)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.Set([]announce.Peering{{Peer: p, Routes: routes(two...)}})
	eventually(t, "the session is back", func() error {
		if st := state(s, "p"); st.Session != Established {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}
