package membership

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// onTwoLinks runs body on n nodes, of which the first few have a second link, without
// a gateway.
func onTwoLinks(t *testing.T, n, with int, body func(*world)) {
	in(t, n, func(w *world) {
		w.segment = namesOf(w)[:with]
		for _, n := range w.nodes {
			n.Set(w.configOf(n))
		}
		time.Sleep(5 * time.Second)
		w.agree(0, "")
		for _, name := range w.segment {
			if v := w.nodes[name].View().Segments[secondSubnet]; v.Up != v.Sessions || v.Sessions == 0 {
				t.Fatalf("%s has %d sessions on its second link, and %d are Up", name, v.Sessions, v.Up)
			}
		}
		body(w)
	})
}

func others(w *world, names ...string) []string {
	return append(names, namesOf(w)[len(w.segment):]...)
}

func TestADeadPathOnASegment(t *testing.T) {
	for _, n := range [][2]int{{3, 3}, {5, 3}, {30, 20}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			onTwoLinks(t, n[0], n[1], func(w *world) {
				w.killSecond("n2", true)
				w.agree(soon, " on 20.0.0.0/8 n2 Dead", others(w, "n2")...)
				time.Sleep(2 * Answers)
				w.stays(5*time.Second, " on 20.0.0.0/8 n2 Dead", others(w, "n2")...)
				if v := w.nodes["n2"].View(); v.Isolated || !v.Segments[secondSubnet].Isolated {
					t.Errorf("the node does not know that its link is dead, and nothing else: %+v", v)
				}
				w.killSecond("n2", false)
				w.agree(4*time.Second, "")
				w.stays(5*time.Second, "")
			})
		})
	}
}

// A node whose link has no carrier says so at once, and when it is back.
func TestACarrierThatIsLostOnASegment(t *testing.T) {
	for _, d := range []time.Duration{100 * time.Millisecond, 5 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			onTwoLinks(t, 5, 4, func(w *world) {
				w.plugSecond("n2", false)
				w.agree(10*time.Millisecond, " on 20.0.0.0/8 n2 Dead", others(w, "n2")...)
				w.stays(d, " on 20.0.0.0/8 n2 Dead", others(w, "n2")...)
				w.plugSecond("n2", true)
				w.agree(4*time.Second, "")
				w.stays(5*time.Second, "")
			})
		})
	}
}

// The last one whose link works knows that it is not the one that is cut off.
func TestTheLastLinkOfASegment(t *testing.T) {
	onTwoLinks(t, 3, 3, func(w *world) {
		w.plugSecond("n2", false)
		time.Sleep(time.Second)
		w.plugSecond("n3", false)
		w.stays(5*time.Second, " on 20.0.0.0/8 n2 Dead n3 Dead", "n2", "n3")
		w.plugSecond("n2", true)
		w.agree(4*time.Second, " on 20.0.0.0/8 n3 Dead", "n3")
	})
}

func TestARestartOnASegment(t *testing.T) {
	onTwoLinks(t, 5, 4, func(w *world) {
		w.stop("n3")
		w.agree(50*time.Millisecond, " n3 Restarting on 20.0.0.0/8 n3 Restarting", others(w, "n3")...)
		w.stays(3*time.Second, " n3 Restarting on 20.0.0.0/8 n3 Restarting", others(w, "n3")...)
		w.again("n3")
		time.Sleep(5 * time.Second)
		w.stays(Hold, "")
		w.killSecond("n3", true)
		w.agree(soon, " on 20.0.0.0/8 n3 Dead", others(w, "n3")...)
	})
}

func TestASegmentThatGoes(t *testing.T) {
	onTwoLinks(t, 4, 3, func(w *world) {
		w.killSecond("n2", true)
		w.agree(soon, " on 20.0.0.0/8 n2 Dead", others(w, "n2")...)
		w.segment = nil
		for _, n := range w.nodes {
			n.Set(w.configOf(n))
		}
		w.agree(time.Second, "")
		w.stays(10*time.Second, "")
	})
}

// A node's address need not be what its kernel would send from.
func TestTheNodeAddressIsNotTheKernelsChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		defer w.end()
		w.mu.Lock()
		w.source = netip.MustParseAddr("10.9.9.9")
		w.mu.Unlock()
		w.meet()
		w.plug("n2", false)
		w.agree(soon, " n2 Dead", "n2")
	})
}
