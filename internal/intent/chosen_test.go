package intent_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/stories"
)

// choosingAt is the time of the stories.
var choosingAt = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// TestWhichAddressesAreChosen runs stories of reservations that name a size. Beside objects, as in other stories, a
// line tells what a Service has, what was chosen before, what is kept, or what something else has.
func TestWhichAddressesAreChosen(t *testing.T) { stories.Run(t, "testdata/chosen.txt", chosenStory) }

func chosenStory(t *testing.T, given, want string) {
	x := intent.Choosing{Before: map[string][]netip.Addr{}, Users: map[netip.Addr][]*corev1.Service{}, Kept: map[netip.Addr]bool{}, Occupied: &ipam.Occupied{Addrs: map[netip.Addr]ipam.Occupant{}}}
	var objects []string
	for line := range strings.Lines(given) {
		switch words := strings.Fields(line); words[0] {
		case "has":
			ns, name, _ := strings.Cut(words[1], "/")
			a := netip.MustParseAddr(words[2])
			x.Users[a] = append(x.Users[a], service(ns, name, nil))
		case "before":
			for _, a := range words[2:] {
				x.Before[words[1]] = append(x.Before[words[1]], netip.MustParseAddr(a))
			}
		case "kept":
			x.Kept[netip.MustParseAddr(words[1])] = true
		case "occupied":
			x.Occupied.Addrs[netip.MustParseAddr(words[1])] = ipam.Occupant{Name: "an address of a host", Foreign: true}
		default:
			objects = append(objects, line)
		}
	}
	c := intent.Parse(parse(t, strings.Join(objects, "")))
	reserved := c.Reserved(choosingAt, nil, x)
	if have := chosenText(&c, reserved, x); have != want {
		t.Errorf("want -, have +:\n%s", gocmp.Diff(want, have))
	}
	if again := c.Reserved(choosingAt, reserved, x); again != reserved {
		t.Error("what is the same counts as a change")
	}
	x.Before = reserved.Chosen(nil)
	if have := chosenText(&c, c.Reserved(choosingAt, nil, x), x); have != want {
		t.Errorf("chosen once more, want -, have +:\n%s", gocmp.Diff(want, have))
	}
}

// chosenText tells what each reservation has, and what its condition says.
func chosenText(c *intent.Config, reserved *intent.Reserved, x intent.Choosing) string {
	var lines []string
	uses := c.Uses(choosingAt, reserved, func(a netip.Addr) []*corev1.Service { return x.Users[a] })
	for _, r := range c.Reservations {
		addrs := slices.Concat(r.Addrs, uses[r.Name].Chosen)
		lines = append(lines, fmt.Sprintf("%s %v", r.Name, addrs))
		if f := uses[r.Name].Accepted; f.Reason != "" {
			lines = append(lines, fmt.Sprintf("%s %s: %s", r.Name, f.Reason, f.Message))
		}
	}
	return strings.Join(lines, "\n")
}

// TestTheRuleOfChosenAddresses tries random worlds of one pool and two reservations that name sizes of it, by the
// rule in words: what is chosen is the pool's, never twice, never what only others have, never more than
// the size, and less only where no address is left. What was chosen, and may stay, stays. The order of Services
// decides nothing.
func TestTheRuleOfChosenAddresses(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	pool := make([]netip.Addr, 12)
	for i := range pool {
		pool[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)})
	}
	for range 3000 {
		sizes := map[string]int{"old": 1 + rng.IntN(6), "young": 1 + rng.IntN(6)}
		c := intent.Parse(parse(t, fmt.Sprintf(`
IPAddressPool lan {addresses: [192.0.2.10-192.0.2.21]}
AddressReservation old {size: {pool: lan, ipv4: %d}, namespace: a}
AddressReservation young {size: {pool: lan, ipv4: %d}, namespace: b}
`, sizes["old"], sizes["young"])))
		x := intent.Choosing{Before: map[string][]netip.Addr{}, Users: map[netip.Addr][]*corev1.Service{}, Kept: map[netip.Addr]bool{}, Occupied: &ipam.Occupied{Addrs: map[netip.Addr]ipam.Occupant{}}}
		for i, a := range pool {
			for range rng.IntN(3) * rng.IntN(2) {
				x.Users[a] = append(x.Users[a], service([]string{"a", "b", "c"}[rng.IntN(3)], fmt.Sprint("s", i, len(x.Users[a])), nil))
			}
			x.Kept[a] = rng.IntN(6) == 0
			if rng.IntN(6) == 0 {
				x.Occupied.Addrs[a] = ipam.Occupant{Name: "a host", Foreign: true}
			}
		}
		for name := range sizes {
			for _, i := range rng.Perm(len(pool))[:rng.IntN(6)] {
				x.Before[name] = append(x.Before[name], pool[i])
			}
		}
		chosen := c.Reserved(choosingAt, nil, x).Chosen(nil)
		if text := brokenRule(x, pool, sizes, chosen); text != "" {
			t.Fatalf("%s:\nsizes %v\nbefore %v\nusers %v\nkept %v\noccupied %v\nchosen %v", text, sizes, x.Before, x.Users, x.Kept, x.Occupied.Addrs, chosen)
		}
		for _, of := range x.Users {
			slices.Reverse(of)
		}
		if again := c.Reserved(choosingAt, nil, x).Chosen(nil); gocmp.Diff(chosen, again, gocmp.Comparer(func(a, b netip.Addr) bool { return a == b })) != "" {
			t.Fatalf("another order of Services: %v, and before %v", again, chosen)
		}
	}
}

// brokenRule says which rule is broken; "": none is.
func brokenRule(x intent.Choosing, pool []netip.Addr, sizes map[string]int, chosen map[string][]netip.Addr) string {
	taken := map[netip.Addr]string{}
	for _, name := range []string{"old", "young"} {
		namespace := map[string]string{"old": "a", "young": "b"}[name]
		used := func(a netip.Addr) bool {
			return slices.ContainsFunc(x.Users[a], func(svc *corev1.Service) bool { return svc.Namespace == namespace })
		}
		may := func(a netip.Addr) bool { // have it at all
			_, occupied := x.Occupied.Addrs[a]
			return taken[a] == "" && (used(a) || len(x.Users[a]) == 0 && !occupied)
		}
		stays := 0
		for _, a := range x.Before[name] {
			if may(a) {
				stays++
			}
		}
		has := chosen[name]
		for i, a := range has {
			switch {
			case !slices.Contains(pool, a), slices.Contains(has[:i], a):
				return fmt.Sprintf("%s has %s", name, a)
			case !may(a):
				return fmt.Sprintf("%s has %s, which it may not have", name, a)
			case x.Kept[a] && !used(a) && !slices.Contains(x.Before[name], a):
				return fmt.Sprintf("%s has %s, which is kept", name, a)
			}
		}
		if len(has) > sizes[name] {
			return name + " has too many"
		}
		for _, a := range pool {
			was := slices.Contains(x.Before[name], a)
			switch {
			case slices.Contains(has, a) || !may(a):
			case was && stays <= sizes[name]:
				return fmt.Sprintf("%s lost %s", name, a)
			case len(has) < sizes[name] && (used(a) || !x.Kept[a]) && !elsewhere(x, a, name):
				return fmt.Sprintf("%s has too few, and %s is left", name, a)
			}
		}
		for _, a := range has {
			taken[a] = name
		}
	}
	return ""
}

// elsewhere reports whether an address was chosen for the other reservation.
func elsewhere(x intent.Choosing, a netip.Addr, name string) bool {
	return slices.ContainsFunc([]string{"old", "young"}, func(other string) bool { return other != name && slices.Contains(x.Before[other], a) })
}
