package adapter

import (
	"context"
	"sync"
)

// Changes wakes all who wait for the next change. The zero Changes is ready for use.
type Changes struct {
	mu   sync.Mutex
	next chan struct{} // closed with the next change; nil: none waits
}

// Next returns a channel that is closed with the next change.
func (c *Changes) Next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.next
}

// Notify wakes those who wait.
func (c *Changes) Notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// Follow calls changed after each change, until ctx ends or changed fails. Changes that come
// while changed runs are one.
func (c *Changes) Follow(ctx context.Context, changed func() error) error {
	for next := c.Next(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		}
		next = c.Next()
		if err := changed(); err != nil {
			return err
		}
	}
}
