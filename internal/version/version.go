// Package version says which version of Steelyard a program is.
package version

import "runtime/debug"

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
