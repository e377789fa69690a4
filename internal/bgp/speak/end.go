package speak

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// drainTimeout is how long a connection that has served is read on: a peer may take
// so long to read a NOTIFICATION and end its side, or to tell why it has done so.
const drainTimeout = time.Second

// lastWord returns why the peer ended the session, if it said so before it closed the
// connection that a message could not be sent over; else why.
func (c *conversation) lastWord(why error) error {
	timeout := time.NewTimer(drainTimeout)
	defer timeout.Stop()
	for {
		select {
		case m := <-c.in:
			if m.err != nil {
				return why
			}
			if m.kind == notificationMessage {
				n, said := parseNotification(m.body)
				return received{n, said}
			}
		case <-timeout.C:
			return why
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// end tells the peer and the listener why the session ends.
func (c *conversation) end(why error) {
	var bye Goodbye
	var bad *fault
	switch {
	case errors.As(why, &bye):
		c.notify(notification{cease, uint8(bye)}, bye.data())
		c.drain()
		return
	case errors.Is(why, errHold):
		c.notify(notification{holdTimerExpired, 0}, nil)
	case errors.As(why, &bad):
		c.notify(bad.notification, bad.data)
	}
	text, cause, unreached := c.words(why)
	c.tell(func(to Listener) {
		if unreached {
			to.Unreached(text)
		} else {
			to.Failed(text, cause)
		}
	})
	c.enter(Idle)
	c.drain()
}

// drain throws away what the peer still sends, until it ends its side, too. A connection
// that is closed with something unread is reset, and who is reset while it writes does
// not read the NOTIFICATION any more.
func (c *conversation) drain() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !c.notified || !ok || half.CloseWrite() != nil || c.conn.SetReadDeadline(time.Now().Add(drainTimeout)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.conn) // however it ends, nothing more can be done
}

// notify sends a NOTIFICATION, if that is possible: the connection ends anyway.
func (c *conversation) notify(n notification, data []byte) {
	if c.broken || c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
		return
	}
	b, err := bgp.NewBGPNotificationMessage(n.code, n.subcode, data).Serialize()
	if err == nil {
		_, err = c.conn.Write(b)
	}
	if err != nil {
		c.log.Debug("can't send a NOTIFICATION", "peer", c.peer.Name, "notification", n.String(), "err", err)
	}
	c.notified = err == nil
}
