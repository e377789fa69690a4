package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func (explanation) kind() string { return "Explanation" }

func (e explanation) clean() bool { return e.Reason == "" }

func (e explanation) draw(p *printer) {
	result := good("OK")
	if e.Reason != "" {
		result = bad(e.Reason)
	}
	first := []cell{bold(e.Service), plain("  "), result}
	if e.Degraded != "" {
		first = append(first, plain("  "), warn(e.Degraded))
	}
	p.line(first...)
	p.line(plain(e.Summary))
	if e.Request != nil {
		p.heading("Request")
		e.Request.draw(p)
		e.drawPools(p)
	}
	for _, a := range e.Addresses {
		a.drawOn(p)
	}
	if x := e.Endpoints; x != nil {
		p.heading(fmt.Sprintf("Endpoints: %d of %d ready", x.Ready, x.Total))
		var rows [][]cell
		for _, node := range slices.Sorted(maps.Keys(x.ReadyOn)) {
			name := node
			if name == "" {
				name = "on no node"
			}
			rows = append(rows, []cell{plain(name), plainf("%d ready", x.ReadyOn[node])})
		}
		p.table("  ", rows...)
	}
	drawList(p, "What the programs say differs", e.Differences)
	drawList(p, "Not known", e.Unread)
}

func (r *request) draw(p *printer) {
	var rows [][]cell
	row := func(field, text string) {
		if text != "" {
			rows = append(rows, []cell{plain(field), plain(text)})
		}
	}
	what := "an " + r.Families[0] + " address"
	if len(r.Families) == 2 && r.AllFamilies {
		what += " and an " + r.Families[1] + " address"
	} else if len(r.Families) == 2 {
		what += " and, if there is one, an " + r.Families[1] + " address"
	}
	if len(r.Addresses) > 0 {
		what = strings.Join(r.Addresses, ", ")
	}
	from := ", of any pool"
	if r.Pool != "" {
		from = fmt.Sprintf(", of IPAddressPool %q", r.Pool)
	}
	row("asks for", what+from)
	row("can't be read", r.Invalid)
	row("a slip", intent.SlipsText(r.Unknown))
	row("not read", intent.IgnoredText(r.Ignored))
	ports := make([]string, len(r.Ports))
	for i, x := range r.Ports {
		ports[i] = fmt.Sprintf("%d/%s", x.Port, x.Protocol)
	}
	row("ports", strings.Join(ports, ", "))
	row("traffic policy", map[string]string{"Cluster": "Cluster: any node may announce it", "Local": "Local: only nodes with a ready endpoint announce it"}[r.Policy])
	if r.SharingKey != "" {
		row("shares", fmt.Sprintf("with Services of key %q and other ports", r.SharingKey))
	}
	row("shared with", strings.Join(r.SharedWith, ", "))
	p.table("  ", rows...)
}

// drawList draws lines under a title, if there are any.
func drawList(p *printer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p.heading(title)
	for _, l := range lines {
		p.line(plain("  "), warn(l))
	}
}

func (e explanation) drawPools(p *printer) {
	if len(e.Pools) == 0 {
		p.heading("Pools: there is none")
		return
	}
	p.heading("Pools, in the order in which they are tried")
	rows := [][]cell{header("POOL", "FAMILY", "DECISION", "WHY")}
	for _, f := range e.Pools {
		decision := plain(string(f.Decision))
		switch f.Decision {
		case ipam.Chosen:
			decision.style = goodOne
		case ipam.NotAccepted:
			decision.style = badOne
		case ipam.Exhausted, ipam.AwaitsIPAM, ipam.OverQuota, ipam.Withheld:
			decision.style = warnOne
		}
		rows = append(rows, []cell{plain(f.Pool), plain(f.Family), decision, plain(f.Detail)})
	}
	p.table("  ", rows...)
}

// drawOn draws who announces an address.
func (a addressFact) drawOn(p *printer) {
	title := a.Address + ", of no pool"
	if a.Pool != "" {
		title = fmt.Sprintf("%s, of pool %s", a.Address, a.Pool)
	}
	p.heading(title)
	if len(a.Advertisements) == 0 {
		p.line(plain("  "), bad("there is no L2Advertisement and no BGPAdvertisement: no node announces it"))
	}
	for _, c := range a.Advertisements {
		if c.Covers {
			p.line(plain("  "), plainf("%s %s covers it", c.Kind, c.Name))
		} else {
			p.line(plain("  "), dimmed(fmt.Sprintf("%s %s does not cover it: %s", c.Kind, c.Name, c.Detail)))
		}
	}
	if len(a.Layer2) > 0 {
		rows := [][]cell{header("NODE", "LAYER 2", "WHY")}
		for _, n := range a.Layer2 {
			rows = append(rows, []cell{plain(n.Node), decisionCell(n.Decision), plain(n.Detail)})
		}
		p.WriteByte('\n')
		p.table("  ", rows...)
	}
	if len(a.BGP) > 0 {
		rows := [][]cell{header("NODE", "BGP", "PEER", "SESSION", "ROUTE", "WHY")}
		for _, f := range a.BGP {
			session := plain(f.Session)
			if f.Session == health.Established {
				session.style = goodOne
			} else if f.Session != "" {
				session.style = badOne
			}
			rows = append(rows, []cell{plain(f.Node), decisionCell(f.Decision), plain(f.Peer), session, plain(f.Route), plain(f.Detail)})
		}
		p.WriteByte('\n')
		p.table("  ", withoutEmpty(rows)...)
	}
}

// withoutEmpty leaves out the columns that have only a title.
func withoutEmpty(rows [][]cell) [][]cell {
	out := make([][]cell, len(rows))
	for column := range rows[0] {
		if !slices.ContainsFunc(rows[1:], func(r []cell) bool { return strings.TrimSpace(r[column].text) != "" }) {
			continue
		}
		for i, r := range rows {
			out[i] = append(out[i], r[column])
		}
	}
	return out
}

// decisionCell colors a reason by its meaning for the address.
func decisionCell(r announce.Reason) cell {
	switch r {
	case announce.Announced:
		return good(string(r))
	case announce.NotOwner, announce.AddressOfNode, announce.NodeNotSelected, announce.NotCarried:
		return plain(string(r))
	}
	return warn(string(r))
}
