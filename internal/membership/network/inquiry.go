package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// perSecond is how many questions are asked at most. Each is a broadcast that
// all hosts on the link look at: this takes them less than a tenth of a core.
const perSecond = 15_000

// wire asks on one link who has addresses of one family.
type wire interface {
	ask(addr netip.Addr) error
	// answer waits for an answer, or until Close. Who answers in this node's own
	// place, with its MAC, is not heard.
	answer() (netip.Addr, [6]byte, error)
	Close() error
}

// inquiry is a number of addresses that are asked for together.
type inquiry struct {
	wire
	done context.CancelFunc // all have been answered for

	mu       sync.Mutex
	open     map[netip.Addr]bool // not answered for
	answered map[netip.Addr]holder
	failed   error // of reading
}

// holder is who has an address.
type holder struct {
	mac [6]byte
	at  time.Time // when that was heard
}

// rounds is how often to ask for each address that nobody answers for, and how
// long to wait for answers each time.
type rounds struct {
	times int
	wait  time.Duration
	pace  *pace // of the questions
}

// inquire asks for addresses, and returns who has them. It closes w. With an
// error, nothing follows from silence.
func inquire(ctx context.Context, w wire, addrs []netip.Addr, n rounds) (map[netip.Addr]holder, error) {
	waiting, done := context.WithCancel(ctx)
	defer done()
	q := &inquiry{wire: w, done: done, open: make(map[netip.Addr]bool, len(addrs)), answered: map[netip.Addr]holder{}}
	for _, a := range addrs {
		q.open[a] = true
	}
	var reading sync.WaitGroup
	reading.Go(q.read)
	err := q.askAll(waiting, addrs, n)
	q.mu.Lock() // what closing the socket makes read return is no failure
	failed := q.failed
	q.mu.Unlock()
	err = errors.Join(err, failed, ctx.Err(), w.Close())
	reading.Wait()
	return q.answered, err
}

// askAll returns when all addresses have been answered for, or nobody has
// answered for so long that nobody will.
func (q *inquiry) askAll(ctx context.Context, addrs []netip.Addr, n rounds) error {
	for round := range n.times {
		start := time.Now()
		for _, a := range addrs {
			if !q.isOpen(a) {
				continue
			}
			if !n.pace.wait(ctx) {
				return nil
			}
			// A question that does not fit into the link's queue is lost as on the wire.
			if err := q.ask(a); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return fmt.Errorf("ask for %s: %w", a, err)
			}
		}
		end := start.Add(n.wait)
		if round == n.times-1 {
			end = time.Now().Add(n.wait)
		}
		if !wait.Sleep(ctx, time.Until(end)) {
			return nil
		}
	}
	return nil
}

func (q *inquiry) isOpen(a netip.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open[a]
}

// read takes in answers until the wire is closed, or fails.
func (q *inquiry) read() {
	for {
		addr, mac, err := q.answer()
		q.mu.Lock()
		if err != nil {
			q.failed = err
			q.mu.Unlock()
			q.done()
			return
		}
		if q.open[addr] {
			delete(q.open, addr)
			q.answered[addr] = holder{mac, time.Now()}
		}
		all := len(q.open) == 0
		q.mu.Unlock()
		if all {
			q.done()
		}
	}
}

// pace spaces out the questions of all inquiries. The zero pace is ready.
type pace struct {
	rate int // a second; 0: perSecond
	mu   sync.Mutex
	next time.Time
}

// wait returns when a question may be asked, false if ctx has ended. Timers are
// coarse: some questions may go at once.
func (p *pace) wait(ctx context.Context) bool {
	const coarse = time.Millisecond
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	early := p.next.Sub(now)
	p.next = p.next.Add(time.Second / time.Duration(cmp.Or(p.rate, perSecond)))
	p.mu.Unlock()
	if early < coarse {
		return ctx.Err() == nil
	}
	return wait.Sleep(ctx, early)
}
