package adapter

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// A change that comes while the last one is passed on is not lost.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Changes
		ctx, cancel := context.WithCancel(t.Context())
		heard, done := make(chan struct{}), make(chan error)
		go func() {
			done <- c.Follow(ctx, func() error {
				heard <- struct{}{}
				return nil
			})
		}()
		synctest.Wait()
		c.Notify()
		synctest.Wait() // it is passed on, and not taken yet
		c.Notify()
		c.Notify()
		<-heard
		<-heard
		synctest.Wait()
		select {
		case <-heard:
			t.Error("two changes that came meanwhile are passed on as two")
		default:
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestFollowEndsWithAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Changes
		broken, done := errors.New("broken"), make(chan error)
		go func() { done <- c.Follow(t.Context(), func() error { return broken }) }()
		synctest.Wait()
		c.Notify()
		if err := <-done; !errors.Is(err, broken) {
			t.Errorf("it ends with %v", err)
		}
	})
}
