package bgp

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// A router that takes no more routes is left alone, instead of all going up and down, until
// there are fewer.
func TestALimitOfPrefixesIsNoFlap(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, strings.ReplaceAll(birdFour, "ipv4 { import all;", "ipv4 { receive limit 2 action restart; import all;"))
	waitsForFewer(t, func() {
		if out, err := router.ask("restart", "r4"); err != nil { // without the time that BIRD waits after an error
			t.Fatal(out, err)
		}
	})
	router.counts(t, "r4", 2)
}

func TestALimitOfPrefixesOfFRR(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startFRR(t, os.Getenv(routerNS), frrHead+`
 neighbor 10.9.0.2 remote-as 64512
 neighbor 10.9.0.2 passive
`+activate("10.9.0.2")+` address-family ipv4 unicast
  neighbor 10.9.0.2 maximum-prefix 2
 exit-address-family
`, "")
	waitsForFewer(t, func() {
		if _, err := router.ask("clear bgp *"); err != nil {
			t.Fatal(err)
		}
	})
	router.path(t, "ipv4", "198.51.100.1/32")
}

// waitsForFewer offers more routes than the router takes, and then fewer.
func waitsForFewer(t *testing.T, reset func()) {
	t.Helper()
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "198.51.100.2/32")}})
	establish(t, s, "p")
	five := routes("198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32", "198.51.100.4/32", "198.51.100.5/32") // FRR looks at the count before each
	s.Set([]announce.Peering{{Peer: p, Routes: five}})
	fails(t, s, "p", `"maximum number of prefixes reached"`)
	reset()
	for range 50 { // a second is the pause after other losses
		if st := state(s, "p"); st.Session != Idle || st.DropsBy["PrefixLimit"] != 1 || st.Drops != 1 {
			t.Fatalf("%+v", st)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "198.51.100.2/32")}})
	eventually(t, "the session is back", func() error {
		if st := state(s, "p"); st.Session != Established {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}
