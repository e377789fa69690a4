// Package version says which version of Steelyard a program is.
package version

import (
	"regexp"
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

// repository has the sources, their documents, and the releases.
const repository = "https://github.com/steelyard-lb/steelyard"

// tagged are versions that are released: v1.2.3 and v1.2.3-rc.1, not what git says of
// later commits, as v1.2.3-4-gabcdef0.
var tagged = regexp.MustCompile(`^v\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?$`)

// Page returns the address of a document, such as docs/limits.md, as it was in this
// version; of a version that is not released, as it is now.
func Page(path string) string { return page(String(), path) }

func page(version, path string) string {
	if !tagged.MatchString(version) {
		version = "main"
	}
	return repository + "/blob/" + version + "/" + path
}

// File returns the address of a file of this version's release, such as
// steelyard.yaml; of a version that is not released, that of the latest one.
func File(name string) string { return file(String(), name) }

func file(version, name string) string {
	if !tagged.MatchString(version) {
		return repository + "/releases/latest/download/" + name
	}
	return repository + "/releases/download/" + version + "/" + name
}
