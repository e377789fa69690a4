package membership

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wireOf is a Transport to other Reports, by address.
type wireOf struct {
	self netip.Addr
	to   map[netip.Addr]*wireOf
	in   chan []byte

	mu   sync.Mutex
	sent [][]byte
}

func (w *wireOf) Send(_, to netip.Addr, b []byte) error {
	w.mu.Lock()
	w.sent = append(w.sent, b)
	w.mu.Unlock()
	if o := w.to[to]; o != nil {
		o.in <- b
	}
	return nil
}

func (w *wireOf) Deliver(ctx context.Context, receive func([]byte)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-w.in:
			receive(b)
		}
	}
}

// exchanging runs two Reports that start at these times, with these keys. stopA ends the first.
func exchanging(t *testing.T, startA, startB uint64, keyA, keyB string) (a, b *Reports, wires [2]*wireOf, stopA func()) {
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	all := map[netip.Addr]*wireOf{}
	for i := range wires {
		wires[i] = &wireOf{self: addrs[i], to: all, in: make(chan []byte, 100)}
		all[addrs[i]] = wires[i]
	}
	members := []Member{{Name: "a", Addr: addrs[0]}, {Name: "b", Addr: addrs[1]}}
	a, b = NewReports("a", startA, wires[0], slog.New(slog.DiscardHandler)), NewReports("b", startB, wires[1], slog.New(slog.DiscardHandler))
	a.Set(Exchange{Members: members, Keys: [][]byte{[]byte(keyA)}, Report: []byte(`{"of":"a"}`)})
	b.Set(Exchange{Members: members, Keys: [][]byte{[]byte(keyB)}, Report: []byte(`{"of":"b"}`)})
	ctx, stopA := context.WithCancel(t.Context())
	go runs(ctx, t, a)
	go runs(t.Context(), t, b)
	return a, b, wires, stopA
}

func runs(ctx context.Context, t *testing.T, r *Reports) {
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestReportsAreExchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, wires, _ := exchanging(t, 1, 1, "key", "key")
		time.Sleep(reportInterval)
		synctest.Wait()
		if got := string(a.Received()["b"].JSON); got != `{"of":"b"}` {
			t.Errorf("a has of b: %s", got)
		}
		before := b.Received()["a"].At
		time.Sleep(2 * reportInterval)
		synctest.Wait()
		if !b.Received()["a"].At.After(before) {
			t.Error("the report is not repeated")
		}
		select {
		case <-b.Changed():
		default:
			t.Error("b does not notice the report of a")
		}
		// What was sent once says nothing later.
		at := b.Received()["a"].At
		time.Sleep(10 * time.Millisecond)
		wires[0].mu.Lock()
		once := wires[0].sent[0]
		wires[0].mu.Unlock()
		wires[1].in <- once
		synctest.Wait()
		if b.Received()["a"].At != at {
			t.Error("a report that is sent again counts")
		}
		x := *a.exchange.Load()
		x.Report = []byte(`{"of":"a","new":true}`)
		a.Set(x)
		synctest.Wait()
		if got := string(b.Received()["a"].JSON); got != `{"of":"a","new":true}` {
			t.Errorf("b has of a: %s; a change is not sent at once", got)
		}
	})
}

func TestReportsWithAnotherKeyDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, _ := exchanging(t, 1, 1, "key", "another")
		time.Sleep(5 * reportInterval)
		synctest.Wait()
		if len(a.Received()) > 0 || len(b.Received()) > 0 {
			t.Errorf("%v, %v", a.Received(), b.Received())
		}
	})
}

// A clock may be set back over a restart: the others say which later start they know.
func TestReportsAfterAClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, wires, stop := exchanging(t, 1000, 1, "key", "key")
		time.Sleep(reportInterval)
		synctest.Wait()
		again := NewReports("a", 500, wires[0], slog.New(slog.DiscardHandler))
		x := *a.exchange.Load()
		stop()
		synctest.Wait() // it takes no message that is for the next one
		x.Report = []byte(`{"of":"a again"}`)
		again.Set(x)
		go runs(t.Context(), t, again)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := string(b.Received()["a"].JSON); got != `{"of":"a again"}` {
			t.Errorf("b has of a: %s", got)
		}
	})
}
