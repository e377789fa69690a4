package layer2

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
	"github.com/steelyard-lb/steelyard/internal/wait"
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
	perSecond := neighbor.PerSecond
	if !w.stranger(m.Sender) { // they ask who has what, for all addresses at once, and believe in silence
		perSecond = speakerQuestions
	}
	if !limiter.Allow(m, time.Now(), len(t.Entries())+questionBurst, perSecond) {
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

// speakerQuestions is how many questions of another speaker are answered in a second:
// more than it asks.
const speakerQuestions = 20_000

// watch looks for others that say they have one of our addresses, and for foreign
// hosts that are about to take one that is on trial.
func (w *worker) watch(conn wire, m neighbor.Message) error {
	t := w.claims.Load()
	if h := t.Claimed(m.Holds, w.role.link); h != nil {
		if !w.stranger(m.Sender) {
			w.contest(m)
			return nil
		}
		return w.conflict(conn, h, m)
	}
	if h := t.Claimed(m.Asks, w.role.link); h != nil && m.Wants() && w.stranger(m.Sender) && h.Wanted(time.Now(), trialPause()) {
		if w.mayTell() {
			w.log.Info("another machine probes for an address of ours; probing again later", "addr", m.Asks, "mac", m.Sender.String())
		}
		wait.Signal(w.Announcer.wake)
	}
	return nil
}

// trialPause is how long to wait until a trial that somebody else's probe ended
// begins anew. It is random, so that of two who try at once one comes first (RFC 5227
// section 2.1.1): the other hears its announcement.
func trialPause() time.Duration { return 500*time.Millisecond + rand.N(1500*time.Millisecond) }

// conflict takes in that a foreign host says it has an address of ours. That is not
// fought over, unless the administrator chose so: then the address is announced (RFC
// 5227 section 2.4 c).
func (w *worker) conflict(conn wire, h *holding, m neighbor.Message) error {
	now := time.Now()
	w.count.Conflicts.Add(1)
	if h.Saw(sighting{MAC: [6]byte(m.Sender), Link: w.role.link, Last: now}, w.mayTell) {
		w.log.Warn("another machine has an address of ours", "addr", m.Holds, "mac", m.Sender.String())
		wait.Signal(w.turned)
	}
	forms := w.announcement(m.Holds)
	if !w.Defend || w.rate.Room(now) < len(forms) || !h.Defend(now) {
		return nil
	}
	n, err := w.sendAnnouncement(conn, m.Holds, forms)
	w.count.Defences.Add(n)
	return err
}
