package bgp

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bgp/fsm"
	"github.com/steelyard-lb/steelyard/internal/bgp/unnumbered"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// search looks for the router on a link, in a goroutine of its own. The nil search is
// on no link.
type search struct {
	link   string
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	addr    netip.Addr // the router's, with the link as its zone
	problem string     // reason there is none; "": not known yet
}

// newSearch starts a search that ends with stop or with ctx. It signals wake when the
// result changes. For an empty link it returns nil.
func newSearch(ctx context.Context, link string, wake chan struct{}) *search {
	if link == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &search{link: link, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		s.run(ctx, wake, unnumbered.Find)
	}()
	return s
}

// run finds the router until ctx ends. A panic, caused by what a host on the link
// sent, restarts it.
func (s *search) run(ctx context.Context, wake chan struct{}, find func(context.Context, string, func(netip.Addr, string))) {
	for ctx.Err() == nil {
		err := fsm.Recover(func() {
			find(ctx, s.link, func(addr netip.Addr, problem string) { s.found(addr, problem, wake) })
		})
		if err == nil {
			return
		}
		s.found(netip.Addr{}, err.Error(), wake)
		select {
		case <-ctx.Done():
		case <-time.After(repairPause):
		}
	}
}

func (s *search) found(addr netip.Addr, problem string, wake chan struct{}) {
	s.mu.Lock()
	changed := addr != s.addr || problem != s.problem
	s.addr, s.problem = addr, problem
	s.mu.Unlock()
	if changed {
		wait.Signal(wake)
	}
}

func (s *search) on() string {
	if s == nil {
		return ""
	}
	return s.link
}

func (s *search) router() (_ netip.Addr, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr, s.problem
}

func (s *search) stop() {
	if s != nil {
		s.cancel()
		<-s.ended
	}
}
