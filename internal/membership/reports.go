package membership

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Exchange is whom a speaker without an API server exchanges reports with, and what it reports.
type Exchange struct {
	Members []Member // with this speaker itself
	Keys    [][]byte // as in Config
	Report  []byte   // JSON; nil: nothing is sent yet
}

// Report is the newest report of a member.
type Report struct {
	JSON []byte
	At   time.Time // when it was received last; the same may come again and again
}

// reportInterval is how often a speaker repeats its report.
const reportInterval = 100 * time.Millisecond

// Reports carries reports between speakers that no API server connects: each sends its own to
// all others, at once when it changes, and every 100 ms. They are signed and numbered as the
// messages of a Group. Make one with NewReports.
type Reports struct {
	self      string
	transport Transport
	log       *slog.Logger
	exchange  atomic.Pointer[Exchange]
	numbers   numbers
	replays   replays
	wake      chan struct{} // buffered 1: the own report has changed
	changed   chan struct{} // buffered 1: another's has
	mu        sync.Mutex
	received  map[string]Report
}

// NewReports returns Reports without an exchange; start is as in New. It starts nothing.
func NewReports(self string, start uint64, transport Transport, log *slog.Logger) *Reports {
	r := &Reports{
		self: self, transport: transport, log: log, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), received: map[string]Report{},
	}
	r.numbers.start.Store(start)
	r.exchange.Store(&Exchange{})
	return r
}

// Set replaces the exchange, and returns at once. The same again does nothing.
func (r *Reports) Set(x Exchange) {
	x.Members, x.Keys = slices.Clone(x.Members), slices.Clone(x.Keys)
	if old := r.exchange.Swap(&x); !bytes.Equal(old.Report, x.Report) || !slices.Equal(old.Members, x.Members) {
		wait.Signal(r.wake)
	}
}

// Received returns the newest report of each member that has sent one.
func (r *Reports) Received() map[string]Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]Report, len(r.received))
	for _, m := range r.exchange.Load().Members {
		if report, ok := r.received[m.Name]; ok {
			out[m.Name] = report
		}
	}
	return out
}

// Changed gets a value after a report has arrived that differs from the one before.
func (r *Reports) Changed() <-chan struct{} { return r.changed }

// Run sends and receives until ctx ends.
func (r *Reports) Run(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- r.transport.Deliver(ctx, r.receive) }()
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-failed:
			return err
		case <-tick.C:
		case <-r.wake:
		}
		r.send()
	}
}

// send sends the own report to all others. One that is lost is repeated soon.
func (r *Reports) send() {
	if x := r.exchange.Load(); x.Report != nil && len(x.Keys) > 0 {
		r.post(x, Message{Report: x.Report}, func(string) bool { return true })
	}
}

// post sends a message to the other members that to selects.
func (r *Reports) post(x *Exchange, m Message, to func(name string) bool) {
	m.From = r.self
	m.Start, m.Number = r.numbers.next()
	b, err := m.sign(x.Keys[0])
	if err != nil {
		r.log.Error("can't report to the other speakers", "err", err)
		return
	}
	var own netip.Addr
	for _, m := range x.Members {
		if m.Name == r.self {
			own = m.Addr
		}
	}
	for _, m := range x.Members {
		if m.Name == r.self || !to(m.Name) {
			continue
		}
		if err := r.transport.Send(sourceTo(own, m.Addr), m.Addr, b); err != nil {
			r.log.Debug("can't reach a speaker", "node", m.Name, "err", err)
		}
	}
}

// receive takes in a datagram. It ignores one that is not a report of another member, signed
// and new.
func (r *Reports) receive(b []byte) {
	x, now := r.exchange.Load(), time.Now()
	m, err := verify(x.Keys, b)
	if err != nil || m.From == r.self {
		return
	}
	fresh, known := r.replays.fresh(now, m, x.Members)
	if known > 0 {
		r.post(x, Message{Known: known}, func(name string) bool { return name == m.From })
	}
	if !fresh || m.Number == 0 {
		return
	}
	if m.Known > 0 {
		r.numbers.follow(m.Known)
	}
	if m.Report == nil {
		return
	}
	r.mu.Lock()
	isNew := !bytes.Equal(r.received[m.From].JSON, m.Report)
	r.received[m.From] = Report{m.Report, now}
	r.mu.Unlock()
	if isNew {
		wait.Signal(r.changed)
	}
}
