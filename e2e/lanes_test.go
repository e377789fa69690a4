package e2e

import "testing"

// places is how many tests run in parallel, as go test -parallel has it. Each rack takes one while
// it waits for a lane, and each story of a rack that has a lane needs one: with no more places
// than racks all would wait for ever.
const places = 128

// lanes is how many racks are busy at a time. Stories mostly wait, for
// something to be noticed or to be sure that nothing happens: one rack leaves
// most of two cores unused.
var lanes = make(chan struct{}, 4)

// inLane has the test wait for a lane, which is free again when the test, and
// the rack that it started, have ended.
func inLane(t *testing.T) {
	t.Helper()
	t.Parallel()
	lanes <- struct{}{}
	t.Cleanup(func() { <-lanes })
}
