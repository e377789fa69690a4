package neighbor

import "time"

// Probes is how many probes go out before an address is announced for the very
// first time (PROBE_NUM of RFC 5227 section 1.1).
const Probes = 3

// ProbeRefresh is the pause between later probes for an address that a foreign host
// has. ProbeForget is how long after its last frame that host counts as gone: two
// probes without an answer.
const (
	ProbeRefresh = 10 * time.Second
	ProbeForget  = 25 * time.Second
)

// ProbeGaps returns the pauses after the first probes. After the last one the address
// counts as free. RFC 5227 asks for 4 to 7 s (RFC 4862 for 1 s, after a single probe),
// for hosts that all boot at once behind slow links. In a server network an answer
// takes milliseconds.
func ProbeGaps() []time.Duration {
	return []time.Duration{150 * ms, 150 * ms, 200 * ms}
}
