package membership

import (
	"testing"
	"time"
)

func TestReplaysAreRefused(t *testing.T) {
	members := []Member{{Name: "n1"}, {Name: "n2"}}
	var r replays
	now := time.Unix(1000, 0)
	for i, c := range []struct {
		m     Message
		want  bool
		known uint64
	}{
		{m: Message{From: "n2"}, want: true}, // of an earlier version
		{m: Message{From: "n2", Start: 5, Number: 3}, want: true},
		{m: Message{From: "n2", Start: 5, Number: 3}, want: false},
		{m: Message{From: "n2"}, want: false}, // it is not of an earlier version
		{m: Message{From: "n2", Start: 5, Number: 2}, want: true},
		{m: Message{From: "n2", Start: 5, Number: 2}, want: false},
		{m: Message{From: "n2", Start: 5, Number: 64 + 4}, want: true},
		{m: Message{From: "n2", Start: 5, Number: 5}, want: true}, // the oldest that counts
		{m: Message{From: "n2", Start: 5, Number: 4}, want: false},
		{m: Message{From: "n2", Start: 5, Number: 1 << 40}, want: true},
		{m: Message{From: "n2", Start: 5, Number: 64 + 4}, want: false},
		{m: Message{From: "n1", Start: 1, Number: 1}, want: true},
		{m: Message{From: "n2", Start: 4, Number: 1 << 41}, want: false, known: 5},
		{m: Message{From: "n2", Start: 4, Number: 1 << 42}, want: false}, // told just now
		{m: Message{From: "n2", Start: 6, Number: 1}, want: true},        // it has restarted
		{m: Message{From: "n2", Start: 5, Number: 1 << 43}, want: false, known: 6},
		{m: Message{From: "n9", Start: 5, Number: 1}, want: false}, // of an unknown sender
	} {
		if got, known := r.fresh(now, c.m, members); got != c.want || known != c.known {
			t.Errorf("message %d, %+v: %t, %d; want %t, %d", i, c.m, got, known, c.want, c.known)
		}
	}
	if _, known := r.fresh(now.Add(remindAfter), Message{From: "n2", Start: 5, Number: 9}, members); known != 6 {
		t.Errorf("a second later the reply has %d, want 6", known)
	}
	if r.fresh(now, Message{From: "n2", Start: 7, Number: 1}, members[:2]); len(r.of) != 2 {
		t.Errorf("%d windows", len(r.of))
	}
	if r.fresh(now, Message{From: "n3", Start: 7, Number: 1}, []Member{{Name: "n3"}}); len(r.of) != 1 {
		t.Errorf("%d windows when all others have gone", len(r.of))
	}
}

// A host that records the speakers' datagrams, and sends them again, makes no member
// send or believe anything.
func TestReplayedDatagramsCostNothing(t *testing.T) {
	in(t, 4, func(w *world) {
		w.record()
		w.plug("n2", false)
		w.agree(5*time.Second, " n2 Dead", "n2")
		w.plug("n2", true)
		w.agree(20*time.Second, "")
		time.Sleep(2 * time.Minute) // nothing is sent any more
		recorded := w.record()
		if len(recorded) < 10 {
			t.Fatalf("%d datagrams were recorded", len(recorded))
		}
		before := w.nodes["n3"].Discarded()
		for _, r := range recorded {
			w.nodes[r.to].datagrams(r.b)
		}
		w.stays(time.Second/2, "")
		if sent := w.record(); len(sent) > 8 { // what they send anyway
			t.Errorf("%d datagrams that were sent again made speakers send %d", len(recorded), len(sent))
		}
		if w.nodes["n3"].Discarded() == before {
			t.Error("nothing was discarded")
		}
	})
}

// recorded is a recorded datagram, and its receiver.
type recorded struct {
	to string
	b  []byte
}

// record returns what was recorded since the last time.
func (w *world) record() []recorded {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.recorded
	w.recorded = nil
	return out
}
