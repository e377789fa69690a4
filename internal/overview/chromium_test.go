package overview

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/browser"
)

// screenshots is where to put pictures of the page, to be looked at.
var screenshots = flag.String("screenshots", "", "folder to leave pictures of the page in")

// serve serves the page of o as the controller does.
func serve(t *testing.T, o Objects) string {
	t.Helper()
	r, err := NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		scene := Scene{Replica: "steelyard-controller-7d9f", Leads: true}
		if q.URL.Query().Get("refresh") != "" {
			scene.Refresh = 2 * time.Second
		}
		html, err := r.Render(o, scene)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", r.Policy())
		_, _ = w.Write(html) // a browser that has left is no fault
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestChromiumShowsThePage(t *testing.T) {
	url, tab := serve(t, trouble()), browser.New(t)
	complaints := browser.Complaints(t, tab)
	var backs []string
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 360} {
			browser.Look(t, tab, scheme, width)
			browser.Do(t, tab, chromedp.Navigate(url))
			if wide := browser.Value[int64](t, tab, `document.scrollingElement.scrollWidth`); wide > width {
				t.Errorf("%s, %d wide: the page is %d wide, and has to be scrolled sideways", scheme, width, wide)
			}
			colors := browser.Contrasts(t, tab)
			if len(colors.Faint) > 0 || colors.Colors < 5 {
				t.Errorf("%s: %d colors; hard to read: %v", scheme, colors.Colors, colors.Faint)
			}
			if foreign := browser.Value[int64](t, tab, `document.querySelectorAll("script, img, link, iframe, [style], [onclick]").length`); foreign != 0 {
				t.Errorf("%d scripts, images or foreign parts", foreign)
			}
			backs = append(backs, browser.Value[string](t, tab, `getComputedStyle(document.documentElement).backgroundColor`))
			if *screenshots != "" {
				picture := browser.Ask(t, tab, chromedp.FullScreenshot(100))
				if err := os.WriteFile(filepath.Join(*screenshots, fmt.Sprintf("page-%s-%d.png", scheme, width)), picture, 0o644); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if backs[0] == backs[2] || backs[0] != backs[1] {
		t.Errorf("backgrounds, light twice and dark twice: %v", backs)
	}
	if all := complaints(); len(all) > 0 {
		t.Errorf("the browser complains (of its policy, say): %v", all)
	}
}

func TestChromiumTellsThePageToThoseWhoListen(t *testing.T) {
	url, tab := serve(t, trouble()), browser.New(t)
	browser.Do(t, tab, chromedp.Navigate(url))
	roles := map[string][]string{}
	for _, n := range browser.Command(t, tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if !n.Ignored && n.Role != nil && n.Name != nil {
			role := strings.Trim(string(n.Role.Value), `"`)
			roles[role] = append(roles[role], strings.Trim(string(n.Name.Value), `"`))
		}
	}
	for role, want := range map[string][]string{
		"table": {"What is broken, and then what waits", "How many addresses of each pool are assigned", "Which node answers for which address, by ARP and NDP",
			"The sessions of the nodes to their routers", "The program that announces, on each node"},
		"columnheader": {"Address", "Last error"},
		"rowheader":    {"192.0.2.20", "node-3", "web"},
		"region":       {"Pools", "BGP sessions"},
		"heading":      {"Steelyard", "Needs attention"},
		"navigation":   {"Refresh"},
		"main":         {""},
		"link":         {"Skip to the content", "Refresh now", "Refresh every 10 s", "Metrics"},
	} {
		for _, name := range want {
			if !slices.Contains(roles[role], name) {
				t.Errorf("there is no %s %q, but %q", role, name, roles[role])
			}
		}
	}
	if !strings.Contains(strings.Join(roles["StaticText"], "|"), "93 %, nearly full") {
		t.Error("how full a pool is can be seen and not heard")
	}
}

func TestChromiumFollowsTheKeyboard(t *testing.T) {
	url, tab := serve(t, trouble()), browser.New(t)
	const focused = `(() => { const e = document.activeElement, s = getComputedStyle(e);
  const seen = s.outlineStyle != 'none' && parseFloat(s.outlineWidth) > 0 && e.getBoundingClientRect().bottom > 0 && e.getBoundingClientRect().top < innerHeight;
  return [e.tagName == 'A' ? e.textContent.trim() : e.getAttribute('aria-labelledby'), seen ? 'seen' : 'unseen'].join(' ') })()`
	browser.Look(t, tab, "light", 360)
	browser.Do(t, tab, chromedp.Navigate(url))
	var got []string
	for range 9 {
		browser.Do(t, tab, chromedp.KeyEvent("\t"))
		got = append(got, browser.Value[string](t, tab, focused))
	}
	want := []string{"Skip to the content seen", "Refresh now seen", "Refresh every 10 s seen", "attention seen", "pools seen", "claims seen", "sessions seen", "speakers seen", "Metrics seen"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
}

func TestChromiumNeedsNoScriptAndKeepsItsPlaceWhenThePageRefreshes(t *testing.T) {
	url, tab := serve(t, trouble()), browser.New(t)
	browser.Look(t, tab, "light", 360)
	browser.Command(t, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	browser.Do(t, tab, chromedp.Navigate(url+"/?refresh=10"))
	// One look may meet the moment at which the page is exchanged, and fail.
	until := func(what, script string, good func(float64) bool) float64 {
		t.Helper()
		for {
			got, err := chromedp.Run(tab, chromedp.Evaluate[float64](script))
			switch {
			case err == nil && good(got):
				return got
			case tab.Err() != nil:
				t.Fatalf("%s; the last look has %v, %v", what, got, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	first := until("it does not scroll", `window.scrollTo(0, 300), performance.timeOrigin`, func(float64) bool { return true })
	until("it does not refresh", `performance.timeOrigin`, func(now float64) bool { return now > first })
	until("it loses its place", `window.scrollY`, func(y float64) bool { return y == 300 })
	if links := browser.Value[string](t, tab, `document.querySelector("nav").innerText`); !strings.Contains(links, "Stop") {
		t.Errorf("nothing stops it: %q", links)
	}
}
