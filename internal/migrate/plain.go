package migrate

import (
	"fmt"
	"strings"
	"unicode"
)

// plain reports whether a rune may stand in what is printed: it is to be seen, and
// no reader of YAML and no terminal takes it for anything but itself.
func plain(r rune) bool { return unicode.IsPrint(r) }

// allPrintable reports whether a text of several lines needs no escapes.
func allPrintable(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !plain(r) }) < 0
}

// escaped writes each rune that is not plain as a double-quoted scalar of YAML
// does; it leaves line feeds alone.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || plain(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	return b.String()
}

// short makes one line of foreign text, of so many runes at most.
func short(text string, most int) string {
	r := []rune(printable(text))
	if len(r) <= most {
		return string(r)
	}
	return string(r[:most-3]) + "..."
}

// printable makes one line of foreign text.
func printable(text string) string {
	return strings.ReplaceAll(escaped(text), "\n", `\n`)
}
