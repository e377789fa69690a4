// Package browser looks at pages in a headless Chromium. Only tests use it.
package browser

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
)

// New returns the context of a tab of a headless Chromium, which lives for two minutes. It
// skips the test if none is installed.
func New(t *testing.T) context.Context {
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
	Do(t, tab) // it lives as long as the context of this call
	tab, cancel := context.WithTimeout(tab, 2*time.Minute)
	t.Cleanup(cancel)
	return tab
}

// Do runs actions in the browser.
func Do(t *testing.T, tab context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(tab, actions...); err != nil {
		t.Fatal(err)
	}
}

// Ask runs an action that has an answer.
func Ask[T any](t *testing.T, tab context.Context, action chromedp.Action[T]) T {
	t.Helper()
	out, err := chromedp.Run(tab, action)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Value is what a script makes of the page.
func Value[T any](t *testing.T, tab context.Context, script string) T {
	t.Helper()
	return Ask(t, tab, chromedp.Evaluate[T](script))
}

// Command has the browser do something.
func Command[P, R any](t *testing.T, tab context.Context, c cdp.Command[P, R], params P) R {
	t.Helper()
	out, err := chromedp.Call(tab, c, params)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Look sets how the page is looked at: "light" or "dark", and how many pixels wide.
func Look(t *testing.T, tab context.Context, scheme string, width int64) {
	t.Helper()
	Command(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	Command(t, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
}

// Faint is what is hard to read: texts whose contrast to what is behind them is below 4.5 to 1,
// and bars (of class fill) below 3 to 1 (WCAG 2.2, success criteria 1.4.3 and 1.4.11).
type Faint struct {
	Faint  []string `json:"faint"`
	Colors int      `json:"colors"` // how many colors the texts have
}

// Contrasts has the browser measure the contrasts, as it paints them.
func Contrasts(t *testing.T, tab context.Context) Faint {
	t.Helper()
	return Value[Faint](t, tab, contrasts)
}

const contrasts = `(() => {
  const light = c => { const [r, g, b] = c.match(/[\d.]+/g).map(Number).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b };
  const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$|transparent/.test(c)) return c } return 'rgb(255,255,255)' };
  const out = [], seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; n = walker.nextNode();) {
    if (!n.data.trim() || n.parentElement.tagName == 'SCRIPT') continue;
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

// Complaints returns what the browser has to say of the pages that it shows from now on;
// that they have no icon does not count.
func Complaints(t *testing.T, tab context.Context) func() []string {
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
	Command(t, tab, log.Enable, cdp.Empty{})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}
