package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// A ledger that misses a fault makes every figure worthless.
func TestLedger(t *testing.T) {
	type shown struct {
		event     watch.EventType
		name      string
		addresses string // by comma
	}
	for _, c := range []struct {
		name   string
		events []shown
		wrong  string // the accusation; empty: none
		served int
		writes int
	}{
		{name: "two Services are served and one is written again",
			events: []shown{{watch.Added, "a", ""}, {watch.Added, "b", ""}, {watch.Modified, "b", "10.0.0.1"}, {watch.Modified, "a", "10.0.0.2,fd00::2"}, {watch.Modified, "a", "10.0.0.2,fd00::2"}},
			served: 2, writes: 1},
		{name: "a freed address may be given again",
			events: []shown{{watch.Modified, "a", "10.0.0.1"}, {watch.Deleted, "a", "10.0.0.1"}, {watch.Modified, "b", "10.0.0.1"}},
			served: 2},
		{name: "an address has two holders",
			events: []shown{{watch.Modified, "a", "10.0.0.1,fd00::1"}, {watch.Modified, "b", "10.0.0.2,fd00::1"}},
			wrong:  "service b was given fd00::1, which service a has", served: 2},
		{name: "an address changes",
			events: []shown{{watch.Modified, "a", "10.0.0.1"}, {watch.Modified, "a", "10.0.0.2"}},
			wrong:  "service a had [10.0.0.1] and now has [10.0.0.2]", served: 1, writes: 1},
		{name: "an address is taken away",
			events: []shown{{watch.Modified, "a", "10.0.0.1"}, {watch.Modified, "a", ""}},
			wrong:  "service a had [10.0.0.1] and now has []", served: 1, writes: 1},
		{name: "an unknown Service", events: []shown{{watch.Added, "c", ""}}, wrong: "service c is not of the bench"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &ledger{entries: map[string]*entry{}, holders: map[string]*entry{}}
			of := l.enter([]string{"a", "b"})
			for _, e := range c.events {
				svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: e.name}}
				for a := range strings.SplitSeq(e.addresses, ",") {
					if a != "" {
						svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
					}
				}
				l.see(watch.Event{Type: e.event, Object: svc}, time.Unix(1, 0))
			}
			if err := l.fault(); err == nil && c.wrong != "" || err != nil && err.Error() != c.wrong {
				t.Errorf("want %q, have %v", c.wrong, err)
			}
			if served, writes := l.servedOf(of), l.rewrites(of.entries); served != c.served || writes != c.writes {
				t.Errorf("%d served, %d written again; want %d and %d", served, writes, c.served, c.writes)
			}
		})
	}
}

func TestOthers(t *testing.T) {
	for _, c := range []struct {
		name, prefix string
		held         []string
		want         []string
	}{
		{name: "no Service holds any", prefix: "10.0.0.0/24", want: []string{"10.0.0.0-10.0.0.255"}},
		{name: "gaps at the start, within and at the end", prefix: "10.0.0.0/16", held: []string{"10.0.1.0", "10.0.0.9", "10.0.1.1"},
			want: []string{"10.0.0.0-10.0.0.8", "10.0.0.10-10.0.0.255", "10.0.1.2-10.0.255.255"}},
		{name: "all are held", prefix: "10.0.0.0/31", held: []string{"10.0.0.0", "10.0.0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, others(netip.MustParsePrefix(c.prefix), []*entry{{addrs: c.held}})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlus(t *testing.T) {
	for _, c := range []struct {
		from string
		n    int
		want string
	}{{"10.0.0.255", 0, "10.0.0.255"}, {"10.0.0.255", 1, "10.0.1.0"}, {"10.0.255.254", 258, "10.1.1.0"}, {"fd00:be::", 65537, "fd00:be::1:1"}} {
		if got := plus(netip.MustParseAddr(c.from), c.n).String(); got != c.want {
			t.Errorf("%s plus %d is %s, want %s", c.from, c.n, got, c.want)
		}
	}
}

func TestFiguresOfBenchmarks(t *testing.T) {
	got := figures("goos: linux\nBenchmarkCost-2   \t1\t10017598635 ns/op\t  6.427 %_of_a_core\t 1519 octets_each\nPASS\n")
	want := [][]string{{"BFD between two processes", ""}, {"% of a core", "6.427"}, {"octets each", "1519"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSizeOfReadsLinesOfBenchmarks(t *testing.T) {
	const line = "BenchmarkSize/10,000_pools-2         \t       1\t     10000 items\t      4407 ns/item\t         1.114 x-a-tenth"
	if have, want := strings.Join(sizeOf(line), "|"), "10,000 pools|10000|4407 ns|1.114"; have != want {
		t.Errorf("want %q, have %q", want, have)
	}
	for _, other := range []string{"", "PASS", "ok  \tgithub.com/steelyard-lb/steelyard/internal/intent\t29.459s", "BenchmarkThink/1000-2 1 5 ns/op"} {
		if have := sizeOf(other); have != nil {
			t.Errorf("%q: have %q", other, have)
		}
	}
}
