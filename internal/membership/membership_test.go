package membership

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// soon is the longest time from a silent loss until all members know of it: the
// detection time of the slowest watchers, and what the others need to hear.
const soon = 600 * time.Millisecond

func in(t *testing.T, n int, body func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n)
		defer w.end()
		w.meet()
		body(w)
	})
}

func TestALostNodeIsGoneForAllAndKnowsIt(t *testing.T) {
	for _, n := range []int{3, 5, 7, 8, 9, 30} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			in(t, n, func(w *world) {
				w.plug("n2", false)
				w.agree(soon, " n2 Dead", "n2")
				w.stays(5*time.Second, " n2 Dead", "n2")
				if shown := w.shown("n2"); shown != " isolated" {
					t.Errorf("n2 shows %q", shown)
				}
				w.plug("n2", true)
				w.agree(4*time.Second, "")
				w.stays(5*time.Second, "")
			})
		})
	}
}

func TestTwoNodes(t *testing.T) {
	t.Run("the node that reaches the gateway takes the other for dead", func(t *testing.T) {
		in(t, 2, func(w *world) {
			w.plug("n2", false)
			w.agree(2*soon, " n2 Dead", "n2")
			w.agree(2*soon, " isolated", "n1")
			w.plug("n2", true)
			w.agree(5*time.Second, "")
		})
	})
	t.Run("without a gateway each takes the other for dead", func(t *testing.T) {
		in(t, 2, func(w *world) {
			w.noGateway()
			w.plug("n2", false)
			w.agree(2*soon, " n2 Dead", "n2")
			w.agree(2*soon, " n1 Dead", "n1")
			w.plug("n2", true)
			w.agree(5*time.Second, "")
		})
	})
}

func TestTwoThatCantHearEachOtherAreBothThere(t *testing.T) {
	for _, n := range []int{3, 6, 12} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			in(t, n, func(w *world) {
				a := w.nodes["n1"]
				b := newRing(namesOf(w), nil).neighbors("n1")[0]
				w.part("n1", b, true)
				w.stays(5*time.Second, "")
				if v := a.View(); v.Up != v.Sessions-1 {
					t.Errorf("%d of %d sessions are Up: the link was not cut", v.Up, v.Sessions)
				}
			})
		})
	}
}

func TestSeveralAtOnce(t *testing.T) {
	in(t, 20, func(w *world) {
		r := newRing(namesOf(w), nil)
		lost := r.order[4:9] // neighbors on the ring: the middle one loses five of six sessions
		for _, name := range lost {
			w.plug(name, false)
		}
		want := ""
		for _, name := range slices.Sorted(slices.Values(lost)) {
			want += " " + name + " Dead"
		}
		w.agree(time.Second, want, lost...)
		for _, name := range lost {
			w.plug(name, true)
		}
		w.agree(5*time.Second, "")
	})
}

func TestHalvesPartAndMeetAgain(t *testing.T) {
	in(t, 6, func(w *world) {
		names := namesOf(w)
		left, right := names[:3], names[3:]
		set := func(parted bool) {
			for _, a := range left {
				for _, b := range right {
					w.part(a, b, parted)
				}
			}
		}
		set(true)
		w.agree(soon, " n4 Dead n5 Dead n6 Dead", right...)
		w.agree(soon, " n1 Dead n2 Dead n3 Dead", left...)
		set(false)
		w.agree(5*time.Second, "")
	})
}

func TestARestartIsNoLoss(t *testing.T) {
	in(t, 9, func(w *world) {
		w.stop("n3")
		w.agree(50*time.Millisecond, " n3 Restarting", "n3")
		w.stays(5*time.Second, " n3 Restarting", "n3")
		want := newRing(namesOf(w), nil).after("n3", 9)
		if diff := cmp.Diff(want, w.nodes["n1"].View().Backups["n3"]); diff != "" {
			t.Errorf("who stands in for n3: want -, have +:\n%s", diff)
		}
		w.again("n3")
		w.agree(50*time.Millisecond, "", "n3")
		w.meet()
		w.stays(Hold, "")
	})
}

// The sessions of its former life expire when the speaker is back already.
func TestARestartThatIsShorterThanTheDetectionTime(t *testing.T) {
	for _, n := range []int{2, 3, 9} {
		for _, away := range []time.Duration{0, 100 * time.Millisecond, 390 * time.Millisecond, 420 * time.Millisecond, 900 * time.Millisecond} {
			t.Run(fmt.Sprint(n, " nodes, ", away), func(t *testing.T) {
				in(t, n, func(w *world) {
					w.stop("n2")
					time.Sleep(away)
					w.again("n2")
					w.agree(50*time.Millisecond, "", "n2")
					w.stays(4*time.Second, "")
					w.meet()
					w.stays(Hold, "")
					w.plug("n2", false)
					w.agree(2*soon, " n2 Dead", "n2")
				})
			})
		}
	}
}

func TestASpeakerThatIsBackIsThereBeforeItsSessionsAre(t *testing.T) {
	in(t, 9, func(w *world) {
		w.stop("n3")
		w.stays(3*time.Second, " n3 Restarting", "n3")
		w.hush("n3", true)
		w.again("n3")
		w.agree(50*time.Millisecond, "", "n3")
		w.stays(2*time.Second, "")
		w.hush("n3", false)
		w.meet()
		w.plug("n3", false)
		w.agree(soon, " n3 Dead", "n3")
	})
}

func TestARestartThatTakesTooLongIsALoss(t *testing.T) {
	in(t, 9, func(w *world) {
		w.stop("n3")
		w.stays(Hold-time.Second, " n3 Restarting", "n3")
		w.agree(time.Second+soon, " n3 Dead", "n3")
		w.again("n3")
		w.agree(50*time.Millisecond, "", "n3")
	})
}

func TestANodeThatDiesWhileItsSpeakerRestarts(t *testing.T) {
	in(t, 9, func(w *world) {
		w.stop("n3")
		w.stays(3*time.Second, " n3 Restarting", "n3")
		w.plug("n3", false)
		w.agree(time.Second, " n3 Dead", "n3")
	})
}

func TestASpeakerThatIsKilledAndComesBack(t *testing.T) {
	in(t, 9, func(w *world) {
		w.kill("n3")
		w.agree(soon, " n3 Dead", "n3")
		w.plug("n3", true)
		w.again("n3")
		w.agree(50*time.Millisecond, "", "n3")
		w.meet()
	})
}

func TestDatagramsGetLost(t *testing.T) {
	in(t, 12, func(w *world) {
		w.lose(0.4)
		for range 5 {
			w.plug("n2", false)
			w.agree(10*time.Second, " n2 Dead", "n2")
			w.plug("n2", true)
			w.agree(20*time.Second, "")
		}
	})
}

func TestAllHearOfAll(t *testing.T) {
	in(t, 60, func(w *world) {
		w.lose(0.2)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		for name, n := range w.nodes {
			if unknown := named(n.View(), Unknown); len(unknown) > 0 {
				t.Errorf("%s has not heard of %v", name, unknown)
			}
		}
	})
}

func TestUnknownSendersAreIgnored(t *testing.T) {
	in(t, 3, func(w *world) {
		m := Message{From: "n2", Updates: []update{{Member: "n1", Incarnation: 1 << 60, Standing: Dead}}}
		b, err := m.sign([]byte("another key"))
		if err != nil {
			t.Fatal(err)
		}
		for _, forged := range [][]byte{b, b[:10], nil} {
			w.nodes["n3"].datagrams(forged)
		}
		w.stays(time.Second, "")
		if n := w.nodes["n3"].Discarded(); n != 3 {
			t.Errorf("%d datagrams were discarded", n)
		}
	})
}

var speakers = flag.Int("speakers", 150, "how many TestManySpeakers simulates")

func TestManySpeakers(t *testing.T) {
	in(t, *speakers, func(w *world) {
		for _, n := range w.nodes {
			if v := n.View(); v.Sessions > 2*successors {
				t.Fatalf("%s has %d sessions", n.self, v.Sessions)
			}
		}
		for _, name := range namesOf(w)[1:11] {
			w.plug(name, false)
			t.Logf("%d speakers: all know after %s that %s is gone", *speakers, w.agree(soon, " "+name+" Dead", name), name)
			w.plug(name, true)
			w.agree(5*time.Second, "")
		}
	})
}

func namesOf(w *world) []string {
	var names []string
	for _, m := range w.config.Members {
		names = append(names, m.Name)
	}
	return names
}

func TestRing(t *testing.T) {
	for n := 1; n < 40; n++ {
		for racks := range 12 {
			var names []string
			subnets := map[string]netip.Prefix{}
			for i := range n {
				names = append(names, fmt.Sprint("node", i))
				if racks > 0 {
					subnets[names[i]] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i % racks), 0}), 24)
				}
			}
			r := newRing(names, subnets)
			for _, a := range names {
				next := r.neighbors(a)
				if least := min(n-1, successors); len(next) < least || len(next) > 8 || racks == 0 && len(next) != min(n-1, 2*successors) {
					t.Errorf("%d in %d subnets: %s has %d neighbors", n, racks, a, len(next))
				}
				own := 0
				for _, b := range next {
					if a == b || !slices.Contains(r.neighbors(b), a) {
						t.Errorf("%d in %d subnets: %s is a neighbor of %s, not the other way round", n, racks, b, a)
					}
					if racks > 0 && subnets[a] == subnets[b] {
						own++
					}
				}
				if racks > 0 && own < min(2*near, len(r.in[subnets[a]])-1) {
					t.Errorf("%d in %d subnets: %s has %d neighbors in its own", n, racks, a, own)
				}
			}
		}
	}
}

// Speakers don't hear of a new Node, or of one that was removed, at the same time.
func TestTheyDisagreeWhoShouldBeThere(t *testing.T) {
	in(t, 12, func(w *world) {
		fewer := w.config
		fewer.Members = w.config.Members[:11]
		for i, name := range namesOf(w)[:11] {
			if i%2 == 0 {
				w.nodes[name].Set(fewer)
			}
		}
		w.plug("n12", false)
		time.Sleep(3 * time.Second)
		w.plug("n12", true)
		time.Sleep(3 * time.Second)
		w.nodes["n1"].Set(Config{Keys: w.config.Keys, Port: w.config.Port, Members: w.config.Members[1:]}) // not even itself
		time.Sleep(3 * time.Second)
		for _, name := range namesOf(w) {
			w.nodes[name].Set(w.config)
		}
		w.meet()
		w.stays(10*time.Second, "")
	})
}

func TestASpeakerThatDiesJustAfterItsRestart(t *testing.T) {
	in(t, 9, func(w *world) {
		w.stop("n3")
		w.hush("n3", true)
		w.again("n3")
		w.agree(50*time.Millisecond, "", "n3")
		w.kill("n3")
		w.agree(doubt+soon, " n3 Dead", "n3")
	})
}

func TestWithoutAKeyNothingIsKnown(t *testing.T) {
	in(t, 4, func(w *world) {
		for _, n := range w.nodes {
			config := w.config
			config.Keys = nil
			n.Set(config)
		}
		synctest.Wait()
		for name, n := range w.nodes {
			if v := n.View(); len(v.Standing) > 0 || v.Up > 0 || n.Reachable() {
				t.Errorf("%s still knows %+v", name, v)
			}
			n.Set(w.config)
		}
		w.meet()
	})
}

// The wall clock, which lives are numbered by, is set back while a speaker is
// down, or ahead: the others count on it all the same, and it is watched.
func TestTheClockIsSetWhileASpeakerIsDown(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			in(t, 5, func(w *world) {
				w.stop("n3")
				w.agree(soon, " n3 Restarting", "n3")
				w.clock = by
				w.again("n3")
				w.agree(5*time.Second, "")
				w.stays(15*time.Second, "")
				w.kill("n3")
				w.agree(soon+time.Second, " n3 Dead", "n3")
			})
		})
	}
}

// All others die, and there is no gateway to ask: the last one can't tell that
// from being cut off, until Kubernetes says that theirs are the Leases that end.
func TestTheLastOneIsToldByKubernetes(t *testing.T) {
	in(t, 4, func(w *world) {
		w.noGateway()
		for _, name := range []string{"n2", "n3", "n4"} {
			w.kill(name)
		}
		time.Sleep(soon + time.Second)
		if !w.nodes["n1"].View().Isolated {
			t.Error("the last one does not take itself for cut off")
		}
		config := w.config
		config.Members = slices.Clone(config.Members)
		for i := range config.Members {
			config.Members[i].Silent = config.Members[i].Name != "n1"
		}
		w.nodes["n1"].Set(config)
		w.agree(5*time.Second, " n2 Dead n3 Dead n4 Dead", "n2", "n3", "n4")
	})
}
