// Package simulation lets a whole cluster live in virtual time: the speakers of
// some nodes, as packages announce, failover and membership have them, a model of
// the API server, and a model of the local network. A History says what is done
// to them; its seed decides all that is left to chance. One History, one course of
// events: there is no goroutine, no clock, and no order of a map decides.
//
// Rules that know nothing of the code look at every instant, from what users are
// promised. A History that breaks one is made as short as it can be, and printed
// as text.
//
// It decides nothing, and no program may import it.
package simulation

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// epoch is when every history begins.
var epoch = time.Unix(1_700_000_000, 0)

// moment is something that happens, in a program if in is not nil.
type moment struct {
	in *client
	do func()
}

func (m moment) happen() {
	if m.in != nil {
		m.in.run(m.do)
	} else {
		m.do()
	}
}

// timeline is a queue of moments: a heap of their places in all. Of two at one time
// the one that was entered first comes first.
type timeline struct {
	heap []slot
	all  []moment
	free []int32
	seq  uint32
}

type slot struct {
	at    int64
	seq   uint32
	place int32
}

func (t *timeline) less(i, j int) bool {
	a, b := &t.heap[i], &t.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (t *timeline) push(at time.Time, m moment) {
	place := int32(len(t.all))
	if n := len(t.free); n > 0 {
		place, t.free = t.free[n-1], t.free[:n-1]
		t.all[place] = m
	} else {
		t.all = append(t.all, m)
	}
	t.seq++
	t.heap = append(t.heap, slot{at.Sub(epoch).Nanoseconds(), t.seq, place})
	for i := len(t.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !t.less(i, parent) {
			break
		}
		t.heap[i], t.heap[parent] = t.heap[parent], t.heap[i]
		i = parent
	}
}

// next returns when the next moment is; false: there is none.
func (t *timeline) next() (time.Time, bool) {
	if len(t.heap) == 0 {
		return time.Time{}, false
	}
	return epoch.Add(time.Duration(t.heap[0].at)), true
}

func (t *timeline) pop() moment {
	place, last := t.heap[0].place, len(t.heap)-1
	t.heap[0] = t.heap[last]
	t.heap = t.heap[:last]
	for i := 0; ; {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < last && t.less(child, least) {
				least = child
			}
		}
		if least == i {
			break
		}
		t.heap[i], t.heap[least] = t.heap[least], t.heap[i]
		i = least
	}
	m := t.all[place]
	t.all[place] = moment{}
	t.free = append(t.free, place)
	return m
}

// world is all that lives in a history.
type world struct {
	History
	now   time.Time
	queue timeline
	rnd   *rand.Rand
	log   *[]string // nil: nothing is logged

	nodes    []*node
	byAddr   map[netip.Addr]*node
	api      server
	lan      lan
	rules    rules
	mutation mutation

	instances  int // of speakers, so far
	advertised []announce.L2Advertisement
	addrs      []netip.Addr // what granted returned
	addrsOf    int          // and as of how many changes

	replicas []*replica
	grants   *grants
	ipam     ipamServer
	parsed   map[string]*intent.Config
	taken    map[string]*v1beta1.IPAddressPool // pools that are to come back
}

// run lets time go by until then, or until a rule is broken.
func (w *world) run(end time.Time) {
	for w.rules.broken == nil {
		at, ok := w.queue.next()
		if !ok || at.After(end) {
			break
		}
		if at.After(w.now) {
			w.look()
			w.now = at
		}
		w.queue.pop().happen()
	}
	w.now = end
}

// after has something happen after a while.
func (w *world) after(d time.Duration, do func()) {
	w.queue.push(w.now.Add(max(d, 0)), moment{do: do})
}

// within returns a random duration.
func (w *world) within(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rnd.Int64N(int64(most-least)+1))
}
