// Package printable makes foreign text safe to show, and short. Foreign is what
// the programs did not write themselves: annotations, names and fields of
// objects, what a router or the API server answered.
//
// Every rune that a reader can't see, or that moves what stands beside it, is
// escaped: line ends of every kind, ESC and all other controls, bidirectional
// and other format characters, private use, tags, variation selectors, fillers
// that look like a space, bytes that are no UTF-8, and more than a few combining
// marks on one letter. So the text is one line, and no terminal, no log and no
// parser takes it for more than text.
//
// An escape is meant for people. Only Quote can be read back, where it has not
// cut; the others leave a backslash as it is, so that text may pass them twice.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxQuote is how many runes Quote and Word return at most.
	MaxQuote = 100
	// MaxMessage is how many bytes Message returns at most.
	MaxMessage = 1024
	// MaxList is how many words List shows at most.
	MaxList = 10
	// maxMarks is how many combining marks one letter may bear. Vietnamese takes
	// two, Hebrew and Tibetan sometimes three or four.
	maxMarks = 4
	// blank is a braille cell without a dot.
	blank = '\u2800'
)

// Rune reports whether r can be seen, and is taken for nothing but itself. It says
// so of combining marks, too.
func Rune(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r <= '~'
	}
	return unicode.IsPrint(r) && r != blank && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// escaper splits text into pieces that can be shown. Its zero value is at a start.
type escaper struct {
	base  bool // there is a letter to put marks on
	marks int  // that it has
}

// next returns the first rune of text as it is to be shown, and its length in text.
func (e *escaper) next(text string) (shown string, size int) {
	r, size := utf8.DecodeRuneInString(text)
	mark := unicode.Is(unicode.M, r)
	if mark {
		e.marks++
	} else {
		e.base, e.marks = true, 0
	}
	switch {
	case r == utf8.RuneError && size == 1:
		return fmt.Sprintf(`\x%02x`, text[0]), size
	case Rune(r) && !(mark && (!e.base || e.marks > maxMarks)):
		return text[:size], size
	case r == '\n' || r == '\r' || r == '\t':
		return strings.Trim(strconv.QuoteRuneToASCII(r), "'"), size
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r), size
	case r > 0xffff:
		return fmt.Sprintf(`\U%08x`, r), size
	}
	return fmt.Sprintf(`\u%04x`, r), size
}

// Message returns text on one line, of at most MaxMessage bytes. Where it cuts, it
// says how much is missing. To pass a message once more changes nothing.
func Message(text string) string { return Within(MaxMessage, text) }

// Within is Message with another most of bytes, 50 or more.
func Within(most int, text string) string {
	if len(text) <= most && Is(text) {
		return text
	}
	return shorten(text, most, func(shown string) int { return len(shown) })
}

// Word returns text on one line, of at most MaxQuote runes: a name, or a value,
// that stands by itself. To pass a word once more changes nothing.
func Word(text string) string {
	if len(text) <= MaxQuote && Is(text) {
		return text
	}
	return shorten(text, MaxQuote, utf8.RuneCountInString)
}

// Is reports whether nothing of a text of one line needs an escape.
func Is(text string) bool {
	var e escaper
	for i := 0; i < len(text); {
		shown, size := e.next(text[i:])
		if shown != text[i:i+size] {
			return false
		}
		i += size
	}
	return true
}

// shorten escapes text, and cuts what is longer than most by that measure. It looks
// at no more of text than it returns.
func shorten(text string, most int, measure func(string) int) string {
	var b strings.Builder
	var e escaper
	room := most - measure(more(len(text))) // before the words about what is left out
	used, cut, at := 0, 0, 0                // cut: where b ends, and at: where text does, if the rest is left out
	for i := 0; i < len(text); {
		shown, size := e.next(text[i:])
		used += measure(shown)
		if used > most {
			return b.String()[:cut] + more(len(text)-at)
		}
		b.WriteString(shown)
		i += size
		if used <= room {
			cut, at = b.Len(), i
		}
	}
	return b.String()
}

// more says that so many bytes are left out.
func more(bytes int) string { return fmt.Sprintf("… (%d bytes more)", bytes) }

// Quote returns text between double quotes, in which it can't end the quotation. It
// returns at most MaxQuote runes. Where it cuts, it says how long the text is.
func Quote(text string) string {
	var b strings.Builder
	var e escaper
	end := fmt.Sprintf(`…" (%d bytes)`, len(text))
	used, cut := 2, 1 // the quotes; where b ends if the rest is left out
	b.WriteByte('"')
	for i := 0; i < len(text); {
		shown, size := e.next(text[i:])
		if shown == `"` || shown == `\` {
			shown = `\` + shown
		}
		used += utf8.RuneCountInString(shown)
		if used > MaxQuote {
			return b.String()[:cut] + end
		}
		b.WriteString(shown)
		i += size
		if used-1+utf8.RuneCountInString(end) <= MaxQuote {
			cut = b.Len()
		}
	}
	return b.String() + `"`
}

// Words returns words, each as Word has it. In place of those beyond MaxList stands
// how many there are.
func Words(words []string) []string {
	shown := make([]string, 0, MaxList+1)
	for i, w := range words {
		if i == MaxList {
			return append(shown, fmt.Sprintf("and %d more", len(words)-i))
		}
		shown = append(shown, Word(w))
	}
	return shown
}

// List returns words, by commas, each as Word has it. Of more than MaxList it says
// how many more there are.
func List(words []string) string { return list(words, Word) }

// Quotes is List with each word as Quote has it.
func Quotes(words []string) string { return list(words, Quote) }

func list(words []string, show func(string) string) string {
	shown := make([]string, 0, MaxList+1)
	for i, w := range words {
		if i == MaxList {
			return strings.Join(shown, ", ") + fmt.Sprintf(" and %d more", len(words)-i)
		}
		shown = append(shown, show(w))
	}
	return strings.Join(shown, ", ")
}
