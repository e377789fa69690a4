// Package stories runs decisions that are written as text: files of stories, each
// with its name after "# ", what is given, "=>" and what comes of it. It knows
// nothing of what they tell.
package stories

import (
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Run runs every story of the files that match pattern as a subtest of its
// name. Both parts reach tell without space around them.
func Run(t *testing.T, pattern string, run func(t *testing.T, given, want string)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories in %s: %v", pattern, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, story := range strings.Split("\n"+string(text), "\n# ")[1:] {
			name, body, _ := strings.Cut(story, "\n")
			t.Run(name, func(t *testing.T) {
				given, want, ok := strings.Cut(body, "=>")
				if !ok {
					t.Fatalf("%s: the story has no end: =>", file)
				}
				run(t, strings.TrimSpace(given), strings.TrimSpace(want))
			})
		}
	}
}

// Shuffle returns in, another slice, in another order if there is one.
func Shuffle[T any](in []T, rng *rand.Rand) []T {
	out := slices.Clone(in)
	slices.Reverse(out) // at least this
	if len(out) > 2 {
		rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}
