package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// maxLines is how many lines of an error are printed at most.
const maxLines = 20

// terminal is where a command prints to. Of controls it lets line ends, tabs and
// our own colors through, and clearScreen at the beginning, and escapes all others: what is
// printed was in part written by others, and a terminal obeys it.
type terminal struct{ to io.Writer }

// Write is of io.Writer.
func (t terminal) Write(text []byte) (int, error) {
	var b bytes.Buffer
	from := 0
	if bytes.HasPrefix(text, []byte(clearScreen)) {
		from = len(clearScreen)
		b.WriteString(clearScreen)
	}
	for i := from; i < len(text); {
		if n := colorAt(text[i:]); n > 0 {
			b.Write(text[i : i+n])
			i += n
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		switch seen := text[i : i+size]; {
		case r == '\n', r == '\t', printable.Rune(r) && (r != utf8.RuneError || size > 1):
			b.Write(seen)
		default:
			b.WriteString(printable.Line(string(seen)))
		}
		i += size
	}
	if _, err := t.to.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(text), nil
}

// colorAt returns the length of the code of one of our styles that text begins
// with; 0: it begins with none.
func colorAt(text []byte) int {
	for _, s := range []style{"0", goodOne, warnOne, badOne, strong, faint} {
		if code := s.code(); bytes.HasPrefix(text, []byte(code)) {
			return len(code)
		}
	}
	return 0
}

// say prints a message for people, each of its lines short.
func (t *tool) printError(text string) {
	lines := strings.Split(text, "\n")
	if n := len(lines) - maxLines; n > 0 {
		lines = append(lines[:maxLines:maxLines], fmt.Sprintf("… (%d lines more)", n))
	}
	for i, l := range lines {
		lines[i] = printable.Message(l)
	}
	fmt.Fprintln(t.ErrOut, strings.Join(lines, "\n"))
}

// escaped writes as JSON does each rune of a JSON text that can't be seen: it can
// only be within a string. The value stays the same. What is beyond \uffff is written
// otherwise in JSON than in YAML.
func escaped(text []byte, beyond func(rune) string) []byte {
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r == '\n' || printable.Rune(r):
			b.WriteRune(r)
		case r > 0xffff:
			b.WriteString(beyond(r))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// pairEscape is how JSON escapes a rune beyond \uffff (RFC 8259 section 7).
func pairEscape(r rune) string {
	high, low := utf16.EncodeRune(r)
	return fmt.Sprintf(`\u%04x\u%04x`, high, low)
}

// longEscape is how YAML does (YAML 1.2.2 section 5.7).
func longEscape(r rune) string { return fmt.Sprintf(`\U%08x`, r) }

// canBeSeen reports whether a text of lines needs no escape.
func canBeSeen(text []byte) bool {
	return bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && !printable.Rune(r) }) < 0
}
