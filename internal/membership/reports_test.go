package membership

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// wireOf is a Transport to other Reports, by address.
type wireOf struct {
	self netip.Addr
	to   map[netip.Addr]*wireOf
	in   chan []byte
	sent [][]byte
}

func (w *wireOf) Send(_, to netip.Addr, b []byte) error {
	w.sent = append(w.sent, b)
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

// exchanging runs two Reports that start at these times, with these keys.
func exchanging(t *testing.T, startA, startB uint64, keyA, keyB string) (a, b *Reports, wires [2]*wireOf) {
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
	for _, r := range []*Reports{a, b} {
		go func() {
			if err := r.Run(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
	return a, b, wires
}

func TestReportsAreExchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, wires := exchanging(t, 1, 1, "key", "key")
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
		wires[1].in <- wires[0].sent[0]
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
		a, b, _ := exchanging(t, 1, 1, "key", "another")
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
		a, b, wires := exchanging(t, 1000, 1, "key", "key")
		time.Sleep(reportInterval)
		synctest.Wait()
		again := NewReports("a", 500, wires[0], slog.New(slog.DiscardHandler))
		x := *a.exchange.Load()
		a.Set(Exchange{})
		x.Report = []byte(`{"of":"a again"}`)
		again.Set(x)
		go func() {
			if err := again.Run(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := string(b.Received()["a"].JSON); got != `{"of":"a again"}` {
			t.Errorf("b has of a: %s", got)
		}
	})
}
