package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// wellFormed fails if a text is no XML.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
}

func TestATerminalShowsWhatWasPrinted(t *testing.T) {
	svg := terminal("kubectl get x", "a <b> & \"c\"\n\n  indented\n")
	wellFormed(t, svg)
	for _, want := range []string{"</tspan>kubectl get x</text>", "a &lt;b&gt; &amp;", ">  indented</text>", "prefers-color-scheme: dark", "<title>kubectl get x</title>"} {
		if !strings.Contains(svg, want) {
			t.Errorf("there is no %q in\n%s", want, svg)
		}
	}
}

func TestThePlotOfACutSaysHowLongTheAddressWasSilent(t *testing.T) {
	var all []attempt
	for i := range 600 {
		a := attempt{At: float64(i) / 100}
		if i >= 200 && i < 240 {
			a.Error, a.Took = "i/o timeout", 400
		}
		all = append(all, a)
	}
	svg := plotCut(all)
	wellFormed(t, svg)
	if want := "560 answered, 40 not; the longest time without an answer is 0.41 s"; !strings.Contains(svg, want) {
		t.Errorf("there is no %q in\n%s", want, svg)
	}
}

func TestEachPanelOfTheDashboardIsDrawn(t *testing.T) {
	some := []series{{labels: map[string]string{"legend": "a & b"}, points: []point{{0, 1}, {1, 0}, {2, 0}, {9, 1}}}}
	for _, kind := range []string{"row", "stat", "bargauge", "state-timeline", "timeseries"} {
		for _, all := range [][]series{nil, some} {
			c := &canvas{width: 100, height: 100}
			drawing{c, panel{Type: kind, Title: "T"}, 0, 0, 100, 100, 10}.draw(all)
			wellFormed(t, c.svg("board"))
			if !strings.Contains(c.String(), ">T</text>") {
				t.Errorf("%s: there is no title", kind)
			}
		}
	}
}

func TestALegendNamesLabels(t *testing.T) {
	if got := legend("{{node}} to {{ peer }}", map[string]string{"node": "node1", "peer": "r"}); got != "node1 to r" {
		t.Errorf("the legend is %q", got)
	}
}
