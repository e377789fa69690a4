package main

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// lease is the Lease of a node's speaker, renewed at second at; at -1 it was
// released.
func lease(node string, at int) coordinationv1.Lease {
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "speaker-" + node}}
	renewed := metav1.NewMicroTime(time.Unix(int64(at), 0))
	l.Spec.RenewTime = &renewed
	if at >= 0 {
		l.Spec.HolderIdentity = &node
	}
	return l
}

// Each step of a story is one own renewal that came back: when the other
// speakers were last seen to renew, and who counts as gone then.
func TestJudge(t *testing.T) {
	type step struct {
		renewed map[string]int
		gone    []string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"one that renews is there", []step{{map[string]int{"a": 1}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 3}, nil}, {map[string]int{"a": 4}, nil}}},
		{"one that misses two renewals is there, after three it is gone", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}},
		}},
		{"one that renews in time is counted anew", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil},
			{map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, []string{"a"}},
		}},
		{"one that comes back is there at once", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}}, {map[string]int{"a": 9}, nil},
		}},
		{"one that released its Lease needs no counting", []step{{map[string]int{"a": 1}, nil}, {map[string]int{"a": -1}, nil}, {map[string]int{"a": -1}, nil}, {map[string]int{"a": -1}, nil}}},
		{"one that fell silent does not take another with it", []step{
			{map[string]int{"a": 1, "b": 1}, nil}, {map[string]int{"a": 1, "b": 2}, nil}, {map[string]int{"a": 1, "b": 3}, nil}, {map[string]int{"a": 1, "b": 4}, []string{"a"}},
		}},
		{"the own Lease is not judged", []step{{map[string]int{"self": 1}, nil}, {map[string]int{"self": 1}, nil}, {map[string]int{"self": 1}, nil}, {map[string]int{"self": 1}, nil}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &heartbeat{node: "self", log: slog.New(slog.DiscardHandler), peers: map[string]*pulse{}, changed: make(chan struct{}, 1)}
			before := ""
			for i, s := range c.steps {
				var leases []coordinationv1.Lease
				for node, at := range s.renewed {
					leases = append(leases, lease(node, at))
				}
				h.judge(leases)
				got := slices.Sorted(maps.Keys(h.gone()))
				if diff := cmp.Diff(s.gone, got); diff != "" {
					t.Errorf("step %d: %s", i, diff)
				}
				told := len(h.changed) > 0
				if told {
					<-h.changed
				}
				if now := fmt.Sprint(got); told != (now != before) && i > 0 {
					t.Errorf("step %d: told of a change: %t; before %s, now %s", i, told, before, now)
				}
				before = fmt.Sprint(got)
			}
		})
	}
}

func TestRenewalsAreNoReasonToThinkAnew(t *testing.T) {
	first, renewed, released := lease("a", 1), lease("a", 2), lease("a", -1)
	if !sameHolder(&first, &renewed) {
		t.Error("a renewal must not start a pass")
	}
	if sameHolder(&first, &released) {
		t.Error("a release must start a pass")
	}
}

// What a speaker may begin to answer for, by how well it knows the others.
func TestMayTake(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	mine, others := []announce.HeldClaim{{Addr: a, Node: "self"}}, []announce.HeldClaim{{Addr: a, Node: "other"}}
	for _, c := range []struct {
		name   string
		echo   time.Duration // since the last own renewal came back; negative: never
		echoes int64
		held   []announce.HeldClaim
		want   bool
	}{
		{"before the API server was heard, nothing, not even its own", -1, 0, mine, false},
		{"connected: its own", 0, 1, mine, true},
		{"connected: nobody's, not yet", 0, 1, nil, false},
		{"connected: another's, not yet", 0, 1, others, false},
		{"settled: nobody's", 0, 3, nil, true},
		{"settled: another's that the plan says is free", 0, 3, others, true},
		{"out of reach for long: nothing, for others may have it", 10 * time.Second, 9, mine, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &heartbeat{node: "self", interval: time.Second}
			h.echoes.Store(c.echoes)
			if c.echo >= 0 {
				h.lastEcho.Store(time.Now().Add(-c.echo).UnixNano())
			}
			r := &reconciler{options: options{node: "self"}, beat: h}
			if got := r.mayTake(a, c.held); got != c.want {
				t.Errorf("may take: got %t, want %t", got, c.want)
			}
		})
	}
}

func TestClaimNamesAreNamesOfObjects(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.10":   "192.0.2.10",
		"2001:db8::10": "2001-db8--10",
		"::1":          "0--1",
		"2001:db8::":   "2001-db8--0",
	} {
		if got := claimName(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}
