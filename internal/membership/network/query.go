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

// perSecond limits the requests per second. Each is a broadcast that all hosts on the link
// handle: at this rate that takes them less than a tenth of a core.
const perSecond = 15_000

// wire sends requests for addresses of one family on one link.
type wire interface {
	ask(addr netip.Addr) error
	// answer waits for an answer, or until Close. It skips answers with this node's own MAC.
	answer() (netip.Addr, [6]byte, error)
	Close() error
}

// query is a number of addresses that are asked for together.
type query struct {
	wire
	done context.CancelFunc // called when all addresses are answered

	mu       sync.Mutex
	open     map[netip.Addr]bool // not answered yet
	answered map[netip.Addr]holder
	failed   error // of reading
}

// holder is a host that has an address.
type holder struct {
	mac [6]byte
	at  time.Time // when its answer arrived
}

// rounds is how often to ask for each address that is not answered, and how long to wait
// for answers each time.
type rounds struct {
	times int
	wait  time.Duration
	pace  *pace // of the requests
}

// runQuery asks for addresses, and returns the hosts that have them. It closes w. If it
// returns an error, addresses without an answer may still be in use.
func runQuery(ctx context.Context, w wire, addrs []netip.Addr, n rounds) (map[netip.Addr]holder, error) {
	waiting, done := context.WithCancel(ctx)
	defer done()
	q := &query{wire: w, done: done, open: make(map[netip.Addr]bool, len(addrs)), answered: map[netip.Addr]holder{}}
	for _, a := range addrs {
		q.open[a] = true
	}
	var reading sync.WaitGroup
	reading.Go(q.read)
	err := q.askAll(waiting, addrs, n)
	q.mu.Lock() // before Close: the error that read then returns is no failure
	failed := q.failed
	q.mu.Unlock()
	err = errors.Join(err, failed, ctx.Err(), w.Close())
	reading.Wait()
	return q.answered, err
}

// askAll asks for all addresses. It returns when all are answered, or after the last round.
func (q *query) askAll(ctx context.Context, addrs []netip.Addr, n rounds) error {
	for round := range n.times {
		start := time.Now()
		for _, a := range addrs {
			if !q.isOpen(a) {
				continue
			}
			if !n.pace.wait(ctx) {
				return nil
			}
			// A request that does not fit into the link's queue is lost as on the wire.
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

func (q *query) isOpen(a netip.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open[a]
}

// read records answers until the wire is closed, or fails.
func (q *query) read() {
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

// pace limits the rate of the requests of all queries. The zero value is ready to use.
type pace struct {
	rate int // per second; 0: perSecond
	mu   sync.Mutex
	next time.Time
}

// wait returns when a request may be sent; false if ctx has ended. Timers are coarse, so
// that several requests may follow at once.
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
