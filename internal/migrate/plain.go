package migrate

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// allPrintable reports whether a text of several lines needs no escapes.
func allPrintable(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if !printable.Is(line) {
			return false
		}
	}
	return true
}

// escaped escapes each rune that cannot be seen, as in a double-quoted scalar of
// YAML. It keeps line feeds.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || printable.Rune(r) && !unicode.Is(unicode.M, r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	return b.String()
}
