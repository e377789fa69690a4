package printable

import "strings"

// bare are the bytes that a POSIX shell takes for themselves wherever they stand.
const bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:_-/@%+"

// Shell returns text as one word of a POSIX shell, whole. What can't be seen is
// escaped, and so is another text then: nobody can type it, a NUL can be in no
// word, and no name of Kubernetes holds either.
func Shell(text string) string {
	text = Line(text)
	if text != "" && strings.Trim(text, bare) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// Line returns text on one line, whole.
func Line(text string) string { return Within(10*len(text), text) } // no byte is shown by more than 10
