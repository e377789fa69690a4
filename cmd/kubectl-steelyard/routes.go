package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
)

// sentRoute is a route as a router was sent it.
type sentRoute struct {
	Prefix      string   `json:"prefix"`
	NextHop     string   `json:"nextHop"`
	ASPath      []uint32 `json:"asPath,omitempty"`
	LocalPref   *uint32  `json:"localPref,omitempty"` // only internal peers are sent it
	MED         *uint32  `json:"med,omitempty"`
	Communities []string `json:"communities,omitempty"`   // as BGPAdvertisements have them; large ones begin with large:
	Bandwidth   uint32   `json:"linkBandwidth,omitempty"` // in Mbit/s
}

// sentRoutes are the routes that one node has sent in its session with one peer.
type sentRoutes struct {
	Node   string      `json:"node"`
	Peer   string      `json:"peer"`
	Router string      `json:"router,omitempty"` // its address; empty: it is not found yet
	State  string      `json:"state"`            // of the session
	Routes []sentRoute `json:"routes"`           // that the router has received and that were not withdrawn
}

// silentSpeaker is a speaker that could not be asked.
type silentSpeaker struct {
	Node   string `json:"node"`
	Detail string `json:"why"`
}

// routeList is what the command routes answers.
type routeList struct {
	Sessions []sentRoutes    `json:"sessions"`
	Unread   []silentSpeaker `json:"unread,omitempty"` // speakers that could not be asked
}

func routes(t *tool) *cobra.Command {
	var node, peer string
	c := t.command(&cobra.Command{
		Use:   "routes [ADDRESS|PREFIX]…",
		Short: "List the routes that each node has sent to each BGP router",
		Long: `List the routes that each node has sent to each BGP router.

The speakers themselves tell, each on its node's 127.0.0.1 (--debug-bind-address),
which this command reaches as "kubectl port-forward" does: who runs it must be
allowed to create pods/portforward, and to list Pods, in Steelyard's namespace.

With addresses or prefixes: the routes that cover one of them, or are within one.
Exit code 2 says that a speaker could not be asked.`,
	}, func(ctx context.Context, args []string) (answer, error) {
		wanted, err := prefixes(args)
		if err != nil {
			return nil, err
		}
		pods, err := t.speakerPods(ctx, node)
		if err != nil {
			return nil, err
		}
		answers := t.askSpeakers(ctx, pods, "/debug/routes")
		return routesOf(pods, answers, peer, wanted), nil
	})
	c.Flags().StringVar(&node, "node", "", "only those of this node")
	c.Flags().StringVar(&peer, "peer", "", "only those to this BGPPeer")
	t.completeNames(c, map[string]string{"node": "Node", "peer": "BGPPeer"})
	return c
}

// prefixes parses addresses and prefixes.
func prefixes(args []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range args {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no address and no prefix, such as 192.0.2.100 or 192.0.2.0/24", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// routesOf reads the answers of the speakers in those Pods.
func routesOf(pods []corev1.Pod, answers []spoken, peer string, wanted []netip.Prefix) routeList {
	out := routeList{Sessions: []sentRoutes{}}
	for i, said := range answers {
		node, err := pods[i].Spec.NodeName, said.err
		var of []sentRoutes
		if err == nil {
			if err = json.Unmarshal(said.body, &of); err != nil {
				err = fmt.Errorf("read its answer: %w", err)
			}
		}
		if err != nil {
			out.Unread = append(out.Unread, silentSpeaker{node, err.Error()})
			continue
		}
		for _, s := range of {
			if peer != "" && s.Peer != peer {
				continue
			}
			s.Node, s.Routes = node, slices.DeleteFunc(append([]sentRoute{}, s.Routes...), func(r sentRoute) bool { return !r.concerns(wanted) })
			out.Sessions = append(out.Sessions, s)
		}
	}
	slices.SortStableFunc(out.Sessions, func(a, b sentRoutes) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Peer, b.Peer)) })
	return out
}

// concerns reports whether the route covers a prefix, or is within one; with none: true.
func (r sentRoute) concerns(wanted []netip.Prefix) bool {
	p, err := netip.ParsePrefix(r.Prefix)
	return len(wanted) == 0 || err == nil && slices.ContainsFunc(wanted, p.Overlaps)
}

func (routeList) kind() string { return "RouteReport" }

func (a routeList) clean() bool { return len(a.Unread) == 0 }

func (a routeList) draw(p *printer) {
	rows := [][]cell{header("NODE", "PEER", "PREFIX", "NEXT-HOP", "COMMUNITIES", "LOCAL-PREF", "MED", "BANDWIDTH")}
	if p.wide {
		rows[0] = append(rows[0], header("AS-PATH", "ROUTER")...)
	}
	for _, s := range a.Sessions {
		if s.State != health.Established {
			rows = append(rows, []cell{plain(s.Node), plain(s.Peer), bad("the session is " + s.State)})
		}
		for _, r := range s.Routes {
			row := []cell{plain(s.Node), plain(s.Peer), plain(r.Prefix), plain(r.NextHop), plain(strings.Join(r.Communities, ",")), number(r.LocalPref), number(r.MED), plain(r.bandwidth())}
			if p.wide {
				row = append(row, plain(strings.Trim(fmt.Sprint(r.ASPath), "[]")), plain(s.Router))
			}
			rows = append(rows, row)
		}
	}
	if len(rows) > 1 {
		p.table("", rows...)
	} else {
		p.line(plain("no such route has been sent"))
	}
	for _, s := range a.Unread {
		p.line(bad("the speaker of node "+s.Node+" could not be asked: "), plain(s.Detail))
	}
}

func (r sentRoute) bandwidth() string {
	if r.Bandwidth == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(r.Bandwidth), 10) + " Mbit/s"
}

// number is a number that may not be there.
func number(n *uint32) cell {
	if n == nil {
		return plain("")
	}
	return plainf("%d", *n)
}

// completeNames completes the values of flags by the names of objects of these kinds.
func (t *tool) completeNames(c *cobra.Command, kinds map[string]string) {
	for name, kind := range kinds {
		of := corev1Kind(kind)
		if kind == "BGPPeer" {
			of = v1beta1.GroupVersion().WithKind(kind)
		}
		if err := c.RegisterFlagCompletionFunc(name, t.names(of, "")); err != nil {
			panic(err) // the flag is not there
		}
	}
}
