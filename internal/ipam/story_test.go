package ipam_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/stories"
)

// TestStories runs the stories of testdata. A story is its name after "#",
// the world, "=>" and what Assign answers. Services are listed from the oldest
// to the youngest.
//
//	pool NAME RANGES [except RANGES] [manual] [avoid-buggy] [frozen] [closed] [order N] [replaces POOL] [pinned] [priority N] [across] [only SERVICES] [overlapping RANGES] [ipam]
//	svc [NAMESPACE/]NAME [has ADDRS] [leaves ADDRS] [wants ADDRS] [count N] [pool P] [single|prefer|require FAMILIES] [ports N/PROTOCOL,...]
//	         [share KEY] [local] [pods P [on NODES]] [invalid WORD] [stuck] [gone POOL]
//	         [beside ADDRS] [to POOLS] [prefers ADDRS]
//	occupied ADDR [NODE [alone]|by foreign]
//	reserved ADDR for SERVICES
//	offer POOL FAMILY for SERVICE ADDR|exhausted|WORD
//	quota NAME LIMIT NAMESPACES [pools POOLS] [family v4|v6]
//	kept ADDR for [NAMESPACE/]NAME peak N
//
// What is kept ends ten minutes after 1970 began, the next a minute earlier, and so on. A
// pool that is gone is that of all that the Service has.
func TestStories(t *testing.T) { stories.Run(t, "testdata/*.txt", report) }

// tell checks one story, and that it has the same end in any order and when
// told again with what was granted.
func report(t *testing.T, reported, want string) {
	pools, requests, kept, err := parseWorld(reported)
	if err != nil {
		t.Fatal(err)
	}
	grants := assign(new(ipam.Allocator), pools, requests, kept)
	if diff := gocmp.Diff(want, outcome(requests, grants)); diff != "" {
		t.Fatalf("want -, have +:\n%s", diff)
	}
	shuffled := slices.Clone(requests)
	rng := rand.New(rand.NewSource(1))
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	if diff := diffOf(grants, assign(new(ipam.Allocator), pools, shuffled, kept)); diff != "" {
		t.Errorf("another order, another end:\n%s", diff)
	}
	again := assign(new(ipam.Allocator), pools, holding(requests, grants), kept)
	if diff := diffOf(settled(grants), again); diff != "" {
		t.Errorf("what was granted does not stay:\n%s", diff)
	}
}

// assign is Allocator.Assign for a view by name.
func assign(allocator *ipam.Allocator, pools ipam.Pools, requests []ipam.Request, kept []ipam.Kept) map[ipam.Key]ipam.Grant {
	in := pointers(requests)
	out := make(map[ipam.Key]ipam.Grant, len(requests))
	for i, g := range allocator.Assign(pools, in, kept) {
		out[requests[i].Service] = g
	}
	return out
}

func pointers(requests []ipam.Request) []*ipam.Request {
	out := make([]*ipam.Request, len(requests))
	for i := range requests {
		out[i] = &requests[i]
	}
	return out
}

// diffOf shows how two answers differ; "": not at all.
func diffOf(want, have map[ipam.Key]ipam.Grant) string {
	if reflect.DeepEqual(want, have) {
		return ""
	}
	return gocmp.Diff(want, have, cmpopts.EquateComparable(netip.Addr{}))
}

// settled is what is left of grants once they are held: nothing moves any more.
func settled(grants map[ipam.Key]ipam.Grant) map[ipam.Key]ipam.Grant {
	out := make(map[ipam.Key]ipam.Grant, len(grants))
	for k, g := range grants {
		g.Moved = ""
		out[k] = g
	}
	return out
}

// holding returns the requests once the grants are written.
func holding(requests []ipam.Request, grants map[ipam.Key]ipam.Grant) []ipam.Request {
	out := slices.Clone(requests)
	for i := range out {
		if !out[i].StatusLocked {
			out[i].Has, out[i].Changed = grants[out[i].Service].Addrs, false
			lost := func(a netip.Addr) bool { return !slices.Contains(out[i].Has, a) }
			out[i].Beside = slices.DeleteFunc(slices.Clone(out[i].Beside), lost)
		}
	}
	return out
}

// outcome prints grants from the oldest Service to the youngest.
func outcome(requests []ipam.Request, grants map[ipam.Key]ipam.Grant) string {
	sorted := slices.Clone(requests)
	slices.SortFunc(sorted, func(a, b ipam.Request) int {
		return cmp.Or(a.Created.Compare(b.Created), a.Service.Compare(b.Service))
	})
	var b strings.Builder
	for _, r := range sorted {
		g := grants[r.Service]
		var parts []string
		for i, a := range g.Addrs {
			parts = append(parts, fmt.Sprintf("%s of %s", a, cmp.Or(g.Pools[i], "none")))
		}
		if g.Reason != "" {
			parts = append(parts, string(g.Reason))
		}
		fmt.Fprintf(&b, "%s %s", strings.TrimPrefix(r.Service.String(), "n/"), cmp.Or(strings.Join(parts, ", "), "nothing"))
		if g.Message != "" {
			fmt.Fprintf(&b, ": %s", g.Message)
		}
		for _, k := range g.Asks {
			fmt.Fprintf(&b, " (asks %s for %s", k.Pool, k.Family)
			if k.Addr.IsValid() {
				fmt.Fprintf(&b, " %s", k.Addr)
			}
			if k.Refused.IsValid() {
				fmt.Fprintf(&b, ", not %s", k.Refused)
			}
			b.WriteString(")")
		}
		if g.Moved != "" && g.Moved != g.Message {
			fmt.Fprintf(&b, " (moved: %s)", g.Moved)
		}
		b.WriteString("\n")
	}
	return strings.TrimSpace(b.String())
}

func parseWorld(text string) (pools ipam.Pools, requests []ipam.Request, kept []ipam.Kept, err error) {
	occupied := &ipam.Occupied{Addrs: map[netip.Addr]ipam.Occupant{}}
	var reserved []reservation
	offers := map[string][]ipam.Offer{} // by Service
	var quotas []worldQuota
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "pool" && len(words) >= 3:
			p, bad := parsePool(words[1:])
			pools, err = append(pools, p), errors.Join(err, bad)
		case words[0] == "svc" && len(words) >= 2:
			r, bad := parseRequest(words[1:])
			r.Created = time.Unix(int64(len(requests)), 0)
			requests, err = append(requests, r), errors.Join(err, bad)
		case words[0] == "kept" && len(words) == 6 && words[2] == "for" && words[4] == "peak":
			peak, bad := strconv.Atoi(words[5])
			until := time.Unix(int64(60*(10-len(kept))), 0)
			kept = append(kept, ipam.Kept{Addr: netip.MustParseAddr(words[1]), For: keyOf(words[3]), Peak: peak, Until: until})
			err = errors.Join(err, bad)
		case words[0] == "occupied" && len(words) >= 2:
			by := ipam.Occupant{Name: "a router's", Alone: slices.Contains(words, "alone")}
			switch {
			case slices.Contains(words, "foreign"):
				by.Name, by.Foreign = "a printer's", true
			case len(words) > 2:
				by.Name, by.Node = "node "+words[2]+"'s", words[2]
			}
			occupied.Addrs[netip.MustParseAddr(words[1])] = by
		case words[0] == "offer" && len(words) == 6 && words[3] == "for":
			offers[words[4]] = append(offers[words[4]], parseOffer(words))
		case words[0] == "reserved" && len(words) == 4 && words[2] == "for":
			a := netip.MustParseAddr(words[1])
			by := occupied.Addrs[a]
			by.Reserved, by.ReservedIn = "office", ipam.NamespaceSet(keyOf(strings.Split(words[3], ",")[0]).Namespace)
			occupied.Addrs[a] = by
			reserved = append(reserved, reservation{a, strings.Split(words[3], ",")})
		case words[0] == "quota" && len(words) >= 4:
			q, bad := parseQuota(words[1:])
			quotas, err = append(quotas, q), errors.Join(err, bad)
		default:
			return nil, nil, nil, fmt.Errorf("can't read %q", line)
		}
	}
	for i := range pools {
		pools[i].Occupied = occupied
	}
	for i := range requests {
		requests[i].Offers = offers[requests[i].Service.Name]
		for _, x := range reserved {
			if slices.Contains(x.services, strings.TrimPrefix(requests[i].Service.String(), "n/")) {
				requests[i].Reserved = append(requests[i].Reserved, x.addr)
			}
		}
	}
	w := world{pools: pools, requests: requests, quotas: quotas}
	w.limit()
	return pools, w.requests, kept, err
}

func parseQuota(words []string) (worldQuota, error) {
	limit, err := strconv.Atoi(words[1])
	q := worldQuota{ipam.Quota{Name: words[0], Limit: limit, Text: words[1] + " addresses in namespaces " + words[2]}, strings.Split(words[2], ",")}
	for words = words[3:]; len(words) > 1; words = words[2:] {
		switch words[0] {
		case "pools":
			q.Pools = map[string]bool{}
			for name := range strings.SplitSeq(words[1], ",") {
				q.Pools[name] = true
			}
		case "family":
			q.Family = parseFamilies(words[1])[0]
		}
	}
	return q, err
}

func parseOffer(words []string) ipam.Offer {
	o := ipam.Offer{Pool: words[1], Family: parseFamilies(words[2])[0]}
	if a, err := netip.ParseAddr(words[5]); err == nil {
		o.Addr = a
		return o
	}
	o.Exhausted, o.Message = words[5] == "exhausted", "says: "+words[5]
	return o
}

// reservation is an address that is reserved for Services.
type reservation struct {
	addr     netip.Addr
	services []string
}

func parsePool(words []string) (ipam.Pool, error) {
	p := ipam.Pool{Name: words[0], AutoAssign: true}
	ranges, except := parseRanges(words[1]), []ipam.Range(nil)
	for words = words[2:]; len(words) > 0; {
		word, value := words[0], ""
		words = words[1:]
		if slices.Contains([]string{"except", "priority", "only", "overlapping", "order", "replaces", "before"}, word) {
			value, words = words[0], words[1:]
		}
		switch word {
		case "manual":
			p.AutoAssign = false
		case "avoid-buggy":
			p.AvoidBuggy = true
		case "frozen":
			p.Frozen = true
		case "ipam":
			p.IPAM = "ipam.example.org:9000"
		case "across":
			p.CrossNamespace = true
		case "closed":
			p.Closed = true
		case "order":
			p.Order, _ = strconv.Atoi(value)
		case "replaces":
			p.Replaces = strings.Split(value, ",")
		case "pinned":
			p.Selective = true
		case "before":
			p.Former = parseRanges(value)
		case "overlapping":
			p.Overlapping = parseRanges(value)
		case "except":
			except = parseRanges(value)
		case "priority":
			p.Priority, _ = strconv.Atoi(value)
		case "only":
			names := strings.Split(value, ",")
			p.Selective, p.Only, p.Allows = true, "Services named "+value, func(k ipam.Key) bool { return slices.Contains(names, k.Name) }
		default:
			return p, fmt.Errorf("pool %s: can't read %q", p.Name, word)
		}
	}
	p.Ranges = ipam.Merge(ranges, except)
	return p, nil
}

// keyOf reads the name of a Service; without a namespace it is in n.
func keyOf(s string) ipam.Key {
	if namespace, name, ok := strings.Cut(s, "/"); ok {
		return ipam.Key{Namespace: namespace, Name: name}
	}
	return ipam.Key{Namespace: "n", Name: s}
}

func parseRequest(words []string) (ipam.Request, error) {
	r := ipam.Request{Service: keyOf(words[0]), Families: ipam.Families{Want: []ipam.Family{ipam.IPv4}, All: true}}
	for words = words[1:]; len(words) > 0; {
		word, value := words[0], ""
		words = words[1:]
		if word == "local" || word == "stuck" || word == "changed" {
			r.Share.Local, r.StatusLocked, r.Changed = r.Share.Local || word == "local", r.StatusLocked || word == "stuck", r.Changed || word == "changed"
			continue
		}
		if len(words) == 0 {
			return r, fmt.Errorf("svc %s: %q lacks its value", r.Service.Name, word)
		}
		value, words = words[0], words[1:]
		switch word {
		case "has":
			r.Has = parseAddrs(value)
		case "leaves":
			r.Leaves = parseAddrs(value)
		case "wants":
			r.Want = parseAddrs(value)
		case "beside":
			r.Beside = parseAddrs(value)
		case "to":
			to := strings.Split(value, ",")
			r.Successors = map[ipam.Family][]string{ipam.IPv4: to, ipam.IPv6: to}
		case "prefers":
			r.Prefers = parseAddrs(value)
		case "count":
			r.Count, _ = strconv.Atoi(value)
		case "pool":
			r.Pool = value
		case "single", "prefer", "require":
			r.Families = ipam.Families{Want: parseFamilies(value), All: word != "prefer"}
		case "gone":
			r.GonePools = map[netip.Addr]string{}
			for _, a := range r.Has {
				r.GonePools[a] = value
			}
		case "ports":
			r.Ports = parsePorts(value)
		case "share":
			r.Share.Key = value
		case "pods":
			r.Share.Pods = r.Service.Namespace + value
		case "on":
			r.On4 = strings.Split(value, ",")
			r.On6 = r.On4
		case "invalid", "contradicts":
			r.Invalid, r.Contradicts = value, word == "contradicts"
		default:
			return r, fmt.Errorf("svc %s: can't read %q", r.Service.Name, word)
		}
	}
	return r, nil
}

func parseRanges(s string) []ipam.Range {
	var out []ipam.Range
	if s == "none" {
		return out
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		out = append(out, ipam.Range{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)})
	}
	return out
}

func parseAddrs(s string) []netip.Addr {
	var out []netip.Addr
	for part := range strings.SplitSeq(s, ",") {
		out = append(out, netip.MustParseAddr(part))
	}
	return out
}

func parseFamilies(s string) []ipam.Family {
	var out []ipam.Family
	for part := range strings.SplitSeq(s, ",") {
		out = append(out, map[string]ipam.Family{"v4": ipam.IPv4, "v6": ipam.IPv6}[part])
	}
	return out
}

func parsePorts(s string) []ipam.Port {
	var out []ipam.Port
	for part := range strings.SplitSeq(s, ",") {
		number, protocol, ok := strings.Cut(part, "/")
		if !ok {
			protocol = "TCP"
		}
		n, _ := strconv.ParseUint(number, 10, 16)
		out = append(out, ipam.Port{Protocol: protocol, Number: uint16(n)})
	}
	return out
}
