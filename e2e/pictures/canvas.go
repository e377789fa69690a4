package main

import (
	"fmt"
	"html"
	"strings"
)

// style is what every drawing has: the colors of a light page, and of a dark one.
const style = `<style>
:root { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --rule: #d1d9e0; --good: #1a7f37; --bad: #cf222e; --warn: #9a6700; --blue: #0969da;
  --a: #0969da; --b: #bf3989; --c: #1a7f37; --d: #9a6700; --e: #8250df; --f: #bc4c00 }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --faint: #9198a1; --rule: #3d444d; --good: #3fb950; --bad: #f85149;
  --warn: #d29922; --blue: #4493f8; --a: #4493f8; --b: #f778ba; --c: #3fb950; --d: #d29922; --e: #ab7df8; --f: #f0883e } }
text { fill: var(--ink); font: 13px ui-sans-serif, system-ui, sans-serif }
.mono { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre }
.faint { fill: var(--faint) } .small { font-size: 11px } .strong { font-weight: 600 } .big { font-size: 24px; font-weight: 600 }
.paper { fill: var(--paper); stroke: var(--rule) } .rule { stroke: var(--rule); fill: none } .end { text-anchor: end } .middle { text-anchor: middle }
</style>
`

// canvas is an SVG in the making.
type canvas struct {
	strings.Builder
	width, height float64
}

// put adds an element.
func (c *canvas) put(format string, args ...any) {
	fmt.Fprintf(c, format, args...)
	c.WriteByte('\n')
}

func (c *canvas) text(x, y float64, class, text string) {
	c.put(`<text x="%g" y="%g" class="%s">%s</text>`, x, y, class, html.EscapeString(text))
}

// svg returns the whole drawing. The title is what a screen reader says.
func (c *canvas) svg(title string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%[1]g" height="%g" role="img">
<title>%s</title>
%s<rect class="paper" x=".5" y=".5" width="%g" height="%g" rx="8"/>
%s</svg>
`, c.width, c.height, html.EscapeString(title), style, c.width-1, c.height-1, c.String())
}

const (
	glyph = 7.83 // the width of a character of class mono
	line  = 18.0 // the height of a line of it
)

// terminal draws a command and what it printed.
func terminal(command, output string) string {
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	c := &canvas{width: float64(len(command)+2)*glyph + 32, height: float64(len(lines)+1)*line + 32}
	c.put(`<text x="16" y="29" class="mono strong"><tspan class="faint">$ </tspan>%s</text>`, html.EscapeString(command))
	for i, l := range lines {
		c.width = max(c.width, float64(len([]rune(l)))*glyph+32)
		if l != "" {
			c.text(16, 29+float64(i+1)*line, "mono", l)
		}
	}
	return c.svg(command)
}
