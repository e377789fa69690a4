package printable

import (
	"os/exec"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestMessage(t *testing.T) {
	for name, x := range map[string]struct{ in, want string }{
		"nothing stays nothing":                    {"", ""},
		"plain words stay":                         {"pool \"a\" is full; see it", "pool \"a\" is full; see it"},
		"letters of any script stay":               {"Zürich 東京 Київ ﷽ é", "Zürich 東京 Київ ﷽ é"},
		"an emoji stays":                           {"🙂", "🙂"},
		"line ends of every kind":                  {"a\rb\nc\u0085d\u2028e\u2029f\vg\fh", `a\rb\nc\u0085d\u2028e\u2029f\x0bg\x0ch`},
		"a tab":                                    {"a\tb", `a\tb`},
		"ESC and its one-byte sister":              {"\x1b[2J\u009b2J", `\x1b[2J\u009b2J`},
		"NUL and DEL":                              {"\x00\x7f", `\x00\x7f`},
		"bidirectional overrides and isolates":     {"a\u202eb\u202a\u2066c\u2069\u200f", `a\u202eb\u202a\u2066c\u2069\u200f`},
		"zero width":                               {"a\u200bb\u200dc\u2060d\ufeff", `a\u200bb\u200dc\u2060d\ufeff`},
		"a soft hyphen":                            {"a\u00adb", `a\u00adb`},
		"bytes that are no UTF-8":                  {"a\xffb\xc3", `a\xffb\xc3`},
		"half a surrogate pair":                    {"\xed\xa0\x80", `\xed\xa0\x80`},
		"an overlong ESC":                          {"\xc0\x9b", `\xc0\x9b`},
		"the replacement character stays":          {"\ufffd", "\ufffd"},
		"private use":                              {"\ue000\U000f0000", `\ue000\U000f0000`},
		"not assigned, and no character":           {"\u0378\uffff", `\u0378\uffff`},
		"tags":                                     {"\U000e0041", `\U000e0041`},
		"variation selectors":                      {"a\ufe0fb\U000e0100", `a\ufe0fb\U000e0100`},
		"spaces that are not the space":            {"a\u00a0b\u3000c\u2003", `a\u00a0b\u3000c\u2003`},
		"fillers that look like a space":           {"\u3164\u115f\u2800\uffa0", `\u3164\u115f\u2800\uffa0`},
		"two marks on a letter stay":               {"ệ e\u0323\u0302", "ệ e\u0323\u0302"},
		"a heap of marks is escaped from the 5th":  {"e" + strings.Repeat("\u0301", 6) + "x", "e" + strings.Repeat("\u0301", 4) + `\u0301\u0301` + "x"},
		"a mark at the start has no letter":        {"\u0301a", `\u0301a`},
		"a backslash stays, so escapes can't grow": {`\x1b`, `\x1b`},
	} {
		if diff := cmp.Diff(x.want, Message(x.in)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestMessageSaysHowMuchIsMissing(t *testing.T) {
	for name, x := range map[string]struct {
		in, want string
	}{
		"1,024 bytes are not cut":                 {strings.Repeat("a", 1024), strings.Repeat("a", 1024)},
		"a byte more is":                          {strings.Repeat("a", 1025), strings.Repeat("a", 1003) + "… (22 bytes more)"},
		"not within a rune":                       {"a" + strings.Repeat("é", 600), "a" + strings.Repeat("é", 501) + "… (198 bytes more)"},
		"nor within an escape":                    {strings.Repeat("\u2028", 600), strings.Repeat(`\u2028`, 167) + "… (1299 bytes more)"},
		"a quarter of a million bytes of control": {strings.Repeat("\x01", 255000), strings.Repeat(`\x01`, 250) + "… (254750 bytes more)"},
	} {
		if diff := cmp.Diff(x.want, Message(x.in)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// TestWorkEndsWithTheOutput counts the escapes by what they allocate.
func TestWorkEndsWithTheOutput(t *testing.T) {
	long := strings.Repeat("\x01", 1<<20)
	for name, show := range map[string]func(string) string{"Message": Message, "Word": Word, "Quote": Quote} {
		if n := testing.AllocsPerRun(3, func() { show(long) }); n > 1000 {
			t.Errorf("%s of a megabyte takes %.0f allocations", name, n)
		}
	}
}

func TestQuote(t *testing.T) {
	for name, x := range map[string]struct{ in, want string }{
		"nothing":                   {"", `""`},
		"a name":                    {"public", `"public"`},
		"an end of the quotation":   {`a" and "b`, `"a\" and \"b"`},
		"a backslash":               {`a\"b`, `"a\\\"b"`},
		"98 runes between":          {strings.Repeat("é", 98), `"` + strings.Repeat("é", 98) + `"`},
		"a rune more is cut":        {strings.Repeat("é", 99), `"` + strings.Repeat("é", 85) + `…" (198 bytes)`},
		"an escape is not cut open": {strings.Repeat("\u2028", 40), `"` + strings.Repeat(`\u2028`, 14) + `…" (120 bytes)`},
	} {
		if diff := cmp.Diff(x.want, Quote(x.in)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestList(t *testing.T) {
	if got := List(nil); got != "" {
		t.Errorf("nothing: %q", got)
	}
	if diff := cmp.Diff(`a\r, b`, List([]string{"a\r", "b"})); diff != "" {
		t.Error(diff)
	}
	words := strings.Split(strings.Repeat("x,", 46)+"x", ",")
	if diff := cmp.Diff(strings.Repeat(`"x", `, 9)+`"x" and 37 more`, Quotes(words)); diff != "" {
		t.Error(diff)
	}
}

func TestShell(t *testing.T) {
	for name, x := range map[string]struct{ in, want string }{
		"an empty text is a word": {"", "''"},
		"a name stays bare":       {"shop/web-1.example,x", "shop/web-1.example,x"},
		"what a shell expands":    {"$(reboot) `id` $HOME *", "'$(reboot) `id` $HOME *'"},
		"a quote":                 {"it's; id", `'it'\''s; id'`},
		"a home folder":           {"~root", "'~root'"},
		"a line end":              {"a\nid\r", `'a\nid\r'`},
		"NUL":                     {"a\x00b", `'a\x00b'`},
	} {
		got := Shell(x.in)
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// TestAShellTakesItForOneWord asks a real one.
func TestAShellTakesItForOneWord(t *testing.T) {
	for _, in := range []string{"", "plain", "it's", "'", "''; id; '", "$(id)", "a b\\", "!x", "~", "#x", "é", "\x1b[2J\nid"} {
		out, err := exec.Command("sh", "-c", "printf '<%s>' "+Shell(in)).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", in, err, out)
		}
		if diff := cmp.Diff("<"+Line(in)+">", string(out)); diff != "" {
			t.Errorf("%q: -want +got:\n%s", in, diff)
		}
	}
}

// TestNoRuneOfAFormPasses goes through all runes, against the categories of Unicode.
func TestNoRuneOfAFormPasses(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !Rune(r) {
			continue
		}
		if unicode.In(r, unicode.C, unicode.Zl, unicode.Zp, unicode.Bidi_Control, unicode.Join_Control) || unicode.IsSpace(r) && r != ' ' {
			t.Errorf("%U passes", r)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b[2J", "a\u202eb", strings.Repeat("\x01", 3000), strings.Repeat("é", 1000), "\xff\xc3", "e" + strings.Repeat("\u0301", 900), `\"`, "'"} {
		f.Add(s)
	}
	f.Fuzz(check)
}

// check holds what is true of every text.
func check(t *testing.T, s string) {
	for name, show := range map[string]func(string) string{"Message": Message, "Word": Word, "Quote": Quote, "Line": Line, "Shell": Shell} {
		got := show(s)
		if !Is(got) {
			t.Errorf("%s(%q) can't be shown: %q", name, s, got)
		}
		switch runes := utf8.RuneCountInString(got); {
		case name == "Message" && len(got) > MaxMessage, name == "Word" && runes > MaxQuote, name == "Quote" && runes > MaxQuote:
			t.Errorf("%s(%q) is %d bytes, %d runes long", name, s, len(got), runes)
		}
		if again := show(got); name != "Quote" && name != "Shell" && again != got {
			t.Errorf("%s(%q) changes once more: %q, then %q", name, s, got, again)
		}
	}
	if q := Quote(s); strings.Count(strings.ReplaceAll(strings.ReplaceAll(q, `\\`, ""), `\"`, ""), `"`) != 2 {
		t.Errorf("Quote(%q) ends within: %s", s, q)
	}
}
