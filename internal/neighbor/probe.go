package neighbor

import "time"

// Probes is how many probes go out before an address is announced for the very
// first time (PROBE_NUM of RFC 5227 section 1.1).
const Probes = 3

// ProbeRefresh is the pause between later probes for an address that a
// stranger has, and ProbeForget how long after its last sign of life the
// stranger counts as gone: two probes without an answer.
const (
	ProbeRefresh = 10 * time.Second
	ProbeForget  = 25 * time.Second
)

// ProbeGaps returns the pauses behind the first probes; after the last one the
// address counts as free. The RFC would have people wait for 4 to 7 s (RFC 4862
// for 1 s, with a single probe): it reckons with hosts that boot all at once
// behind slow links. On the networks of servers an answer takes milliseconds.
func ProbeGaps() []time.Duration {
	return []time.Duration{150 * ms, 150 * ms, 200 * ms}
}
