package announce_test

import (
	"errors"
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/stories"
)

// TestStories runs the stories of testdata. A story is its name after "#", the snapshot, "=>"
// and each node's plan. LABELS are k=v, one pair.
//
//	node NAME [labels LABELS] [gone] [excluded] [yields] [unready] [links NAME[=PREFIX+PREFIX|=none][/down], ...] [restarts BACKUPS]
//	svc NAME ADDR@POOL[/BITS][!NODE],... [labels LABELS] [local NODES] [endpoints STATE|none|unstable]
//	claim ADDR NODE
//	l2 NAME [pools NAMES] [nodes LABELS] [services LABELS] [only GLOBS] [except GLOBS] [prefer WEIGHT:LABELS,...] [withdraws yes]
//	         [policy ignore]
//	bgp NAME [pools NAMES] [nodes LABELS] [services LABELS] [peers NAMES] [length N] [length6 N]
//	         [localpref N] [med N] [prepend N] [communities N,...] [large N,...] [withdraws yes]
//	peer NAME [nodes LABELS] [at ADDR] [age N]
//
//	leaving true
//
// Peers have different addresses unless they name one. The plan has a line for each claim,
// each peering, each superseded peer, each conflict of advertisements and, if the story has
// any, each result.
func TestStories(t *testing.T) { stories.Run(t, "testdata/*.txt", runStory) }

func runStory(t *testing.T, given, want string) {
	snap, err := parseSnapshot(given)
	if err != nil {
		t.Fatal(err)
	}
	results := strings.Contains(want, " says ")
	if diff := cmp.Diff(want, outcome(snap, results)); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	before := outcome(snap, true)
	if diff := cmp.Diff(before, outcome(shuffled(snap, rand.New(rand.NewSource(1))), true)); diff != "" {
		t.Errorf("another order has another plan:\n%s", diff)
	}
}

// outcome prints every node's plan, the nodes by name.
func outcome(s announce.Snapshot, results bool) string {
	names := []string{}
	for _, n := range s.Nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		s.Self = name
		plan := announce.Decide(s)
		for _, c := range plan.Claims {
			fmt.Fprintf(&b, "%s claims %s%s\n", name, c.Addr, onLinks(c.Links))
			for _, l := range c.Ignore {
				fmt.Fprintf(&b, "%s ignores foreign hosts that have %s%s\n", name, c.Addr, onLinks(l))
			}
		}
		for _, c := range plan.Backups {
			for _, as := range c.ProxyReplies {
				fmt.Fprintf(&b, "%s stands in for %s on %s, as %s's link %c\n", name, c.Addr, as.Link, string(as.MAC[0]), as.MAC[1])
			}
		}
		for _, p := range plan.Peerings {
			routes := []string{"nothing"}
			for i, r := range p.Routes {
				routes = append(routes[:i:i], r.String())
			}
			fmt.Fprintf(&b, "%s offers %s %s\n", name, p.Peer.Name, strings.Join(routes, ", "))
		}
		for _, x := range plan.Superseded {
			fmt.Fprintf(&b, "%s skips %s for %s\n", name, x.Peer, x.By)
		}
		for _, x := range plan.Clashes {
			fmt.Fprintf(&b, "%s ignores %s of %s for that of %s\n", name, x.Field, x.Loser, x.Winner)
		}
		if results {
			says(&b, name, plan)
		}
	}
	return strings.TrimSpace(b.String())
}

func onLinks(l announce.Links) string {
	out := ""
	if len(l.Only) > 0 {
		out += " on " + strings.Join(l.Only, ",")
	}
	if len(l.Except) > 0 {
		out += " except " + strings.Join(l.Except, ",")
	}
	return out
}

// says prints the results of one node.
func says(b *strings.Builder, node string, plan announce.Plan) {
	for _, v := range plan.Results {
		k := v.Key
		for _, o := range v.Layer2 {
			fmt.Fprintf(b, "%s says %s %s layer2 %s, owner %q\n", node, k.Name, o.Addr, o.Reason, o.Owner)
		}
		fmt.Fprintf(b, "%s says %s bgp %s\n", node, k.Name, v.BGP)
	}
}

func shuffled(s announce.Snapshot, rng *rand.Rand) announce.Snapshot {
	s.Nodes = stories.Shuffle(s.Nodes, rng)
	s.Services = stories.Shuffle(s.Services, rng)
	s.Claims = stories.Shuffle(s.Claims, rng)
	s.L2 = stories.Shuffle(s.L2, rng)
	s.BGP = stories.Shuffle(s.BGP, rng)
	s.Neighbors = stories.Shuffle(s.Neighbors, rng)
	for i := range s.Nodes {
		s.Nodes[i].Links = stories.Shuffle(s.Nodes[i].Links, rng)
	}
	for i := range s.Services {
		s.Services[i].Addrs = stories.Shuffle(s.Services[i].Addrs, rng)
	}
	return s
}

func parseSnapshot(text string) (announce.Snapshot, error) {
	var s announce.Snapshot
	var problems error
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) < 2 {
			return s, fmt.Errorf("can't read %q", line)
		}
		name := words[1]
		o := options{words: map[string]string{}}
		rest := words[2:]
		if words[0] == "svc" || words[0] == "claim" {
			o.first, rest = rest[0], rest[1:]
		}
		for len(rest) > 0 {
			if rest[0] == "gone" || rest[0] == "excluded" || rest[0] == "yields" || rest[0] == "unready" {
				o.words[rest[0]], rest = "yes", rest[1:]
				continue
			}
			if len(rest) < 2 {
				return s, fmt.Errorf("%q lacks its value in %q", rest[0], line)
			}
			o.words[rest[0]], rest = rest[1], rest[2:]
		}
		switch words[0] {
		case "leaving":
			s.Leaving = true
		case "node":
			s.Nodes = append(s.Nodes, o.node(name))
		case "svc":
			s.Services = append(s.Services, o.service(name))
		case "claim":
			s.Claims = append(s.Claims, announce.HeldClaim{Addr: netip.MustParseAddr(name), Node: o.first})
		case "l2":
			s.L2 = append(s.L2, o.l2(name))
		case "bgp":
			s.BGP = append(s.BGP, o.bgp(name))
		case "peer":
			s.Neighbors = append(s.Neighbors, o.peer(name, len(s.Neighbors)))
		default:
			problems = errors.Join(problems, fmt.Errorf("can't read %q", line))
		}
		for unread := range o.words {
			problems = errors.Join(problems, fmt.Errorf("can't read %q in %q", unread, line))
		}
	}
	return s, problems
}

// options are the words of a line that are not yet read.
type options struct {
	first string
	words map[string]string
}

func (o options) take(word string) (string, bool) {
	v, ok := o.words[word]
	delete(o.words, word)
	return v, ok
}

func (o options) list(word string) []string {
	if v, ok := o.take(word); ok {
		return strings.Split(v, ",")
	}
	return nil
}

// set is nil without the word, and empty for "-".
func (o options) set(word string) map[string]bool {
	names := o.list(word)
	if names == nil {
		return nil
	}
	out := map[string]bool{}
	for _, n := range names {
		if n != "-" {
			out[n] = true
		}
	}
	return out
}

func (o options) number(word string, otherwise int) int {
	v, ok := o.take(word)
	if !ok {
		return otherwise
	}
	n, _ := strconv.Atoi(v)
	return n
}

func (o options) labels(word string) map[string]string {
	v, _ := o.take(word)
	k, value, _ := strings.Cut(v, "=")
	return map[string]string{k: value}
}

func (o options) selector(word string) announce.Selector {
	if _, ok := o.words[word]; !ok {
		return nil
	}
	return having(o.labels(word))
}

// having selects what has all these labels.
func having(want map[string]string) announce.Selector {
	return func(have map[string]string) bool {
		for k, v := range want {
			if have[k] != v {
				return false
			}
		}
		return true
	}
}

func (o options) node(name string) announce.Node {
	_, gone := o.take("gone")
	excluded, _ := o.take("excluded")
	_, yields := o.take("yields")
	_, unready := o.take("unready")
	n := announce.Node{Name: name, Yields: yields, Unready: unready, Live: !gone, Excluded: excluded, Labels: o.labels("labels")}
	links := o.list("links")
	if links == nil {
		links = []string{"eth0"}
	}
	for _, l := range links {
		link, down := strings.CutSuffix(l, "/down")
		link, prefixes, _ := strings.Cut(link, "=")
		to := announce.Link{Name: link, Up: !down, MAC: [6]byte{name[0], link[len(link)-1]}}
		for prefix := range strings.FieldsFuncSeq(prefixes, func(r rune) bool { return r == '+' }) {
			if to.Unnumbered = prefix == "none"; !to.Unnumbered {
				to.Prefixes = append(to.Prefixes, netip.MustParsePrefix(prefix))
			}
		}
		n.Links = append(n.Links, to)
	}
	n.Backups = o.list("restarts")
	return n
}

func (o options) service(name string) announce.Service {
	s := announce.Service{Key: ipam.Key{Namespace: "n", Name: name}, Labels: o.labels("labels")}
	for part := range strings.SplitSeq(o.first, ",") {
		addr, pool, _ := strings.Cut(part, "@")
		pool, own, _ := strings.Cut(pool, "!")
		pool, within, _ := strings.Cut(pool, "/")
		bits, _ := strconv.Atoi(within) // 0: any
		s.Addrs = append(s.Addrs, announce.Address{Addr: netip.MustParseAddr(addr), Pool: pool, Bits: bits, Node: own})
	}
	if ready := o.set("local"); ready != nil {
		s.Local, s.ReadyOn4, s.ReadyOn6 = true, ready, ready
	}
	state, _ := o.take("endpoints")
	switch state {
	case "none":
		s.NoEndpoints4, s.NoEndpoints6 = true, true
	case "unstable":
		s.Unstable = "they come and go"
	default:
		s.EndpointState = announce.EndpointState(state)
	}
	return s
}

func (o options) peer(name string, before int) announce.Neighbor {
	at, ok := o.take("at")
	if !ok {
		at = fmt.Sprintf("192.0.2.%d", before)
	}
	return announce.Neighbor{
		Peer:    announce.Peer{Name: name, Addr: netip.MustParseAddr(at)},
		Nodes:   o.selector("nodes"),
		Created: time.Unix(0, 0).AddDate(-o.number("age", 0), 0, 0),
	}
}

func (o options) selection() announce.Selection {
	_, withdraws := o.take("withdraws")
	return announce.Selection{Pools: o.set("pools"), Nodes: o.selector("nodes"), Services: o.selector("services"), Withdraws: withdraws}
}

func (o options) l2(name string) announce.L2Advertisement {
	ad := announce.L2Advertisement{Name: name, Selection: o.selection(), Links: announce.Links{Only: o.list("only"), Except: o.list("except")}, IgnoresConflicts: slices.Equal(o.list("policy"), []string{"ignore"})}
	for _, p := range o.list("prefer") {
		weight, labels, _ := strings.Cut(p, ":")
		n, _ := strconv.Atoi(weight)
		k, v, _ := strings.Cut(labels, "=")
		ad.Prefer = append(ad.Prefer, announce.Preference{Weight: n, Nodes: having(map[string]string{k: v})})
	}
	return ad
}

func (o options) bgp(name string) announce.BGPAdvertisement {
	ad := announce.BGPAdvertisement{
		Name: name, Selection: o.selection(), Peers: o.set("peers"), Length4: o.number("length", 32), Length6: o.number("length6", 128),
		Attributes: announce.Route{LocalPref: uint32(o.number("localpref", 0)), Prepend: o.number("prepend", 0)},
	}
	if _, ok := o.words["med"]; ok {
		ad.Attributes.MED, ad.Attributes.HasMED = uint32(o.number("med", 0)), true
	}
	for _, c := range o.list("communities") {
		n, _ := strconv.Atoi(c)
		ad.Attributes.Communities = append(ad.Attributes.Communities, uint32(n))
	}
	for _, c := range o.list("large") {
		n, _ := strconv.Atoi(c)
		ad.Attributes.Large = append(ad.Attributes.Large, announce.LargeCommunity{Global: 1, Data1: uint32(n)})
	}
	return ad
}
