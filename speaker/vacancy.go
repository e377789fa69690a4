package main

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

const (
	// vacantFor is how long nobody's having answered counts: longer than the
	// passes over many addresses take.
	vacantFor = 3 * time.Second
	// takenFor is how long somebody's having answered counts, at least, and
	// pace what each address adds to that: at most 100 a second are asked for.
	takenFor, pace = time.Second, 10 * time.Millisecond
	// inquiries is how many addresses are asked for at a time.
	inquiries = 128
)

// vacancies asks, on the wire, whether addresses are free: for a speaker that
// knows too little to go by what it has read.
type vacancies struct {
	has     func(ctx context.Context, addr netip.Addr, links []string) membership.Reply
	changed chan struct{} // told when one was found to be free
	slots   chan struct{}

	mu    sync.Mutex
	found map[netip.Addr]finding
}

// finding is what came of asking for an address.
type finding struct {
	at   time.Time // zero while it is asked for
	free bool
}

func newVacancies(has func(context.Context, netip.Addr, []string) membership.Reply) *vacancies {
	return &vacancies{has: has, changed: make(chan struct{}, 1), slots: make(chan struct{}, inquiries), found: map[netip.Addr]finding{}}
}

// free reports whether nobody had addr on these links a moment ago. If that is
// not known it returns at once, and asks: a free address is told of, of others
// a later call asks again.
func (v *vacancies) free(ctx context.Context, addr netip.Addr, links []string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	f, known := v.found[addr]
	switch {
	case known && f.at.IsZero():
		return false
	case f.free && time.Since(f.at) < vacantFor:
		return true
	case known && !f.free && time.Since(f.at) < max(takenFor, time.Duration(len(v.found))*pace):
		return false
	}
	v.found[addr] = finding{}
	go v.inquire(ctx, addr, links)
	return false
}

func (v *vacancies) inquire(ctx context.Context, addr netip.Addr, links []string) {
	v.slots <- struct{}{}
	reply := v.has(ctx, addr, links)
	<-v.slots
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found[addr] = finding{time.Now(), reply == membership.Silence}
	if reply == membership.Silence {
		cluster.Signal(v.changed)
	}
}
