package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// claim is what an L2Claim says, in a line.
type claim struct {
	Address   string       `json:"address"`
	Node      string       `json:"node"`          // that is to have it
	Answers   string       `json:"answers"`       // the node that does; empty: none
	Detail    string       `json:"why,omitempty"` // it does not, or is not alone
	Links     []claimLink  `json:"links,omitempty"`
	Services  []string     `json:"services,omitempty"`
	Since     *metav1.Time `json:"since,omitempty"`
	Announced bool         `json:"announced"`
	Conflict  bool         `json:"conflict,omitempty"`
	object    string       // its name
}

// claimLink is a link on which a node answers.
type claimLink struct {
	Name string `json:"name"`
	MAC  string `json:"mac"` // in the answers
}

// claimList is what the command claims answers.
type claimList struct {
	Claims []claim `json:"claims"`
	now    time.Time
}

func claims(t *tool) *cobra.Command {
	return t.command(&cobra.Command{
		Use:   "claims",
		Short: "List which node answers for which address on the local network",
		Args:  noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) {
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		a := claimList{Claims: []claim{}, now: w.Now}
		for i := range w.Claims {
			a.Claims = append(a.Claims, claimOf(&w.Claims[i]))
		}
		slices.SortFunc(a.Claims, func(a, b claim) int { return compareAddresses(a.Address, b.Address) })
		return a, nil
	})
}

// compareAddresses orders IPv4 before IPv6, and each by number.
func compareAddresses(a, b string) int {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX != nil || errY != nil {
		return strings.Compare(a, b)
	}
	return x.Compare(y)
}

func claimOf(c *v1beta1.L2Claim) claim {
	out := claim{Address: string(c.Spec.Address), Node: c.Spec.Node, Services: c.Status.Services, Since: c.Status.Since, object: c.Name}
	for _, l := range c.Status.Links {
		out.Links = append(out.Links, claimLink{l.Name, l.MAC})
	}
	announced := meta.FindStatusCondition(c.Status.Conditions, v1beta1.ConditionAnnounced)
	switch {
	case announced == nil:
		out.Detail = "no node has announced it yet"
	case announced.Status == metav1.ConditionTrue:
		out.Announced, out.Answers = true, c.Status.Node
		if c.Status.Node != c.Spec.Node {
			out.Detail = "on its way from " + c.Status.Node + " to " + c.Spec.Node
		}
	default:
		out.Detail = strings.Trim(announced.Reason+": "+announced.Message, ": ")
	}
	if conflict := meta.FindStatusCondition(c.Status.Conditions, v1beta1.ConditionConflict); conflict != nil && conflict.Status == metav1.ConditionTrue {
		out.Conflict = true
		out.Detail = conflict.Message
	}
	return out
}

func (claimList) kind() string { return "ClaimReport" }

func (a claimList) clean() bool {
	return !slices.ContainsFunc(a.Claims, func(c claim) bool { return !c.Announced || c.Conflict })
}

func (a claimList) names() []string {
	var out []string
	for _, c := range a.Claims {
		out = append(out, "l2claim.steelyard.dev/"+c.object)
	}
	return out
}

func (a claimList) draw(p *printer) {
	if len(a.Claims) == 0 {
		p.line(plain("no address is claimed on the local network"))
		return
	}
	drawClaims(p, "", a.Claims, a.now)
}

// drawClaims draws claims, at a time.
func drawClaims(p *printer, indent string, of []claim, now time.Time) {
	rows := [][]cell{header("ADDRESS", "NODE", "ANNOUNCED", "LINKS", "SINCE", "SERVICES", "WHY")}
	for _, c := range of {
		state := good("yes")
		if c.Conflict {
			state = bad("conflict")
		} else if !c.Announced {
			state = bad("no")
		}
		var links []string
		for _, l := range c.Links {
			if p.wide {
				l.Name += "=" + l.MAC
			}
			links = append(links, l.Name)
		}
		rows = append(rows, []cell{plain(c.Address), plain(c.Node), state, plain(strings.Join(links, ",")),
			dimmed(since(c.Since, now)), plain(strings.Join(c.Services, ",")), plain(c.Detail)})
	}
	p.table(indent, rows...)
}

// since says how long ago something was; "" if it never was.
func since(at *metav1.Time, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return duration.HumanDuration(now.Sub(at.Time))
}
