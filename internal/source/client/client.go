// Package client makes the calls to IPAMs that package source decides on, by gRPC. A call ends
// with its timeout, or with the leader's term. What an IPAM says is made safe to show here.
package client

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/source"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// parallel is how many calls to one IPAM are under way at once.
const parallel = 16

// watchPause is how long to wait before a Watch that ended is begun again; of an IPAM that does
// not know Watch for watchUnknown.
const (
	watchPause   = 5 * time.Second
	watchUnknown = 5 * time.Minute
)

// Options are what a Client needs.
type Options struct {
	Log      *slog.Logger
	Answered func(source.Answer)   // called with each answer
	Changed  func(endpoint string) // called when an IPAM reports a change
}

// Client asks IPAMs.
type Client struct {
	Options

	mu    sync.Mutex
	term  *leader.Term
	conns map[string]*connection // by pool
}

// connection is a connection to the IPAM of a pool, for one term.
type connection struct {
	*grpc.ClientConn
	to    *source.Target
	slots chan struct{} // one value for each call that is under way
	end   context.CancelFunc
}

// New returns a Client.
func New(o Options) *Client { return &Client{Options: o, conns: map[string]*connection{}} }

// Send makes calls, in a term. It returns at once.
func (c *Client) Send(t *leader.Term, calls []source.Call) {
	for _, call := range calls {
		conn, err := c.connection(t, call)
		if err != nil {
			go c.Answered(source.Answer{Call: call, Failure: source.Unavailable, Text: "can't be reached: " + shown(err)})
			continue
		}
		go func() {
			select {
			case conn.slots <- struct{}{}:
				defer func() { <-conn.slots }()
			case <-t.Done():
				c.Answered(source.Answer{Call: call, Failure: source.Unsent})
				return
			}
			ctx, cancel := t.WriteContext(call.To.Timeout)
			defer cancel()
			a := ask(ctx, conn, call)
			if t.Err() != nil {
				a = source.Answer{Call: call, Failure: source.Unsent}
			}
			c.Answered(a)
		}()
	}
}

// Close ends all connections: the term is over, or no pool has an IPAM.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeAll()
	c.term = nil
}

func (c *Client) closeAll() {
	for _, conn := range c.conns {
		conn.close()
	}
	clear(c.conns)
}

// Keep ends the connections to IPAMs of pools that are not known any more.
func (c *Client) Keep(known func(pool string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for pool, conn := range c.conns {
		if !known(pool) {
			conn.close()
			delete(c.conns, pool)
		}
	}
}

// connection returns the connection to the IPAM that a call is for, and watches that IPAM.
func (c *Client) connection(t *leader.Term, call source.Call) (*connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term != t {
		c.closeAll()
		c.term = t
	}
	if conn := c.conns[call.To.Pool]; conn != nil {
		if conn.to.Revision == call.To.Revision {
			return conn, nil
		}
		conn.close()
		delete(c.conns, call.To.Pool)
	}
	cc, err := dial(call.To)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(t)
	conn := &connection{ClientConn: cc, to: call.To, slots: make(chan struct{}, parallel), end: cancel}
	c.conns[call.To.Pool] = conn
	go c.watch(ctx, conn, call)
	return conn, nil
}

// close ends a connection when the calls that are under way have ended, or after their timeout.
func (c *connection) close() {
	c.end()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.to.Timeout+time.Second)
		defer cancel()
		for range cap(c.slots) {
			select {
			case c.slots <- struct{}{}:
			case <-ctx.Done():
			}
		}
		c.ClientConn.Close() //nolint:errcheck // it is not used any more
	}()
}

// watch tells of changes until ctx ends.
func (c *Client) watch(ctx context.Context, conn *connection, call source.Call) {
	for ctx.Err() == nil {
		known := watch(ctx, conn, call, func() { c.Changed(call.To.Endpoint) })
		pause := watchPause
		if !known {
			c.Log.Info("the IPAM does not know Watch: it is listed each minute", "pool", call.To.Pool, "endpoint", call.To.Endpoint)
			pause = watchUnknown
		}
		wait.Sleep(ctx, pause)
	}
}
