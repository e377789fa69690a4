package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// slot is the time that one character of the picture stands for.
const slot = 100 * time.Millisecond

// probe opens a connection to an address again and again, from a host, and
// draws when that worked.
func probe(ctx context.Context, l *line) error {
	length := l.flags.Duration("for", 10*time.Second, "")
	every := l.flags.Duration("every", 10*time.Millisecond, "")
	timeout := l.flags.Duration("timeout", 250*time.Millisecond, "")
	words, _, err := l.words("HOST", "ADDRESS:PORT")
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddrPort(words[1]); err != nil {
		return fmt.Errorf("%q: want ADDRESS:PORT such as 192.0.2.100:80 or [2001:db8:2::100]:80", words[1])
	}
	return l.becomeOn(ctx, words[0], "dial", "--for", length.String(), "--every", every.String(), "--timeout", timeout.String(), words[1])
}

// becomeOn replaces this process by another command of this program, on a host of the rack.
func (l *line) becomeOn(ctx context.Context, host string, args ...string) error {
	r, err := lab.Open(*l.name)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return become(r.Command(ctx, host, append([]string{self}, args...)...))
}

// dial is the part of probe that runs on the host.
func dial(ctx context.Context, l *line) error {
	length := l.flags.Duration("for", 0, "")
	every := l.flags.Duration("every", 0, "")
	timeout := l.flags.Duration("timeout", 0, "")
	words, _, err := l.words("ADDRESS:PORT")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *length)
	defer cancel()
	record := newRecord()
	var wg sync.WaitGroup
	picture := time.NewTicker(slot)
	defer picture.Stop()
	next := time.NewTicker(*every)
	defer next.Stop()
	fmt.Printf("each sign is %s of connections to %s: █ answered, · none\n", slot, words[0])
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-next.C:
			// The next attempt doesn't wait for this one: an address that is silent
			// must not slow the clock.
			wg.Go(func() { record.attempt(ctx, words[0], *timeout) })
		case <-picture.C:
			fmt.Print(record.sign())
		}
	}
	wg.Wait()
	fmt.Printf("\n%s\n", record.summary())
	return nil
}

// record is what came of the attempts.
type record struct {
	mu             sync.Mutex
	good, failed   int
	goodInSlot     bool
	last           time.Time // of the last success, or the start
	longest        time.Duration
	longestStarted time.Duration // since the start
	start          time.Time
	firstFailure   string
}

func newRecord() *record {
	now := time.Now()
	return &record{last: now, start: now}
}

func (r *record) attempt(ctx context.Context, addr string, timeout time.Duration) {
	began := time.Now()
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if errors.Is(err, syscall.EHOSTUNREACH) && time.Since(began) < time.Second {
		// A host needs three seconds to find that no host answers for an address:
		// here its cache was flushed while it asked.
		conn, err = d.DialContext(ctx, "tcp", addr)
	}
	if err == nil {
		conn.Close()
	} else if end, _ := ctx.Deadline(); ctx.Err() != nil || !time.Now().Before(end) {
		return // the time is over: this says nothing of the address
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.failed++; r.firstFailure == "" {
			r.firstFailure = fmt.Sprintf("at %.1fs, %v", began.Sub(r.start).Seconds(), err)
		}
		return
	}
	r.good++
	r.goodInSlot = true
	r.pause(time.Now())
}

// pause ends the pause between the last success and now.
func (r *record) pause(now time.Time) {
	if gap := now.Sub(r.last); gap > r.longest {
		r.longest, r.longestStarted = gap, r.last.Sub(r.start)
	}
	r.last = now
}

func (r *record) sign() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	good := r.goodInSlot
	r.goodInSlot = false
	if good {
		return "█"
	}
	return "·"
}

func (r *record) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pause(time.Now())
	var b strings.Builder
	fmt.Fprintf(&b, "%d connections answered, %d not; longest time without any: %.2fs", r.good, r.failed, r.longest.Seconds())
	if r.longest > slot {
		fmt.Fprintf(&b, " (from %.1fs on)", r.longestStarted.Seconds())
	}
	if r.failed > 0 {
		fmt.Fprintf(&b, "; the first not: %s", r.firstFailure)
	}
	return b.String()
}
