package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/internal/health"
)

func (overview) kind() string { return "StatusReport" }

func (o overview) clean() bool { return len(o.Problems) == 0 && len(o.Services.Problems) == 0 }

func (o overview) draw(p *printer) {
	o.drawHealth(p)
	o.drawProblems(p)
	o.drawPools(p)
	o.drawNodes(p)
	if len(o.Sessions) > 0 {
		rows := [][]cell{header("PEER", "UP")}
		for _, s := range o.Sessions {
			up := plainf("%d of %d", s.Established, s.Total)
			if s.Established < s.Total {
				up.style = badOne
			}
			rows = append(rows, []cell{plain(s.Peer), up})
		}
		p.heading("BGP sessions")
		p.table("  ", rows...)
	}
	drawList(p, "Not known", o.Unread)
}

// linkNames lists links, and which are down.
func linkNames(of []nodeLink) string {
	names := make([]string, len(of))
	for i, l := range of {
		if names[i] = l.Name; !l.Up {
			names[i] += " (down)"
		}
	}
	return strings.Join(names, ", ")
}

func (n nodeUse) sessions() string {
	if n.Sessions == nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", n.Sessions.Established, n.Sessions.Total)
}

func (o overview) drawHealth(p *printer) {
	health := good("healthy")
	if n := len(o.Problems) + len(o.Services.Problems); n > 0 {
		health = bad(counted(n, "problem"))
	}
	p.line(bold("Steelyard"), plain("  "), health)
	p.line(plainf("%s, %d fine; controller: %s", counted(o.Services.Total, "Service"), o.Services.Fine, cmp.Or(o.Controller.Absent, o.Controller.Replica)))
}

// counted counts things whose plural ends in s, or in es after an s.
func counted(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "s"):
		thing += "e"
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// barWidth is how many characters a full pool takes.
const barWidth = 20

func (o overview) drawPools(p *printer) {
	if len(o.Pools) == 0 {
		p.heading("Pools: there is none, so that no Service gets an address")
		return
	}
	p.heading("Pools")
	drawUsage(p, o.Pools)
	o.drawKept(p)
}

func drawUsage(p *printer, pools []poolUse) {
	rows := [][]cell{header("POOL", "FAMILY", "ACCEPTED", "USED", "", "")}
	for _, u := range pools {
		accepted, color := good("yes"), goodOne
		if !u.Accepted {
			accepted = bad("no")
		}
		switch {
		case u.Percent >= 100:
			color = badOne
		case u.Percent >= 80:
			color = warnOne
		}
		full := min(barWidth, (u.Percent*barWidth+99)/100)
		bar := cell{"[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]", color}
		rows = append(rows, []cell{plain(u.Pool), plain(u.Family), accepted, bar, plainf("%3d%%", u.Percent), plainf("%s of %s", u.Used, short(u.Capacity.String()))})
	}
	p.table("  ", rows...)
}

// mostKept is how many kept addresses are drawn.
const mostKept = 20

func (o overview) drawKept(p *printer) {
	if len(o.Kept) == 0 {
		return
	}
	rows := [][]cell{header("ADDRESS", "SERVICE", "UNTIL")}
	for _, k := range o.Kept[:min(mostKept, len(o.Kept))] {
		rows = append(rows, []cell{plain(k.Address), plain(k.Service), plain(k.Until.UTC().Format(time.RFC3339))})
	}
	p.heading("Kept for Services that were deleted")
	p.table("  ", rows...)
	if n := len(o.Kept) - mostKept; n > 0 {
		p.line(plainf("  and %d more", n))
	}
}

// short writes a number of more than 12 digits as a power of ten.
func short(decimal string) string {
	if len(decimal) <= 12 {
		return decimal
	}
	return fmt.Sprintf("%s.%se%d", decimal[:1], decimal[1:2], len(decimal)-1)
}

func (o overview) drawNodes(p *printer) {
	if len(o.Nodes) == 0 {
		p.heading("Nodes: there is none")
		return
	}
	rows := [][]cell{header("NODE", "SPEAKER", "LINKS", "ADDRESSES", "SESSIONS", "VERSION", "AGE")}
	for _, n := range o.Nodes {
		state := good("ready")
		switch {
		case n.Speaker == health.Unknown:
			state = bad("not heard of")
		case n.Absent != "":
			state = bad("absent")
		case n.Excluded != "":
			state = warn("excluded")
		case n.Yields:
			state = warn("unschedulable")
		}
		rows = append(rows, []cell{plain(n.Node), state, plain(linkNames(n.Links)), plainf("%d", n.Addresses), plain(n.sessions()), plain(n.Version), plain(since(n.Since, o.now))})
	}
	p.heading("Nodes")
	p.table("  ", withoutEmpty(rows)...)
}

func (o overview) drawProblems(p *printer) {
	for _, part := range []struct {
		title    string
		problems []problem
	}{
		{"Services with a problem (kubectl steelyard explain tells more)", o.Services.Problems},
		{"Problems", o.Problems},
	} {
		if len(part.problems) == 0 {
			continue
		}
		p.heading(part.title)
		drawProblems(p, part.problems)
	}
}

func drawProblems(p *printer, of []problem) {
	var rows [][]cell
	for _, x := range of {
		rows = append(rows, []cell{plain(x.Object), bad(x.Reason), plain(x.Message)})
	}
	p.table("  ", rows...)
}
