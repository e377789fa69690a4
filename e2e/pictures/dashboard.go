package main

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// shown is how many rows of the dashboard's grid are drawn: to the end of "Local network".
const shown = 48

// panel is what is drawn of a panel of the dashboard.
type panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H float64 }
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Max        float64
			Thresholds struct {
				Steps []struct {
					Color string
					Value *float64
				}
			}
		}
	}
}

// dashboard draws the panels of config/monitoring/dashboard.json, each by its own
// queries, with what Prometheus has of this rack.
func (s *studio) dashboard(ctx context.Context, p *prometheus) error {
	text, err := os.ReadFile(s.monitoring("dashboard.json"))
	if err != nil {
		return err
	}
	var board struct {
		Title  string
		Panels []panel
	}
	if err := json.Unmarshal(text, &board); err != nil {
		return err
	}
	const unit, row = 50.0, 34.0
	c := &canvas{width: 24*unit + 32, height: shown*row + 64}
	c.text(16, 30, "strong", board.Title)
	time.Sleep(15 * time.Second)
	end := time.Now()
	for _, b := range board.Panels {
		if b.GridPos.Y >= shown {
			continue
		}
		d := drawing{c, b, 16 + b.GridPos.X*unit, 44 + b.GridPos.Y*row, b.GridPos.W*unit - 6, b.GridPos.H*row - 6, end.Sub(p.since).Seconds()}
		var all []series
		for _, t := range b.Targets {
			found, err := p.values(ctx, t.Expr, p.since, end)
			if err != nil {
				return fmt.Errorf("panel %q: %w", b.Title, err)
			}
			for i := range found {
				found[i].labels["legend"] = legend(t.LegendFormat, found[i].labels)
			}
			all = append(all, found...)
		}
		slices.SortFunc(all, func(a, b series) int { return strings.Compare(a.labels["legend"], b.labels["legend"]) })
		d.draw(all)
	}
	return s.save("dashboard.svg", c.svg("The dashboard of config/monitoring, with the figures of a rack whose node was cut off"))
}

var inLegend = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

func legend(format string, labels map[string]string) string {
	return strings.TrimSpace(inLegend.ReplaceAllStringFunc(format, func(m string) string { return labels[inLegend.FindStringSubmatch(m)[1]] }))
}

// drawing is a panel at its place.
type drawing struct {
	*canvas
	panel
	x, y, w, h, seconds float64
}

func (d drawing) draw(all []series) {
	if d.Type == "row" {
		d.text(d.x, d.y+20, "strong", d.Title)
		return
	}
	d.put(`<rect class="paper" x="%g" y="%g" width="%g" height="%g" rx="4"/>`, d.x, d.y, d.w, d.h)
	d.text(d.x+8, d.y+18, "small", d.Title)
	switch {
	case d.Type == "stat":
		d.stat(all)
	case len(all) == 0:
		d.text(d.x+d.w/2, d.y+d.h/2, "faint middle", "none")
	case d.Type == "bargauge":
		d.gauges(all)
	case d.Type == "state-timeline":
		d.states(all)
	default:
		d.lines(all)
	}
}

// color is that of a value by the panel's thresholds.
func (d drawing) color(v float64) string {
	out := "blue"
	for _, s := range d.FieldConfig.Defaults.Thresholds.Steps {
		if s.Value == nil || v >= *s.Value {
			out = s.Color
		}
	}
	return map[string]string{"green": "var(--good)", "red": "var(--bad)", "orange": "var(--warn)", "blue": "var(--blue)"}[out]
}

func (s series) last() float64 {
	if len(s.points) == 0 {
		return 0
	}
	return s.points[len(s.points)-1].value
}

func (d drawing) stat(all []series) {
	v := 0.0
	if len(all) > 0 {
		v = all[0].last()
	}
	d.put(`<text x="%g" y="%g" class="big middle" style="fill: %s">%g</text>`, d.x+d.w/2, d.y+d.h/2+20, d.color(v), v)
}

func (d drawing) gauges(all []series) {
	for i, s := range all {
		y := d.y + 36 + float64(i)*44
		v := s.last()
		d.text(d.x+8, y+10, "small faint", s.labels["legend"])
		d.text(d.x+d.w-8, y+10, "small end", fmt.Sprintf("%.1f %%", v*100))
		d.put(`<rect x="%g" y="%g" width="%g" height="10" fill="var(--rule)"/>`, d.x+8, y+16, d.w-16)
		d.put(`<rect x="%g" y="%g" width="%.1f" height="10" fill="%s"/>`, d.x+8, y+16, (d.w-16)*v, d.color(v))
	}
}

func (d drawing) states(all []series) {
	const labels = 130.0
	height := (d.h - 50) / float64(len(all))
	for i, s := range all {
		y := d.y + 28 + float64(i)*height
		d.text(d.x+8, y+height/2+2, "small faint", s.labels["legend"])
		for j, p := range s.points {
			if j > 0 && s.points[j-1].value == p.value && p.at-s.points[j-1].at < 1.5 {
				continue
			}
			until := p.at + 1
			for _, q := range s.points[j:] {
				if q.value != p.value {
					break
				}
				until = q.at + 1
			}
			scale := (d.w - labels - 12) / d.seconds
			d.put(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, d.x+labels+p.at*scale, y, min(until, d.seconds)*scale-p.at*scale, height-4, d.color(p.value))
		}
	}
	d.text(d.x+d.w-8, d.y+d.h-7, "small faint end", fmt.Sprintf("%.0f s", d.seconds))
}

// lines draws series over time.
func (d drawing) lines(all []series) {
	top := d.FieldConfig.Defaults.Max
	for _, s := range all {
		for _, p := range s.points {
			top = max(top, p.value)
		}
	}
	if top == 0 {
		top = 1
	}
	left, bottom := d.x+40, d.y+d.h-44
	x := func(at float64) float64 { return left + at*(d.w-50)/d.seconds }
	y := func(v float64) float64 { return bottom - v*(bottom-d.y-30)/top }
	for _, v := range []float64{0, top / 2, top} {
		d.put(`<path class="rule" d="M%g %.1fh%g"/>`, left, y(v), d.w-50)
		d.text(left-5, y(v)+4, "small faint end", short(v))
	}
	at := d.x + 8
	for i, s := range all {
		color := fmt.Sprintf("var(--%c)", 'a'+i%6)
		d.put(`<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, path(s.points, x, y), color)
		name := s.labels["legend"]
		if at+float64(len(name))*6.2+20 > d.x+d.w {
			continue // there is no room to name more
		}
		d.put(`<rect x="%.1f" y="%g" width="8" height="3" fill="%s"/><text x="%.1f" y="%g" class="small faint">%s</text>`, at, d.y+d.h-14, color, at+12, d.y+d.h-10, html.EscapeString(name))
		at += float64(len(name))*6.2 + 22
	}
	d.text(d.x+d.w-8, bottom+15, "small faint end", fmt.Sprintf("%.0f s", d.seconds))
	d.text(left, bottom+15, "small faint", "0 s")
}

// path leaves a gap where there were no points.
func path(points []point, x, y func(float64) float64) string {
	var b strings.Builder
	for i, p := range points {
		verb := "L"
		if i == 0 || p.at-points[i-1].at > 1.5 {
			verb = "M"
		}
		fmt.Fprintf(&b, "%s%.0f %.1f", verb, x(p.at), y(p.value))
	}
	return b.String()
}

func short(v float64) string {
	if v >= 10 || v == float64(int(v)) {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2g", v)
}
