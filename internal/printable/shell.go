package printable

import "strings"

// unquoted are the bytes that a POSIX shell takes literally everywhere.
const unquoted = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:_-/@%+"

// Shell returns the whole text as one word of a POSIX shell. Runes that cannot be
// seen are escaped, which changes the text: they cannot be typed, a word cannot
// contain NUL, and no name in Kubernetes contains either.
func Shell(text string) string {
	text = Line(text)
	if text != "" && strings.Trim(text, unquoted) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// Line returns the whole text on one line.
func Line(text string) string { return Within(10*len(text), text) } // an escaped byte takes at most 10
