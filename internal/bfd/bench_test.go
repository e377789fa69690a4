package bfd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
)

// facing returns the configurations of n sessions between two hosts, each with its own
// address at the far end.
func facing(near, far host, n int) (ours, theirs []bfd.Session) {
	near.ip("route", "add", "198.18.0.0/16", "via", "192.0.2.2")
	far.ip("route", "add", "local", "198.18.0.0/16", "dev", "lo")
	here := netip.MustParseAddr("192.0.2.1")
	for i := range n {
		there := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		ours = append(ours, bfd.Session{Path: bfd.Path{Local: here, Peer: there}})
		theirs = append(theirs, bfd.Session{Path: bfd.Path{Local: there, Peer: here}})
	}
	return ours, theirs
}

// BenchmarkThousandSessions measures the CPU and memory of a process with 1,000 sessions.
func BenchmarkThousandSessions(b *testing.B) {
	const n = 1000
	near, far := cable(b)
	ours, theirs := facing(near, far, n)
	holding(b, far, theirs)
	c := holding(b, near, ours)
	var empty usage
	if _, err := fmt.Sscan(c.await(b, "usage")[2], &empty.heap); err != nil {
		b.Fatal(err)
	}
	c.await(b, "up")
	time.Sleep(2 * time.Second) // until all have agreed on their timers
	for b.Loop() {
		before := c.usage(b)
		time.Sleep(10 * time.Second)
		after := c.usage(b)
		b.ReportMetric(100*float64(after.cpu-before.cpu)/float64(after.at.Sub(before.at)), "%_of_a_core_for_1000_sessions_at_300ms_x_3")
		b.ReportMetric(float64(after.heap-empty.heap)/n, "octets_of_heap_for_each")
	}
}

// pace is a session's interval and detection multiplier.
type pace struct {
	interval   time.Duration
	multiplier uint8
}

func (p pace) String() string { return fmt.Sprintf("%s_x_%d", p.interval, p.multiplier) }

var paces = []pace{{50 * time.Millisecond, 3}, {100 * time.Millisecond, 4}, {300 * time.Millisecond, 3}}

// paced gives each pace to a third of the sessions, and returns each session's pace by
// its address at the far end.
func paced(ours, theirs []bfd.Session) map[string]pace {
	whose := map[string]pace{}
	for i := range ours {
		p := paces[i%len(paces)]
		for _, s := range []*bfd.Session{&ours[i], &theirs[i]} {
			s.Transmit, s.Receive, s.Multiplier = p.interval, p.interval, p.multiplier
		}
		whose[ours[i].Peer.String()], whose[theirs[i].Local.String()] = p, p
	}
	return whose
}

// BenchmarkDetection measures how long after the peer's last packet a session is Down.
// The peer is stopped, which looks like a cut path.
func BenchmarkDetection(b *testing.B) {
	near, far := cable(b)
	ours, theirs := facing(near, far, len(paces))
	whose := paced(ours, theirs)
	peer := holding(b, far, theirs)
	c := holding(b, near, ours)
	c.await(b, "up")
	times := map[pace][]time.Duration{}
	for b.Loop() {
		for round := range 30 {
			time.Sleep(time.Second + time.Duration(round)*10*time.Millisecond)
			cut := time.Now()
			if err := peer.Process.Signal(syscall.SIGSTOP); err != nil {
				b.Fatal(err)
			}
			for n := 0; n < len(ours); {
				l := readLoss(b, c.await(b, "lost"))
				if l.at.Before(cut) { // lost for another reason
					continue
				}
				times[whose[l.peer]] = append(times[whose[l.peer]], l.at.Sub(cut))
				n++
			}
			if err := peer.Process.Signal(syscall.SIGCONT); err != nil {
				b.Fatal(err)
			}
			c.await(b, "up")
		}
	}
	for _, p := range paces {
		slices.Sort(times[p])
		for _, share := range []int{50, 99} {
			d := times[p][min(len(times[p])-1, len(times[p])*share/100)]
			b.ReportMetric(float64(d.Milliseconds()), fmt.Sprintf("ms_from_silence_to_Down_at_%s,_p%d", p, share))
		}
	}
}

// BenchmarkFalseAlarms measures how often per hour a session with a working path goes
// Down on a machine that other processes load fully. It extrapolates from one minute of
// many sessions.
func BenchmarkFalseAlarms(b *testing.B) {
	const each = 10
	near, far := cable(b)
	ours, theirs := facing(near, far, each*len(paces))
	whose := paced(ours, theirs)
	holding(b, far, theirs)
	c := holding(b, near, ours)
	c.await(b, "up")
	for b.Loop() {
		watcher := startChild(b, near, "watch")
		burn(b)
		time.Sleep(time.Minute)
		alarms := map[pace]int{}
		for _, l := range c.losses(b) {
			alarms[whose[l.peer]]++
		}
		for _, p := range paces {
			b.ReportMetric(float64(alarms[p])*60/each, fmt.Sprintf("false_alarms_in_an_hour_of_a_session_at_%s,_all_cores_busy,_from_a_minute_of_%d", p, each))
		}
		b.ReportMetric(float64(len(watcher.stalls(b))), "times_that_minute_kept_a_bare_thread_on_a_core_waiting_for_"+stalled.String())
	}
}
