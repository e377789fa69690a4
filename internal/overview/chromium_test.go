package overview

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// screenshots is where to put pictures of the page, to be looked at.
var screenshots = flag.String("screenshots", "", "folder to leave pictures of the page in")

// newBrowser returns the context of a tab of a headless Chromium.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium is installed: the page is not tried in a browser (\"make test-packages\" installs chromium-headless-shell)")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses to have one as root
	}
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	do(t, tab) // it lives as long as the context of this call
	tab, cancel := context.WithTimeout(tab, 2*time.Minute)
	t.Cleanup(cancel)
	return tab
}

// do runs actions in the browser.
func do(t *testing.T, tab context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(tab, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask runs an action that has an answer.
func ask[T any](t *testing.T, tab context.Context, action chromedp.Action[T]) T {
	t.Helper()
	out, err := chromedp.Run(tab, action)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// value is what a script makes of the page.
func value[T any](t *testing.T, tab context.Context, script string) T {
	t.Helper()
	return ask(t, tab, chromedp.Evaluate[T](script))
}

// command has the browser do something.
func command[P, R any](t *testing.T, tab context.Context, c cdp.Command[P, R], params P) R {
	t.Helper()
	out, err := chromedp.Call(tab, c, params)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// look sets how the page is looked at.
func look(t *testing.T, tab context.Context, scheme string, width int64) {
	t.Helper()
	command(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	command(t, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
}

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

// contrasts finds the texts whose contrast to what is behind them is below 4.5 to 1
// (WCAG 2.2, success criterion 1.4.3), as the browser paints them.
const contrasts = `(() => {
  const light = c => { const [r, g, b] = c.match(/[\d.]+/g).map(Number).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b };
  const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$|transparent/.test(c)) return c } return 'rgb(255,255,255)' };
  const out = [], seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; n = walker.nextNode();) {
    if (!n.data.trim()) continue;
    const [a, b] = [light(getComputedStyle(n.parentElement).color), light(back(n.parentElement))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    seen.add(getComputedStyle(n.parentElement).color);
    if (ratio < 4.5) out.push(n.data.trim() + ' ' + ratio.toFixed(2));
  }
  for (const e of document.querySelectorAll('.fill')) {
    const [a, b] = [light(getComputedStyle(e).fill), light(getComputedStyle(e.previousElementSibling).fill)];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 3) out.push('bar ' + ratio.toFixed(2));
  }
  return {faint: out, colors: seen.size};
})()`

func TestChromiumShowsThePage(t *testing.T) {
	url, tab := serve(t, trouble()), newBrowser(t)
	complaints := complaintsOf(t, tab)
	var backs []string
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 360} {
			look(t, tab, scheme, width)
			do(t, tab, chromedp.Navigate(url))
			if wide := value[int64](t, tab, `document.scrollingElement.scrollWidth`); wide > width {
				t.Errorf("%s, %d wide: the page is %d wide, and has to be scrolled sideways", scheme, width, wide)
			}
			colors := value[struct {
				Faint  []string `json:"faint"`
				Colors int      `json:"colors"`
			}](t, tab, contrasts)
			if len(colors.Faint) > 0 || colors.Colors < 5 {
				t.Errorf("%s: %d colors; hard to read: %v", scheme, colors.Colors, colors.Faint)
			}
			if foreign := value[int64](t, tab, `document.querySelectorAll("script, img, link, iframe, [style], [onclick]").length`); foreign != 0 {
				t.Errorf("%d scripts, images or foreign parts", foreign)
			}
			backs = append(backs, value[string](t, tab, `getComputedStyle(document.documentElement).backgroundColor`))
			if *screenshots != "" {
				picture := ask(t, tab, chromedp.FullScreenshot(100))
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

// complaintsOf returns what the browser has to say of the pages that it shows
// from now on; that they have no icon does not count.
func complaintsOf(t *testing.T, tab context.Context) func() []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	err := chromedp.Listen(tab, func(e any) {
		if x, ok := e.(*log.EventEntryAdded); ok && !strings.Contains(x.Entry.URL, "favicon") {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, x.Entry.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	command(t, tab, log.Enable, cdp.Empty{})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestChromiumTellsThePageToThoseWhoListen(t *testing.T) {
	url, tab := serve(t, trouble()), newBrowser(t)
	do(t, tab, chromedp.Navigate(url))
	roles := map[string][]string{}
	for _, n := range command(t, tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
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
	url, tab := serve(t, trouble()), newBrowser(t)
	const focused = `(() => { const e = document.activeElement, s = getComputedStyle(e);
  const seen = s.outlineStyle != 'none' && parseFloat(s.outlineWidth) > 0 && e.getBoundingClientRect().bottom > 0 && e.getBoundingClientRect().top < innerHeight;
  return [e.tagName == 'A' ? e.textContent.trim() : e.getAttribute('aria-labelledby'), seen ? 'seen' : 'unseen'].join(' ') })()`
	look(t, tab, "light", 360)
	do(t, tab, chromedp.Navigate(url))
	var got []string
	for range 9 {
		do(t, tab, chromedp.KeyEvent("\t"))
		got = append(got, value[string](t, tab, focused))
	}
	want := []string{"Skip to the content seen", "Refresh now seen", "Refresh every 10 s seen", "attention seen", "pools seen", "claims seen", "sessions seen", "speakers seen", "Metrics seen"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
}

func TestChromiumNeedsNoScriptAndKeepsItsPlaceWhenThePageRefreshes(t *testing.T) {
	url, tab := serve(t, trouble()), newBrowser(t)
	look(t, tab, "light", 360)
	command(t, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	do(t, tab, chromedp.Navigate(url+"/?refresh=10"))
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
	if links := value[string](t, tab, `document.querySelector("nav").innerText`); !strings.Contains(links, "Stop") {
		t.Errorf("nothing stops it: %q", links)
	}
}
