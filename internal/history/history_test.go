package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// noon is when the stories of these tests begin.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func granted(at int, address, service string) v1beta1.AddressChange {
	return v1beta1.AddressChange{At: At(noon.Add(time.Duration(at) * time.Minute)), Address: address, Service: service, Change: v1beta1.ChangeGranted, Reason: v1beta1.ReasonAssigned}
}

func released(at int, address, service string) v1beta1.AddressChange {
	c := granted(at, address, service)
	c.Change, c.Reason = v1beta1.ChangeReleased, v1beta1.ReasonServiceGone
	return c
}

// texts are changes in short, the newest first.
func texts(of []v1beta1.AddressChange) (out []string) {
	for _, c := range of {
		out = append(out, fmt.Sprintf("%s %s %s", c.Change, c.Address, c.Service))
	}
	return out
}

func TestATrailHasTheNewestFirst(t *testing.T) {
	trail := Trail{}
	trail.Add("lan", granted(0, "192.0.2.1", "n/a"))
	trail.Add("lan", released(1, "192.0.2.1", "n/a"))
	trail.Add("lan", granted(2, "192.0.2.1", "n/b"))
	trail.Add("dmz", granted(3, "198.51.100.1", "n/c"))
	if d := cmp.Diff([]string{"Granted 192.0.2.1 n/b", "Released 192.0.2.1 n/a", "Granted 192.0.2.1 n/a"}, texts(trail["lan"])); d != "" {
		t.Error(d)
	}
	for _, c := range []struct{ pool, address, service, want string }{
		{"lan", "192.0.2.1", "n/b", "n/a"}, {"lan", "192.0.2.1", "n/a", ""}, {"lan", "192.0.2.2", "n/b", ""}, {"dmz", "192.0.2.1", "n/b", ""},
	} {
		if got := trail.Was(c.pool, c.address, c.service); got != c.want {
			t.Errorf("before %s %s of %s had %q, want %q", c.service, c.address, c.pool, got, c.want)
		}
	}
	trail.Keep(func(pool string) bool { return pool == "dmz" })
	if len(trail) != 1 || trail["lan"] != nil {
		t.Errorf("it has %v", trail)
	}
	Trail(nil).Add("lan", granted(0, "192.0.2.1", "n/a")) // does nothing
}

// A write that fails is made again; one that is refused did not come true.
func TestAChangeIsRememberedOnce(t *testing.T) {
	trail := Trail{}
	first := granted(0, "192.0.2.1", "n/a")
	trail.Add("lan", first)
	trail.Add("lan", granted(1, "192.0.2.1", "n/a"))
	trail.Add("lan", granted(2, "192.0.2.1", "n/b")) // they share it
	trail.Add("lan", granted(3, "192.0.2.1", "n/a"))
	before := trail["lan"]
	if d := cmp.Diff([]string{"Granted 192.0.2.1 n/b", "Granted 192.0.2.1 n/a"}, texts(before)); d != "" {
		t.Error(d)
	}
	trail.Forget("lan", first)
	trail.Forget("lan", first)
	trail.Forget("dmz", first)
	if d := cmp.Diff([]string{"Granted 192.0.2.1 n/b"}, texts(trail["lan"])); d != "" {
		t.Error(d)
	}
	if len(before) != 2 || before[1].Service != "n/a" {
		t.Errorf("what was handed out before has changed: %v", texts(before))
	}
}

// slow is a trail that remembers all, and counts when it is asked.
type slow map[string][]v1beta1.AddressChange

func (s slow) add(pool string, c v1beta1.AddressChange) {
	for _, x := range s.shown(pool) {
		if x.Address == c.Address && x.Service == c.Service {
			if x.Change == c.Change {
				return
			}
			break
		}
	}
	s[pool] = append(s[pool], c)
}

func (s slow) shown(pool string) (out []v1beta1.AddressChange) {
	of := map[string]int{}
	for _, c := range slices.Backward(s[pool]) {
		if of[c.Address]++; of[c.Address] <= v1beta1.MaxHistoryOfAddress && len(out) < v1beta1.MaxHistory {
			out = append(out, c)
		}
	}
	return out
}

func TestATrailIsBoundedAsASlowOneIs(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for range 50 {
		trail, twin := Trail{}, slow{}
		for at := range 300 {
			c := granted(at, fmt.Sprintf("192.0.2.%d", random.IntN(1+random.IntN(40))), fmt.Sprintf("n/%d", random.IntN(5)))
			if random.IntN(2) == 0 {
				c = released(at, c.Address, c.Service)
			}
			trail.Add("lan", c)
			twin.add("lan", c)
			if d := cmp.Diff(texts(twin.shown("lan")), texts(trail["lan"])); d != "" {
				t.Fatalf("after %s %s %s: want -, have +:\n%s", c.Change, c.Address, c.Service, d)
			}
		}
		again := Remembered([]v1beta1.IPAddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Status: v1beta1.IPAddressPoolStatus{History: trail["lan"]}}, {ObjectMeta: metav1.ObjectMeta{Name: "dmz"}}})
		if d := cmp.Diff(trail, again); d != "" {
			t.Fatalf("another replica remembers: %s", d)
		}
	}
}

func TestSucceed(t *testing.T) {
	of := v1beta1.L2ClaimStatus{}
	if got := Succeed(of, noon, v1beta1.ReasonHandover); len(got) != 0 {
		t.Errorf("before the first owner there was %v", got)
	}
	since := metav1.NewTime(noon)
	for i := range 12 {
		of.Node, of.Since = fmt.Sprint("node", i), &since
		of.FormerOwners = Succeed(of, noon.Add(time.Duration(i)*time.Minute), v1beta1.ReasonHandover)
	}
	if n := len(of.FormerOwners); n != v1beta1.MaxFormerOwners || of.FormerOwners[0].Node != "node11" || of.FormerOwners[n-1].Node != "node4" {
		t.Errorf("%d former owners: %+v", n, of.FormerOwners)
	}
}

// What the programs write into events is what is read there; others' text is no change.
func TestEventsAreReadAsTheyWereWritten(t *testing.T) {
	lost := Entry{At: noon, Address: "2001:db8::1", Change: v1beta1.ChangeReleased, Service: "shop/web", Node: "a.example", Pool: "lan", Reason: v1beta1.ReasonServiceGone, Source: FromEvent}
	alone := lost
	alone.Node = ""
	owned := Entry{At: noon, Address: "192.0.2.1", Change: Owned, Service: "shop/web", Node: "b", From: "a", Reason: v1beta1.ReasonNodeNotLive, Source: FromEvent}
	for _, c := range []struct {
		name  string
		event Event
		want  []Entry
	}{
		{"a release", Event{noon, "lan", v1beta1.ReasonReleased, lost.ReleasedText()}, []Entry{lost}},
		{"of an address that no node answered for", Event{noon, "lan", v1beta1.ReasonReleased, alone.ReleasedText()}, []Entry{alone}},
		{"a new owner", Event{noon, "shop/web", v1beta1.ReasonAnnounced, owned.OwnedText()}, []Entry{owned}},
		{"an owner that goes on", Event{noon, "shop/web", v1beta1.ReasonAnnounced, Entry{Address: "192.0.2.1", Node: "a"}.OwnedText()}, nil},
		{"addresses of a Service", Event{noon, "shop/web", v1beta1.ReasonAssigned, `192.0.2.1, 192.0.2.2 of IPAddressPool "lan"; no node announces them`}, []Entry{
			{At: noon, Address: "192.0.2.1", Change: v1beta1.ChangeGranted, Service: "shop/web", Pool: "lan", Reason: v1beta1.ReasonAssigned, Source: FromEvent},
			{At: noon, Address: "192.0.2.2", Change: v1beta1.ChangeGranted, Service: "shop/web", Pool: "lan", Reason: v1beta1.ReasonAssigned, Source: FromEvent},
		}},
		{"no address", Event{noon, "lan", v1beta1.ReasonReleased, "Service shop/web lost ::: (ServiceGone)"}, nil},
		{"another text", Event{noon, "lan", v1beta1.ReasonReleased, "nothing"}, nil},
		{"another reason", Event{noon, "shop/web", v1beta1.ReasonPoolExhausted, `192.0.2.1 of IPAddressPool "lan"`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, c.event.Entries()); d != "" {
				t.Error(d)
			}
		})
	}
}

// lines is what evidence tells, a line each.
func lines(e Evidence) string {
	var b strings.Builder
	for _, x := range e.Entries() {
		fmt.Fprintf(&b, "%s %s %s by %s was %q node %q from %q (%s, %s)\n", x.At.Format("15:04:05"), x.Change, x.Address, x.Service, x.Was, x.Node, x.From, x.Reason, x.Source)
	}
	return b.String()
}

func TestTheEvidenceIsOneStory(t *testing.T) {
	pool := v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}}
	trail := Trail{}
	trail.Add("lan", granted(0, "192.0.2.1", "n/a"))
	trail.Add("lan", granted(1, "192.0.2.1", "n/b")) // it shares the address
	trail.Add("lan", released(2, "192.0.2.1", "n/a"))
	trail.Add("lan", released(3, "192.0.2.1", "n/b"))
	trail.Add("lan", granted(5, "192.0.2.1", "n/c"))
	pool.Status.History = trail["lan"]
	since, whole := metav1.NewTime(noon.Add(6*time.Minute)), metav1.NewTime(noon.Add(5*time.Minute))
	claim := v1beta1.L2Claim{Spec: v1beta1.L2ClaimSpec{Address: "192.0.2.1"}, Status: v1beta1.L2ClaimStatus{Node: "y", Since: &since, Services: []string{"n/c"},
		FormerOwners: []v1beta1.FormerOwner{{Node: "x", Since: &whole, Until: At(noon.Add(6 * time.Minute)), Reason: v1beta1.ReasonNodeNotLive}}}}
	owned := Entry{Address: "192.0.2.1", Node: "x", From: "w", Reason: v1beta1.ReasonHandover}
	e := Evidence{Pools: []v1beta1.IPAddressPool{pool}, Claims: []v1beta1.L2Claim{claim}, Events: []Event{
		{noon.Add(2*time.Minute + 30*time.Second), "n/b", v1beta1.ReasonAnnounced, owned.OwnedText()},
		{noon.Add(3 * time.Second), "n/a", v1beta1.ReasonAssigned, `192.0.2.1 of IPAddressPool "lan"`},
		{noon.Add(6*time.Minute + 4*time.Second), "n/c", v1beta1.ReasonAnnounced, Entry{Address: "192.0.2.1", Node: "y", From: "x", Reason: v1beta1.ReasonNodeNotLive}.OwnedText()},
	}}
	want := `12:00:00 Granted 192.0.2.1 by n/a was "" node "" from "" (Assigned, pool)
12:01:00 Granted 192.0.2.1 by n/b was "" node "" from "" (Assigned, pool)
12:02:00 Released 192.0.2.1 by n/a was "" node "" from "" (ServiceGone, pool)
12:02:30 Owned 192.0.2.1 by n/b was "" node "x" from "w" (Handover, event)
12:03:00 Released 192.0.2.1 by n/b was "" node "" from "" (ServiceGone, pool)
12:05:00 Granted 192.0.2.1 by n/c was "n/b" node "" from "" (Assigned, pool)
12:05:00 Owned 192.0.2.1 by n/c was "" node "x" from "" (, claim)
12:06:00 Owned 192.0.2.1 by n/c was "" node "y" from "x" (NodeNotLive, claim)
`
	if d := cmp.Diff(want, lines(e)); d != "" {
		t.Error(d)
	}
	slices.Reverse(e.Events)
	if d := cmp.Diff(want, lines(e)); d != "" {
		t.Errorf("in another order: %s", d)
	}
	e.Pools, e.Events = nil, nil // who uses the address now is known from its claim
	if got := lines(e); !strings.Contains(got, `12:06:00 Owned 192.0.2.1 by n/c`) {
		t.Errorf("without pools: %s", got)
	}
}

func TestBegins(t *testing.T) {
	pool := &v1beta1.IPAddressPool{}
	if got := Begins(pool, "192.0.2.1"); !got.IsZero() {
		t.Errorf("an empty one begins at %s", got)
	}
	trail := Trail{}
	for i := range 100 {
		trail.Add("lan", granted(i, fmt.Sprintf("192.0.2.%d", i), "n/a"))
	}
	pool.Status.History = trail["lan"]
	if got, want := Begins(pool, "192.0.2.1"), noon.Add(68*time.Minute); !got.Equal(want) {
		t.Errorf("a full one begins at %s, want %s", got, want)
	}
}
