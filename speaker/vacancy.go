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
	// vacantFor is how long nobody's having answered counts.
	vacantFor = time.Second
	// inquiries is how many addresses are asked for at a time.
	inquiries = 32
)

// vacancies asks, on the wire, whether addresses are free: for a speaker that
// knows too little to go by what it has read.
type vacancies struct {
	has     func(ctx context.Context, addr netip.Addr, links []string) membership.Reply
	changed chan struct{} // told when one was found to be free
	slots   chan struct{}

	mu    sync.Mutex
	found map[netip.Addr]time.Time // when nobody had it; zero while it is asked
}

func newVacancies(has func(context.Context, netip.Addr, []string) membership.Reply) *vacancies {
	return &vacancies{has: has, changed: make(chan struct{}, 1), slots: make(chan struct{}, inquiries), found: map[netip.Addr]time.Time{}}
}

// free reports whether nobody had addr on these links a moment ago. If that is
// not known it returns at once, and asks: a free address is told of, of others
// the next call asks again.
func (v *vacancies) free(ctx context.Context, addr netip.Addr, links []string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, known := v.found[addr]
	switch {
	case known && at.IsZero():
		return false
	case known && time.Since(at) < vacantFor:
		return true
	}
	v.found[addr] = time.Time{}
	go v.inquire(ctx, addr, links)
	return false
}

func (v *vacancies) inquire(ctx context.Context, addr netip.Addr, links []string) {
	v.slots <- struct{}{}
	reply := v.has(ctx, addr, links)
	<-v.slots
	v.mu.Lock()
	defer v.mu.Unlock()
	if reply != membership.Silence {
		delete(v.found, addr)
		return
	}
	v.found[addr] = time.Now()
	cluster.Signal(v.changed)
}
