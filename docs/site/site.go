package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
)

// repository is where a link to what is no page leads.
const repository = "https://github.com/steelyard-lb/steelyard"

// contents is the page whose lists are the site's menu.
const contents = "docs/README.md"

//go:embed page.html site.css search.js
var assets embed.FS

// markdown reads what GitHub shows: the same tables, and the same names of headings. The
// pages are ours, so the HTML in them is kept.
var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()),
	goldmark.WithRendererOptions(html.WithUnsafe()))

// page is one Markdown file. Paths are those in the repository, with slashes.
type page struct {
	path     string
	source   []byte
	root     ast.Node
	title    string
	headings []heading
	pictures []string
}

type heading struct {
	Text string `json:"text"`
	ID   string `json:"id"`
}

// section is a part of the menu.
type section struct {
	Title string
	Pages []*page
}

type site struct {
	files fs.FS
	pages map[string]*page
	menu  []section
}

// newSite reads all pages of a checkout. Its error names each link that leads nowhere.
func newSite(files fs.FS) (*site, error) {
	s := &site{files: files, pages: map[string]*page{}}
	paths, err := fs.Glob(files, "*.md")
	if err != nil {
		return nil, fmt.Errorf("list the pages: %w", err)
	}
	err = fs.WalkDir(files, "docs", func(p string, _ fs.DirEntry, err error) error {
		if err == nil && path.Ext(p) == ".md" {
			paths = append(paths, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the pages: %w", err)
	}
	for _, p := range append(paths, "charts/steelyard/README.md") {
		if s.pages[p], err = readPage(files, p); err != nil {
			return nil, err
		}
	}
	if s.pages[contents] == nil {
		return nil, fmt.Errorf("there is no %s", contents)
	}
	s.makeMenu()
	var errs []error
	for _, p := range s.sorted() {
		errs = append(errs, s.resolve(p))
	}
	return s, errors.Join(errs...)
}

func readPage(files fs.FS, p string) (*page, error) {
	source, err := fs.ReadFile(files, p)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	out := &page{path: p, source: source, root: markdown.Parser().Parse(text.NewReader(source))}
	for h := range nodes[*ast.Heading](out.root) {
		words := words(h, source)
		if h.Level == 1 && out.title == "" {
			out.title = words
		}
		id, _ := h.AttributeString("id")
		name, _ := id.([]byte)
		out.headings = append(out.headings, heading{words, string(name)})
	}
	if out.title == "" {
		return nil, fmt.Errorf("%s has no title (\"# …\")", p)
	}
	return out, nil
}

// nodes walks all nodes of one kind below n.
func nodes[T ast.Node](n ast.Node) func(func(T) bool) {
	return func(yield func(T) bool) {
		_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // it fails only where the walker does
			if t, is := n.(T); is && entering && !yield(t) {
				return ast.WalkStop, nil
			}
			return ast.WalkContinue, nil
		})
	}
}

// words returns the text below n.
func words(n ast.Node, source []byte) string {
	var out strings.Builder
	for t := range nodes[*ast.Text](n) {
		out.Write(t.Value(source))
	}
	return out.String()
}

func (s *site) sorted() []*page {
	out := make([]*page, 0, len(s.pages))
	for _, p := range s.pages {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *page) int { return strings.Compare(a.path, b.path) })
	return out
}

// makeMenu makes the menu from the lists of the contents, and adds what is about the project.
func (s *site) makeMenu() {
	front, of := s.pages[contents], map[string]bool{}
	s.menu = []section{{Title: "Start", Pages: []*page{s.pages["README.md"], front}}}
	for n := front.root.FirstChild(); n != nil; n = n.NextSibling() {
		if h, is := n.(*ast.Heading); is && h.Level == 2 {
			s.menu = append(s.menu, section{Title: words(h, front.source)})
		}
		if _, is := n.(*ast.List); !is {
			continue
		}
		last := &s.menu[len(s.menu)-1]
		for l := range nodes[*ast.Link](n) {
			at, _ := inside(front, string(l.Destination))
			if p := s.pages[at]; p != nil && !of[p.path] {
				last.Pages = append(last.Pages, p)
				of[p.path] = true
			}
		}
	}
	project := section{Title: "Project"}
	for _, p := range s.sorted() {
		if !of[p.path] && p != front && p.path != "README.md" {
			project.Pages = append(project.Pages, p)
		}
	}
	s.menu = slices.DeleteFunc(append(s.menu, project), func(x section) bool { return len(x.Pages) == 0 })
}

// resolve has the links of p lead to pages of the site, or to the repository.
func (s *site) resolve(p *page) error {
	var errs []error
	for l := range nodes[*ast.Link](p.root) {
		to, err := s.target(p, string(l.Destination))
		errs = append(errs, err)
		l.Destination = []byte(to)
	}
	for i := range nodes[*ast.Image](p.root) {
		if at, is := inside(p, string(i.Destination)); is {
			p.pictures = append(p.pictures, at)
		}
	}
	// Of its own HTML a page has pictures only.
	for _, attribute := range []string{`src="`, `srcset="`} {
		for _, rest := range strings.Split(string(p.source), attribute)[1:] {
			value, _, _ := strings.Cut(rest, `"`)
			if at, is := inside(p, value); is {
				p.pictures = append(p.pictures, at)
			}
		}
	}
	for _, at := range p.pictures {
		if _, err := fs.Stat(s.files, at); err != nil {
			errs = append(errs, fmt.Errorf("%s shows %s, which is not there", p.path, at))
		}
	}
	return errors.Join(errs...)
}

// inside returns the path of what a link of p leads to, and whether that is in the repository.
func inside(p *page, link string) (string, bool) {
	u, err := url.Parse(link)
	if err != nil || u.IsAbs() || u.Host != "" || u.Path == "" {
		return "", false
	}
	return path.Join(path.Dir(p.path), u.Path), true
}

func (s *site) target(p *page, link string) (string, error) {
	at, is := inside(p, link)
	if !is {
		if name, own := strings.CutPrefix(link, "#"); own {
			return link, p.hasHeading(p, name)
		}
		return link, nil
	}
	before, name, _ := strings.Cut(link, "#")
	fragment := strings.TrimPrefix(link, before)
	if to := s.pages[at]; to != nil {
		return relative(p.path, to.path) + fragment, to.hasHeading(p, name)
	}
	found, err := fs.Stat(s.files, at)
	switch {
	case err != nil:
		return link, fmt.Errorf("%s: the link %q leads nowhere", p.path, link)
	case found.IsDir():
		return repository + "/tree/main/" + at + fragment, nil
	}
	return repository + "/blob/main/" + at + fragment, nil
}

// hasHeading fails if p has no heading of the name that a link of another page gives; "": any.
func (p *page) hasHeading(from *page, name string) error {
	if name == "" || slices.ContainsFunc(p.headings, func(h heading) bool { return h.ID == name }) {
		return nil
	}
	return fmt.Errorf("%s: %s has no heading %q", from.path, p.path, name)
}

// written returns where the page of a path is written.
func written(p string) string {
	if path.Base(p) == "README.md" {
		return path.Join(path.Dir(p), "index.html")
	}
	return strings.TrimSuffix(p, ".md") + ".html"
}

// relative returns the link from one page to another.
func relative(from, to string) string {
	out, err := filepath.Rel(path.Dir(from), written(to))
	if err != nil {
		panic(err) // both are relative paths
	}
	return filepath.ToSlash(out)
}

// write writes the site.
func (s *site) write(out string) error {
	if err := os.RemoveAll(out); err != nil {
		return fmt.Errorf("remove what is there: %w", err)
	}
	layout, err := template.ParseFS(assets, "page.html")
	if err != nil {
		return fmt.Errorf("read the layout: %w", err)
	}
	for _, p := range s.sorted() {
		text, err := s.render(layout, p)
		if err != nil {
			return fmt.Errorf("render %s: %w", p.path, err)
		}
		if err := put(out, written(p.path), text); err != nil {
			return err
		}
		for _, picture := range p.pictures {
			data, err := fs.ReadFile(s.files, picture)
			if err != nil {
				return fmt.Errorf("read %s: %w", picture, err)
			}
			if err := put(out, picture, data); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"site.css", "search.js"} {
		data, err := assets.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := put(out, name, data); err != nil {
			return err
		}
	}
	return s.writeIndex(out)
}

// writeIndex writes what the search looks in: the headings of all pages.
func (s *site) writeIndex(out string) error {
	type entry struct {
		Page     string    `json:"page"`
		Title    string    `json:"title"`
		Headings []heading `json:"headings"`
	}
	var all []entry
	for _, p := range s.sorted() {
		all = append(all, entry{written(p.path), p.title, p.headings})
	}
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return put(out, "index.js", fmt.Appendf(nil, "const pages = %s\n", text))
}

func put(out, name string, data []byte) error {
	to := filepath.Join(out, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", name, err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (s *site) render(layout *template.Template, p *page) ([]byte, error) {
	var body bytes.Buffer
	if err := markdown.Renderer().Render(&body, p.source, p.root); err != nil {
		return nil, fmt.Errorf("as HTML: %w", err)
	}
	type item struct {
		Title, Link string
		Here        bool
	}
	type part struct {
		Title string
		Open  bool
		Items []item
	}
	var menu []part
	for _, sec := range s.menu {
		of := part{Title: sec.Title}
		for _, q := range sec.Pages {
			of.Open = of.Open || q == p
			of.Items = append(of.Items, item{q.title, relative(p.path, q.path), q == p})
		}
		menu = append(menu, of)
	}
	var out bytes.Buffer
	top := strings.Repeat("../", strings.Count(p.path, "/"))
	err := layout.Execute(&out, map[string]any{
		"Title": p.title, "Menu": menu, "Top": top, "Source": repository + "/blob/main/" + p.path,
		"Body": template.HTML(body.String()), // made from our own Markdown
	})
	return out.Bytes(), err
}
