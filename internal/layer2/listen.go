package layer2

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// listen reads frames and does what they ask for.
func (w *worker) listen(ctx context.Context, conn wire) error {
	limiter := neighbor.NewLimiter()
	buf := make([]byte, neighbor.MaxFrame)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("receive %s on %s: %w", w.proto.Name, w.role.link, err)
		}
		if ctx.Err() != nil {
			continue // the socket is about to be closed
		}
		m, ok := w.read(buf[:n])
		if !ok {
			continue
		}
		if err := w.watch(conn, m); err != nil {
			return err
		}
		if reply := w.reply(m, limiter); reply != nil {
			if err := w.send(conn, reply); err != nil {
				return err
			}
			w.count.Answers.Add(1)
		}
	}
}

// read returns what a frame says, unless it can't be read or is one of our own,
// reflected.
func (w *worker) read(frame []byte) (neighbor.Message, bool) {
	w.count.Frames.Add(1)
	m, ok := w.proto.Read(frame)
	if !ok {
		w.count.Malformed.Add(1)
		return m, false
	}
	return m, !bytes.Equal(m.Sender, w.self.MAC)
}

// reply returns the answer to a message, nil for silence.
func (w *worker) reply(m neighbor.Message, limiter *neighbor.Limiter) []byte {
	t := w.claims.Load()
	h := t.Claimed(m.Asks, w.role.link)
	if h == nil || !h.Answers() || !h.Current(w.watchdog.Beat()) {
		return nil
	}
	w.count.Requests.Add(1)
	// Speakers ask who has what, for all addresses at once, and believe in silence.
	if w.stranger(m.Sender) && !limiter.Allow(m, time.Now(), len(t.Entries())+questionBurst) {
		w.count.Limited.Add(1)
		return nil
	}
	mac := t.Disguise(m.Asks, w.role.link)
	if mac == nil {
		return w.proto.Answer(m, w.self)
	}
	frame := w.proto.Answer(m, neighbor.Station{MAC: mac, Router: w.self.Router})
	if frame != nil {
		copy(frame[6:12], w.self.MAC) // else switches would send that node's frames here
	}
	return frame
}

// questionBurst is how many questions a station may ask at once, beyond one for
// each of our addresses, as a router does that has just started.
const questionBurst = 100

// watch looks for others that say they have, or for strangers that in a trial
// say they want, one of our addresses. A conflict is not fought over, unless the administrator
// chose so: then the address is announced (RFC 5227 section 2.4 c).
func (w *worker) watch(conn wire, m neighbor.Message) error {
	addr := m.Holds
	h := w.claims.Load().Claimed(addr, w.role.link)
	if h == nil && m.Wants() {
		addr = m.Asks
		if h = w.claims.Load().Claimed(addr, w.role.link); h != nil && h.Answers() {
			return nil // it will be told that the address is ours
		}
	}
	if h == nil {
		return nil
	}
	if !w.stranger(m.Sender) {
		if addr == m.Holds {
			w.contest(addr, m.Sender)
		}
		return nil
	}
	now := time.Now()
	w.count.Conflicts.Add(1)
	if h.Saw(sighting{MAC: [6]byte(m.Sender), Link: w.role.link, Last: now}) {
		w.log.Warn("a stranger has an address of ours", "addr", addr, "mac", m.Sender.String())
		signal(w.turned)
	}
	if !w.Defend || !h.Defend(now) {
		return nil
	}
	n, err := w.sendAnnouncement(conn, addr)
	w.count.Defences.Add(n)
	return err
}
