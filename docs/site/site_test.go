package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/browser"
)

// small is a checkout with few pages.
func small(more map[string]string) fstest.MapFS {
	out := fstest.MapFS{
		"README.md":                  {Data: []byte("# Home\n\n[docs](docs/README.md), [code](api/doc.go), [folder](api)\n")},
		"docs/README.md":             {Data: []byte("# Docs\n\n## How-to\n\nOn:\n\n- [A](how-to/a.md#the-part)\n\n## Truth\n\nSee [home](../README.md).\n")},
		"docs/how-to/a.md":           {Data: []byte("# All of A\n\n## The part\n\n```sh skip=\"no router\"\ntrue\n```\n\n![p](../pictures/p.svg)\n")},
		"docs/pictures/p.svg":        {Data: []byte("<svg/>")},
		"api/doc.go":                 {Data: []byte("package api\n")},
		"charts/steelyard/README.md": {Data: []byte("# Chart\n")},
	}
	for name, text := range more {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestLinksLeadToPagesOrToTheRepository(t *testing.T) {
	s, err := newSite(small(nil))
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if err := s.write(out); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"index.html": {`<a href="docs/index.html">docs</a>`, `<a href="` + repository + `/blob/main/api/doc.go">code</a>`,
			`<a href="` + repository + `/tree/main/api">folder</a>`, `<title>Home · Steelyard</title>`},
		"docs/index.html":             {`<a href="how-to/a.html#the-part">A</a>`, `<a href="../index.html">home</a>`},
		"docs/how-to/a.html":          {`<h2 id="the-part">`, `<code class="language-sh">true`, `src="../pictures/p.svg"`, `<a href="a.html" aria-current="page">All of A</a>`},
		"docs/pictures/p.svg":         {"<svg/>"},
		"charts/steelyard/index.html": {"Chart"},
		"index.js":                    {`{"text":"The part","id":"the-part"}`},
	} {
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Error(err)
		}
		for _, part := range want {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s has no %s:\n%s", name, part, text)
			}
		}
	}
	var menu []string
	for _, sec := range s.menu {
		for _, p := range sec.Pages {
			menu = append(menu, sec.Title+": "+p.title)
		}
	}
	if d := cmp.Diff([]string{"Start: Home", "Start: Docs", "How-to: All of A", "Project: Chart"}, menu); d != "" {
		t.Errorf("menu: want -, have +:\n%s", d)
	}
}

func TestLinksThatLeadNowhereAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		"# B\n[x](c.md)":                `docs/b.md: the link "c.md" leads nowhere`,
		"# B\n[x](how-to/a.md#part)":    `docs/b.md: docs/how-to/a.md has no heading "part"`,
		"# B\n[x](#b2)":                 `docs/b.md: docs/b.md has no heading "b2"`,
		"# B\n![x](p.png)":              `docs/b.md shows docs/p.png, which is not there`,
		"# B\n<img src=\"pictures/q\">": `docs/b.md shows docs/pictures/q, which is not there`,
		"no heading":                    `docs/b.md has no title`,
	} {
		_, err := newSite(small(map[string]string{"docs/b.md": text}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The pages of this repository, in a browser.
func TestChromiumShowsTheSite(t *testing.T) {
	tab := browser.New(t)
	s, err := newSite(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if err := s.write(out); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(out)))
	t.Cleanup(server.Close)
	complaints := browser.Complaints(t, tab)
	const broken = `[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.currentSrc)`
	backs := map[string]bool{}
	for _, p := range s.sorted() {
		browser.Look(t, tab, "light", 1280)
		browser.Do(t, tab, chromedp.Navigate(server.URL+"/"+written(p.path)))
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 360} {
				browser.Look(t, tab, scheme, width)
				if wide := browser.Value[int64](t, tab, `document.scrollingElement.scrollWidth`); wide > width {
					t.Errorf("%s, %s, %d wide: the page is %d wide, and has to be scrolled sideways", p.path, scheme, width, wide)
				}
			}
			if colors := browser.Contrasts(t, tab); len(colors.Faint) > 0 || colors.Colors < 2 {
				t.Errorf("%s, %s: %d colors; hard to read: %v", p.path, scheme, colors.Colors, colors.Faint)
			}
			browser.Do(t, tab, chromedp.WaitReady("body"))
			if all := browser.Value[[]string](t, tab, broken); len(all) > 0 {
				t.Errorf("%s, %s: these pictures are not shown: %v", p.path, scheme, all)
			}
			backs[browser.Value[string](t, tab, `getComputedStyle(document.documentElement).backgroundColor`)] = true
		}
	}
	if len(backs) != 2 {
		t.Errorf("light and dark have these backgrounds: %v", backs)
	}
	browser.Do(t, tab, chromedp.Navigate(server.URL+"/docs/index.html"))
	found := browser.Value[[]string](t, tab, `(() => { box.value = 'bfd'; box.dispatchEvent(new Event('input'));
  return [...document.querySelectorAll('form li a')].map(a => a.textContent + ' ' + a.href) })()`)
	if len(found) == 0 || !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, server.URL+"/docs/") }) {
		t.Errorf("a search for BFD finds %q", found)
	}
	if all := complaints(); len(all) > 0 {
		t.Errorf("the browser complains: %v", all)
	}
}
