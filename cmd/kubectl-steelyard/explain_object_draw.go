package main

func (objectExplanation) kind() string { return "ObjectExplanation" }

func (e objectExplanation) clean() bool { return e.Reason == "" }

func (e objectExplanation) draw(p *printer) {
	result := good("OK")
	if e.Reason != "" {
		result = bad(e.Reason)
	}
	p.line(bold(e.Object), plain("  "), result)
	p.line(plain(e.Summary))
	if len(e.Properties) > 0 {
		p.WriteByte('\n')
		var rows [][]cell
		for _, x := range e.Properties {
			rows = append(rows, []cell{plain(x.Field), plain(x.Says)})
		}
		p.table("  ", rows...)
	}
	if len(e.Problems) > 1 {
		p.heading("Problems")
		drawProblems(p, e.Problems)
	}
	if len(e.Conditions) > 0 {
		rows := [][]cell{header("CONDITION", "STATUS", "REASON", "MESSAGE")}
		for _, c := range e.Conditions {
			rows = append(rows, []cell{plain(c.Type), plain(string(c.Status)), plain(c.Reason), plain(c.Message)})
		}
		p.heading("Conditions")
		p.table("  ", withoutEmpty(rows)...)
	}
	if len(e.Usage) > 0 {
		p.heading("Usage")
		drawUsage(p, e.Usage)
	}
	if len(e.Sessions) > 0 {
		p.heading("BGP sessions")
		drawSessions(p, "  ", e.Sessions, e.now)
	}
	if len(e.Claims) > 0 {
		p.heading("Addresses on the local network")
		drawClaims(p, "  ", e.Claims, e.now)
	}
	if len(e.Services) > 0 {
		p.heading("Services")
		drawServices(p, "  ", e.Services, true)
	}
	drawList(p, "Not known", e.Unread)
}
