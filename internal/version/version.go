// Package version says which version of Steelyard a program is.
package version

import (
	"runtime/debug"
	"strings"
)

// stamped is set when the program is linked, as "make build" does:
//
//	-ldflags "-X github.com/steelyard-lb/steelyard/internal/version.stamped=v1.2.3"
var stamped string

// String returns the version: the one that was stamped, else what Go's build
// information knows, else "unknown".
func String() string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Label returns a version as the value of a label of an object, which holds fewer characters.
func Label(version string) string {
	const most = 63
	text := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-_.", r):
			return r
		}
		return '_'
	}, version)
	return strings.Trim(text[:min(most, len(text))], "-_.")
}
