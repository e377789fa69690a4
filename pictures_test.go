package steelyard

import (
	"encoding/json"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const (
	picturesDir = "docs/pictures/"
	pictured    = 48 // how many rows of the dashboard's grid its picture shows
)

// TestPicturesShowTodaysTexts has the pictures of programs be made again (make pictures) when a
// program no longer has the words that a picture shows.
func TestPicturesShowTodaysTexts(t *testing.T) {
	plugin := wordsOfLiterals(t, "cmd/kubectl-steelyard", "internal/*", "api/v1beta1")
	for _, c := range []struct {
		picture string
		texts   map[string]bool
		names   string // of objects in the picture
	}{
		{"explain.svg", plugin, "lan routed"},
		{"status.svg", plugin, ""},
		{"cut.svg", wordsOfLiterals(t, "e2e/pictures"), ""},
	} {
		for _, name := range strings.Fields(c.names) {
			c.texts[name] = true
		}
		for i, line := range textsOf(t, c.picture) {
			if i == 0 && strings.HasPrefix(line, "$ ") { // the command
				continue
			}
			for _, word := range plainWords(line) {
				if !c.texts[word] {
					t.Errorf("%s shows %q, which no text of the program has, in %q: make pictures", c.picture, word, line)
				}
			}
		}
	}
}

func TestThePictureOfTheDashboardHasItsPanels(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			GridPos struct{ Y int }
		}
	}
	text, err := os.ReadFile("config/monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, line := range textsOf(t, "dashboard.svg") {
		shown[line] = true
	}
	for _, p := range dashboard.Panels {
		if p.GridPos.Y < pictured && !shown[p.Title] {
			t.Errorf("dashboard.svg has no panel %q: make pictures", p.Title)
		}
	}
	if len(dashboard.Panels) == 0 {
		t.Error("the dashboard has no panels")
	}
}

func TestPlainWordsAreWordsWithoutNamesAndNumbers(t *testing.T) {
	got := strings.Join(plainWords(`node1  Announced  "it" holds default/web; answers, on eth0 with 9e:d4 for 1s (why)`), " ")
	if want := "Announced holds answers with for why"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

var (
	svgText = regexp.MustCompile(`(?s)<text[^>]*>(.*?)</text>`)
	svgTag  = regexp.MustCompile(`<[^>]+>`)
)

// textsOf returns the texts in a picture, in order.
func textsOf(t *testing.T, picture string) []string {
	t.Helper()
	svg, err := os.ReadFile(picturesDir + picture)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range svgText.FindAllSubmatch(svg, -1) {
		out = append(out, html.UnescapeString(svgTag.ReplaceAllString(string(m[1]), "")))
	}
	if len(out) == 0 {
		t.Errorf("%s has no text", picture)
	}
	return out
}

// plainWords returns the words of at least three letters in a line: not what has digits, or is a
// part of a name such as default/web.
func plainWords(line string) []string {
	var out []string
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`;,()"`, r) }) {
		word = strings.TrimSuffix(word, ":")
		if len(word) >= 3 && !strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) {
			out = append(out, word)
		}
	}
	return out
}

// wordsOfLiterals returns the words in the string literals of the Go files, without tests, in folders
// given as globs.
func wordsOfLiterals(t *testing.T, folders ...string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, folder := range folders {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, text := range literals(t, path) {
				for _, word := range plainWords(text) {
					out[word] = true
				}
			}
		}
	}
	return out
}
