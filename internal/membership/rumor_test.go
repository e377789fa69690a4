package membership

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// One that was cut off has held all others for gone. When it is back they don't
// believe that of one another.
func TestWhatOneThatWasCutOffBelievedIsNotBelieved(t *testing.T) {
	for _, n := range []int{3, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			in(t, n, func(w *world) {
				names := namesOf(w)
				set := func(parted bool) {
					for _, name := range names[1:] {
						w.part("n1", name, parted)
					}
				}
				for i := range time.Duration(5) {
					set(true)
					w.agree(2*soon, " n1 Gone", "n1")
					w.agree(2*soon, " "+strings.Join(names[1:], " Gone ")+" Gone", names[1:]...)
					time.Sleep(i * 200 * time.Millisecond) // to where neighbors stand in their telling one another
					set(false)
					for start := time.Now(); time.Since(start) < 4*time.Second; time.Sleep(5 * time.Millisecond) {
						synctest.Wait()
						for _, name := range names[1:] {
							if told := w.told(name); told != "" && told != " n1 Gone" {
								t.Fatalf("%v after the reunion %s tells %q", time.Since(start), name, told)
							}
						}
					}
					w.agree(0, "")
				}
			})
		})
	}
}

// A member that this speaker sees, and others hold for gone, is asked first.
func TestARumor(t *testing.T) {
	start := time.Unix(1000, 0)
	gone := fact{Member: "c", Life: 7, Standing: Gone}
	for _, c := range []struct {
		name   string
		then   func(*State)
		before Standing // when the time to contradict is not over
		after  Standing
	}{
		{"it is silent", func(*State) {}, Present, Gone},
		{"it contradicts", func(c *State) {
			c.hear(start.Add(time.Millisecond), message{From: "c", Facts: []fact{{Member: "c", Life: 8}}})
		}, Present, Present},
		{"it is not seen any more", func(c *State) { c.watched(start.Add(time.Millisecond), "c", false, 1, true) }, Gone, Gone},
		{"it leaves", func(c *State) { c.set(start, []string{"a", "b"}) }, Present, Present},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewState("a", 1)
			a.set(start, []string{"a", "b", "c"})
			a.learn(start, fact{Member: "c", Life: 7})
			a.watched(start, "c", true, 1, false)
			a.out = nil
			a.hear(start, message{From: "b", Facts: []fact{gone}})
			if got := a.standing("c"); got != Present {
				t.Errorf("at first: %s", got)
			}
			if len(a.out) != 1 || len(a.out[0].To) != 1 || a.out[0].To[0] != "c" || a.out[0].Message.Facts[0] != gone {
				t.Errorf("told: %+v", a.out)
			}
			c.then(a)
			a.tick(start.Add(hearing - 1))
			if got := a.standing("c"); got != c.before {
				t.Errorf("before the end: %s, want %s", got, c.before)
			}
			if next := a.next(); len(a.rumors) > 0 && next.After(start.Add(hearing)) {
				t.Errorf("wakes up %v late", next.Sub(start.Add(hearing)))
			}
			a.tick(start.Add(hearing))
			if got := a.standing("c"); got != c.after || len(a.rumors) != 0 {
				t.Errorf("at the end: %s, want %s; rumors %v", got, c.after, a.rumors)
			}
		})
	}
}
