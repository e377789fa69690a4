package fsm

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// drainTimeout is how long an ended connection is still read: the peer may need that
// long to read a NOTIFICATION and close its side, or to send why it closed.
const drainTimeout = time.Second

// closeReason returns the NOTIFICATION of a peer that closed the connection while a
// message was sent; else reason.
func (c *connection) closeReason(reason error) error {
	timeout := time.NewTimer(drainTimeout)
	defer timeout.Stop()
	for {
		select {
		case m := <-c.in:
			if m.err != nil {
				return reason
			}
			if m.kind == notificationMessage {
				n, said := parseNotification(m.body)
				return received{n, said}
			}
		case <-timeout.C:
			return reason
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// end reports to the peer and to the listener why the session ends.
func (c *connection) end(reason error) {
	var bye Cease
	var bad *fault
	switch {
	case errors.Is(reason, errRestart):
		return
	case errors.As(reason, &bye):
		c.notify(notification{cease, uint8(bye)}, bye.data())
		c.drain()
		return
	case errors.Is(reason, errHold):
		c.notify(notification{holdTimerExpired, 0}, nil)
	case errors.As(reason, &bad):
		c.notify(bad.notification, bad.data)
	}
	text, cause, unreached := c.describe(reason)
	c.report(func(to Listener) {
		if unreached {
			to.ConnectFailed(text)
		} else {
			to.Failed(text, cause)
		}
	})
	c.enter(Idle)
	c.drain()
}

// drain discards what the peer still sends until it closes its side. A connection
// that is closed with unread data is reset, and a peer that is reset while it writes
// does not read the NOTIFICATION.
func (c *connection) drain() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !c.notified || !ok || half.CloseWrite() != nil || c.conn.SetReadDeadline(time.Now().Add(drainTimeout)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.conn) // however it ends, nothing more can be done
}

// notify sends a NOTIFICATION if that is possible. The connection ends in any case.
func (c *connection) notify(n notification, data []byte) {
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
