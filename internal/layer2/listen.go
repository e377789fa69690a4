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

// listen reads frames, answers requests and looks for conflicts. It returns when the wire fails.
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

// read returns what a frame says; false: it is malformed, or a frame of our own that
// the network reflected.
func (w *worker) read(frame []byte) (neighbor.Message, bool) {
	w.count.Frames.Add(1)
	m, ok := w.proto.Read(frame)
	if !ok {
		w.count.Malformed.Add(1)
		return m, false
	}
	return m, !bytes.Equal(m.Sender, w.self.MAC)
}

// reply returns the answer to a message, or nil.
func (w *worker) reply(m neighbor.Message, limiter *neighbor.Limiter) []byte {
	t := w.claims.Load()
	h := t.Claimed(m.Asks, w.role.link)
	if h == nil || !h.Answers() || !h.Current(w.watchdog.Check()) {
		return nil
	}
	w.count.Requests.Add(1)
	perSecond := neighbor.PerSecond
	if !w.isForeign(m.Sender) { // a speaker probes all addresses at once, and takes those that no answer comes for
		perSecond = speakerRequestsPerSecond
	}
	if !limiter.Allow(m, time.Now(), len(t.Entries())+requestBurst, perSecond) {
		w.count.Limited.Add(1)
		return nil
	}
	mac := t.ProxyMAC(m.Asks, w.role.link)
	if mac == nil {
		return w.proto.Answer(m, w.self)
	}
	frame := w.proto.Answer(m, neighbor.Station{MAC: mac, Router: w.self.Router})
	if frame != nil {
		copy(frame[6:12], w.self.MAC) // else switches would learn that node's MAC here
	}
	return frame
}

// requestBurst is how many requests a host may send at once beyond one for each of
// our addresses. A router that has just started sends many.
const requestBurst = 100

// speakerRequestsPerSecond is how many requests of another speaker are answered a
// second: more than it sends.
const speakerRequestsPerSecond = 20_000

// watch looks for hosts that claim one of our addresses, and for foreign hosts that
// are about to take one that is being probed.
func (w *worker) watch(conn wire, m neighbor.Message) error {
	t := w.claims.Load()
	if h := t.Claimed(m.Holds, w.role.link); h != nil {
		switch {
		case !w.isForeign(m.Sender):
			w.duplicateOwner(m)
			return nil
		case t.Of(m.Holds).Ignores(w.role.link):
			return nil
		}
		return w.conflict(conn, h, m)
	}
	if h := t.Claimed(m.Asks, w.role.link); h != nil && m.IsProbe() && w.isForeign(m.Sender) && !t.Of(m.Asks).Ignores(w.role.link) && h.ProbeHeard(time.Now(), trialPause()) {
		if w.mayReport() {
			w.log.Info("another host probes for an address of ours; probing again later", "addr", m.Asks, "mac", m.Sender.String())
		}
		wait.Signal(w.Announcer.wake)
	}
	return nil
}

// trialPause returns how long to wait before probing again after a foreign host's
// probe. It is random, so that of two hosts that probe at once one is first (RFC 5227
// section 2.1.1), and the other hears its announcement.
func trialPause() time.Duration { return 500*time.Millisecond + rand.N(1500*time.Millisecond) }

// conflict handles a frame in which a foreign host claims an address of ours: it
// records the host and reports it once. With Options.Defend it also announces the
// address (RFC 5227 section 2.4 c).
func (w *worker) conflict(conn wire, h *holding, m neighbor.Message) error {
	now := time.Now()
	w.count.Conflicts.Add(1)
	if h.Saw(sighting{MAC: [6]byte(m.Sender), Link: w.role.link, Last: now}, w.mayReport) {
		w.log.Warn("address conflict: another host uses our address", "addr", m.Holds, "mac", m.Sender.String())
		wait.Signal(w.stateChanged)
	}
	forms := w.announcement(m.Holds)
	if !w.Defend || w.rate.Room(now) < len(forms) || !h.Defend(now) {
		return nil
	}
	n, err := w.sendAnnouncement(conn, m.Holds, forms)
	w.count.Defenses.Add(n)
	return err
}
