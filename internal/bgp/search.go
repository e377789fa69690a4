package bgp

import (
	"context"
	"net/netip"
	"sync"

	"github.com/steelyard-lb/steelyard/internal/bgp/unnumbered"
)

// search looks for the router on a link, in a goroutine of its own. The nil
// search is on no link.
type search struct {
	link   string
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	addr    netip.Addr // the router's, with the link as its zone
	problem string     // why there is none; "": not known yet
}

// newSearch begins a search that lasts until it is stopped or ctx ends. It wakes
// whoever waits for the result. On no link it returns nil.
func newSearch(ctx context.Context, link string, wake chan struct{}) *search {
	if link == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &search{link: link, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		unnumbered.Find(ctx, link, func(addr netip.Addr, problem string) {
			s.mu.Lock()
			changed := addr != s.addr || problem != s.problem
			s.addr, s.problem = addr, problem
			s.mu.Unlock()
			if changed {
				signal(wake)
			}
		})
	}()
	return s
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
