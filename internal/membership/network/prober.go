package network

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// An address is probed again after probeInterval at the earliest. Where there are many,
// after probePace times their number.
const (
	probeInterval = time.Second
	probePace     = 2 * time.Millisecond
)

// Prober asks repeatedly which hosts have addresses. It does not decide what follows from
// the results. Make one with NewProber.
type Prober struct {
	has     func(ctx context.Context, addrs []netip.Addr, links []string) map[netip.Addr]Answer
	changed chan struct{} // buffered 1
	wake    chan struct{} // buffered 1

	mu      sync.Mutex
	want    map[netip.Addr]failover.ProbeRequest
	results map[netip.Addr]failover.Probe
	asking  map[netip.Addr]bool
}

// NewProber returns a Prober that asks with has, such as HostProber.Has.
func NewProber(has func(context.Context, []netip.Addr, []string) map[netip.Addr]Answer) *Prober {
	return &Prober{
		has: has, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		results: map[netip.Addr]failover.Probe{}, asking: map[netip.Addr]bool{},
	}
}

// Set sets the addresses to ask for. Results for other addresses are forgotten.
func (p *Prober) Set(want map[netip.Addr]failover.ProbeRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = want
	for a := range p.results {
		if _, wanted := want[a]; !wanted {
			delete(p.results, a)
		}
	}
	if len(want) > 0 {
		wait.Signal(p.wake)
	}
}

// Results returns the latest result for each address that is asked for, if it has one.
func (p *Prober) Results() map[netip.Addr]failover.Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[netip.Addr]failover.Probe, len(p.results))
	for a, r := range p.results {
		out[a] = r
	}
	return out
}

// Changed receives a signal after a new result for a request with Notify.
func (p *Prober) Changed() <-chan struct{} { return p.changed }

// Run asks until ctx ends.
func (p *Prober) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		batches, next := p.due(time.Now())
		for _, b := range batches {
			asking.Go(func() { p.ask(ctx, b) })
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// batch is addresses that are asked for together.
type batch struct {
	addrs []netip.Addr
	links []string
}

// due returns the addresses to ask for now, and the time until the next are due.
func (p *Prober) due(now time.Time) ([]*batch, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	every := max(probeInterval, time.Duration(len(p.want))*probePace)
	next := every
	if len(p.want) == 0 {
		next = time.Hour
	}
	by := map[string]*batch{}
	for a, w := range p.want {
		if p.asking[a] {
			continue // its end wakes Run
		}
		if r, known := p.results[a]; known && !r.Asked.Before(w.After) && slices.Equal(r.Links, w.Links) {
			if wait := r.Done.Add(every).Sub(now); wait > 0 {
				next = min(next, wait)
				continue
			}
		}
		on := strings.Join(w.Links, " ")
		if by[on] == nil {
			by[on] = &batch{links: w.Links}
		}
		by[on].addrs = append(by[on].addrs, a)
		p.asking[a] = true
	}
	out := make([]*batch, 0, len(by))
	for _, b := range by {
		out = append(out, b)
	}
	return out, next
}

// ask asks for a batch, and records the results.
func (p *Prober) ask(ctx context.Context, b *batch) {
	asked := time.Now()
	answers := p.has(ctx, b.addrs, b.links)
	done := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range b.addrs {
		delete(p.asking, a)
		w, wanted := p.want[a]
		if !wanted {
			continue
		}
		x := answers[a]
		p.results[a] = failover.Probe{Reply: x.Reply, MAC: x.MAC, Answered: x.At, Asked: asked, Done: done, Links: b.links}
		if w.Notify {
			wait.Signal(p.changed)
		}
	}
	wait.Signal(p.wake)
}
