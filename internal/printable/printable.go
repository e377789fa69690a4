// Package printable makes foreign text safe to show, and short. Foreign text is what
// the programs did not write themselves: annotations, names and fields of objects,
// and answers of a router or the API server.
//
// Runes that cannot be seen, or that move the text beside them, are escaped: line
// ends of every kind, ESC and all other controls, bidirectional and other format
// characters, private use, tags, variation selectors, fillers that look like a space,
// invalid UTF-8, and more than a few combining marks on one letter. The result is one
// line that a terminal, a log or a parser reads as text only.
//
// Escapes are meant for people. Only the output of Quote can be parsed back, where it
// is not cut. The others do not escape a backslash, so that text may pass them twice.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxQuote is the maximum length of what Quote and Word return, in runes.
	MaxQuote = 100
	// MaxMessage is the maximum length of what Message returns, in bytes.
	MaxMessage = 1024
	// MaxList is how many words List shows at most.
	MaxList = 10
	// maxMarks is how many combining marks one letter may have. Vietnamese needs
	// two, Hebrew and Tibetan sometimes three or four.
	maxMarks = 4
	// blank is a braille cell without a dot.
	blank = '\u2800'
)

// Rune reports whether r is visible and cannot be mistaken for anything else. It
// returns true for combining marks.
func Rune(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r <= '~'
	}
	return unicode.IsPrint(r) && r != blank && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// escaper splits text into pieces that can be shown. The zero escaper is at the start
// of a text.
type escaper struct {
	base  bool // a letter precedes, which can have marks
	marks int  // of that letter so far
}

// next returns the first rune of text as it is shown, and its length in text.
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

// Message returns text on one line, of at most MaxMessage bytes. A cut text ends with
// the number of missing bytes. Message of its own result changes nothing.
func Message(text string) string { return Within(MaxMessage, text) }

// Within is Message with another maximum, of 50 bytes or more.
func Within(most int, text string) string {
	if len(text) <= most && Is(text) {
		return text
	}
	return shorten(text, most, func(shown string) int { return len(shown) })
}

// Word returns text on one line, of at most MaxQuote runes, for a name or value that
// stands alone. Word of its own result changes nothing.
func Word(text string) string {
	if len(text) <= MaxQuote && Is(text) {
		return text
	}
	return shorten(text, MaxQuote, utf8.RuneCountInString)
}

// Is reports whether text is one line that needs no escape.
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

// shorten escapes text, and cuts it to the maximum by that measure. It reads no more
// of text than it returns.
func shorten(text string, most int, measure func(string) int) string {
	var b strings.Builder
	var e escaper
	room := most - measure(more(len(text))) // without the text about what is left out
	used, cut, at := 0, 0, 0                // cut and at: where b and text end if the rest is left out
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

// more is the text in place of the bytes that are left out.
func more(bytes int) string { return fmt.Sprintf("… (%d bytes more)", bytes) }

// Quote returns text in double quotes, which it cannot end, of at most MaxQuote
// runes. A cut text ends with the length of the whole.
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

// Words returns each word as Word has it. Beyond MaxList it returns the number of
// those left out instead.
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

// List joins words with commas, each as Word has it. Beyond MaxList it adds the
// number of those left out.
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
