package simulation

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Expectation names the node that answers for the address of each Service at a time. Racks
// run such histories too (e2e/model_test.go), so that the model is held against the programs.
type Expectation struct {
	At    time.Duration // since the world has come to rest first
	Nodes []int         // by place, one for each Service; -1: none answers
}

const none = "none"

func (s Expectation) String() string {
	text := fmt.Sprintf("at %s:", s.At)
	for _, n := range s.Nodes {
		if n < 0 {
			text += " " + none
		} else {
			text += " n" + strconv.Itoa(n+1)
		}
	}
	return text
}

// parseExpectation reads "at 1s: n2 none".
func (h *History) parseExpectation(words []string) error {
	var s Expectation
	var err error
	if s.At, err = time.ParseDuration(strings.TrimSuffix(words[1], ":")); err != nil {
		return err
	}
	if len(words)-2 != h.Services {
		return fmt.Errorf("not one for each of %d Services: %w", h.Services, errUnknown)
	}
	for _, word := range words[2:] {
		place := -1
		if word != none {
			if place, err = h.place(word, 'n'); err != nil {
				return err
			}
		}
		s.Nodes = append(s.Nodes, place)
	}
	h.Expected = append(h.Expected, s)
	return nil
}

// expect checks who answers.
func (w *world) expect(s Expectation) {
	for i, a := range w.granted() {
		want := none
		if s.Nodes[i] >= 0 {
			want = w.nodes[s.Nodes[i]].name
		}
		if got := w.answering(a); got != want {
			w.violate(Expected, "%s answers for %s, and not %s", got, a, want)
		}
	}
}

// answering returns the nodes whose MACs are in the replies that a client gets for an address.
func (w *world) answering(a netip.Addr) string {
	var all []string
	client := w.lan.client(subnetOf(a))
	for _, n := range w.nodes {
		if n.speaker == nil || !w.lan.talk(client, n.place) {
			continue
		}
		if mac, _, ok := n.speaker.answers(a); ok {
			all = append(all, w.machine(mac).name)
		}
	}
	if len(all) == 0 {
		return none
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " and ")
}
