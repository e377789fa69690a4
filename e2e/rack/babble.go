package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// babble listens as a hostile BGP router on a host: it sends nonsense to each client, in
// each state of a session.
func babble(ctx context.Context, l *line) error {
	length := l.flags.Duration("for", 10*time.Second, "")
	malformed := l.flags.Bool("malformed", false, "")
	words, addresses, err := l.words("HOST")
	if err != nil {
		return err
	}
	return l.becomeOn(ctx, words[0], append([]string{"babbler", "--for", length.String(), "--malformed=" + strconv.FormatBool(*malformed), "--"}, addresses...)...)
}

// babbler is the part of babble that runs on the host.
func babbler(ctx context.Context, l *line) error {
	length := l.flags.Duration("for", 0, "")
	malformed := l.flags.Bool("malformed", false, "")
	_, addresses, err := l.words()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *length)
	defer cancel()
	speak := nonsense
	if *malformed {
		speak = transit
	}
	var met, sent atomic.Int64
	var wg sync.WaitGroup
	for _, a := range addresses {
		if _, err := netip.ParseAddrPort(a); err != nil {
			return fmt.Errorf("%q: want ADDRESS:PORT such as 192.0.2.1:1790", a)
		}
		listener, err := net.Listen("tcp", a)
		if err != nil {
			return fmt.Errorf("listen as a router: %w", err)
		}
		defer context.AfterFunc(ctx, func() { listener.Close() })()
		wg.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return // closed: the time is over
				}
				n := met.Add(1)
				wg.Go(func() { sent.Add(speak(ctx, conn, int(n))) })
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d connections, %d bytes of nonsense\n", met.Load(), sent.Load())
	return nil
}

// message is a BGP message (RFC 4271 section 4.1).
func message(kind byte, body ...byte) []byte {
	n := 19 + len(body)
	return append(append(bytes.Repeat([]byte{0xff}, 16), byte(n>>8), byte(n), kind), body...)
}

// nonsense sends it over one connection for a while, and returns how many bytes.
func nonsense(ctx context.Context, conn net.Conn, n int) (sent int64) {
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }() // it says nothing of interest
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return 0
	}
	// AS 64601, both families, extended next hops, graceful restart, AS numbers of 4 bytes.
	open := message(1, append([]byte{4, 0xfc, 0x59, 0, 90, 192, 0, 2, 99, 36, 2, 34},
		1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 5, 6, 0, 1, 0, 1, 0, 2, 64, 6, 0, 120, 0, 1, 1, 0x80, 65, 4, 0, 0, 0xfc, 0x59)...)
	sid := message(2, 0, 0, 0, 21, 0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 9, 0, 1, 0xc0, 40, 4, 0, 0x10, 0, 0, 32, 198, 51, 100, 9)
	up := append(bytes.Clone(open), message(4)...)
	begin := [][]byte{message(9), mutated(open), append(bytes.Clone(open), mutated(sid)...), mutated(up), up, up, up}[n%7]
	write := func(b []byte) bool {
		m, err := conn.Write(b)
		sent += int64(m)
		return err == nil && ctx.Err() == nil
	}
	more := write(begin)
	for more && n%7 >= 4 { // in state Established: whole UPDATEs, refreshes, then anything
		flood := bytes.Repeat(append(bytes.Clone(sid), message(5, 0, 1, 0, 1)...), 200)
		if more = write(flood); more && rand.N(100) == 0 {
			more = write(mutated(flood))
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return sent
	}
	time.Sleep(rand.N(100 * time.Millisecond)) // what was sent is read before the connection ends
	return sent
}

// transit holds a session as a router of AS 64999, and announces routes with malformed
// prefix SIDs (attribute 40, RFC 8669): who does not know that attribute passes it on.
func transit(ctx context.Context, conn net.Conn, _ int) (sent int64) {
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }() // it says nothing of interest
	const asn0, asn1 = 64999 >> 8, 64999 & 0xff
	begin := append(message(1, 4, asn0, asn1, 0, 90, 198, 51, 100, 99, 14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, asn0, asn1), message(4)...)
	here, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return 0
	}
	for i, value := range [][]byte{{0xff}, {0}, {0, 0x10, 0, 0}, {1, 0, 0}, {1, 0xff, 0xff, 0}, {5, 0, 1}, {5, 0, 4, 0, 1, 0xff, 0xff}, bytes.Repeat([]byte{3, 0, 1}, 20)} {
		attributes := []byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, asn0, asn1, 0x40, 3, 4}
		attributes = append(attributes, here.Addr().AsSlice()...)
		attributes = append(append(attributes, 0xc0, 40, byte(len(value))), value...)
		begin = append(begin, message(2, slices.Concat([]byte{0, 0, 0, byte(len(attributes))}, attributes, []byte{32, 100, 64, 0, byte(i)})...)...)
	}
	for write := begin; ctx.Err() == nil; write = message(4) {
		n, err := conn.Write(write)
		if sent += int64(n); err != nil {
			return sent
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return sent
}

// mutated is b with a few bytes changed.
func mutated(b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + rand.N(4) {
		b[rand.N(len(b))] = byte(rand.Uint32())
	}
	return b
}
