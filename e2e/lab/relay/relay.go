// Package relay passes TCP connections on to a server, late: each chunk of data
// waits for a time that may change while the relay runs. It keeps the order of
// the data, stops reading when the other side does not take it, and passes on
// that a side has ended. It knows nothing of what it passes on.
package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	chunkSize = 32 << 10
	// queued is how many chunks may be on their way in one direction. With more
	// the relay stops reading, and the sender's own window fills up.
	queued = 256
)

// Relay is where connections go, and how late.
type Relay struct {
	// Dial opens a connection to the server.
	Dial func(context.Context) (net.Conn, error)
	// Delay is how long the data that comes in now waits, in either direction.
	// It is called at once by many. Data never overtakes data.
	Delay func() time.Duration
	// Failed is called with the reason why a connection could not be passed on.
	Failed func(error)
}

// Serve passes on what l accepts. It returns when ctx has ended, or l failed,
// and every connection is closed; it closes l.
func (r Relay) Serve(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		client, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		connections.Go(func() {
			if err := r.pass(ctx, client); err != nil && ctx.Err() == nil {
				r.Failed(err)
			}
		})
	}
}

// pass carries one connection both ways, and returns when both have ended. One
// way that breaks ends both; one that ends leaves the other open.
func (r Relay) pass(ctx context.Context, client net.Conn) error {
	defer client.Close()
	server, err := r.Dial(ctx)
	if err != nil {
		return fmt.Errorf("reach the server: %w", err)
	}
	defer server.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Closing is what ends reads and writes that wait.
	stop := context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })
	defer stop()
	var tasks sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		queue := make(chan chunk, queued)
		tasks.Go(func() { r.read(ctx, way[0], queue) })
		tasks.Go(func() {
			if err := write(ctx, queue, way[1]); err != nil {
				cancel(err)
			}
		})
	}
	tasks.Wait()
	return context.Cause(ctx)
}

// chunk is data that is due at a time. The last one has an error and no data.
type chunk struct {
	data []byte
	due  time.Time
	err  error
}

// read reads chunks until an error, be it the end, which it sends last.
func (r Relay) read(ctx context.Context, from net.Conn, queue chan<- chunk) {
	buffer := make([]byte, chunkSize)
	for {
		n, err := from.Read(buffer)
		due := time.Now().Add(r.Delay())
		var read []chunk
		if n > 0 {
			read = append(read, chunk{data: bytes.Clone(buffer[:n]), due: due})
		}
		if err != nil {
			read = append(read, chunk{err: err, due: due})
		}
		for _, c := range read {
			select {
			case <-ctx.Done():
				return
			case queue <- c:
			}
		}
		if err != nil {
			return
		}
	}
}

// write writes chunks, each when it is due, until the last.
func write(ctx context.Context, queue <-chan chunk, to net.Conn) error {
	for {
		var c chunk
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c = <-queue:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(c.due)):
		}
		switch {
		case errors.Is(c.err, io.EOF):
			closeWrite(to)
			return nil
		case c.err != nil:
			return fmt.Errorf("read: %w", c.err)
		}
		if _, err := to.Write(c.data); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
}

// closeWrite tells the far side that no more data comes. It fails only when
// that side is gone, which its reader learns as well.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = conn.Close()
}
