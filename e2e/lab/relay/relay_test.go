package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// listener is a net.Listener in memory.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l listener) Close() error   { close(l.done); return nil }
func (l listener) Addr() net.Addr { return nil }

// start serves a relay in memory until the test ends; it returns a client's and
// the server's end of one connection through it.
func start(t *testing.T, delay func() time.Duration) (client, server net.Conn) {
	t.Helper()
	l := listener{make(chan net.Conn), make(chan struct{})}
	server, far := net.Pipe()
	r := Relay{
		Dial:   func(context.Context) (net.Conn, error) { return far, nil },
		Delay:  delay,
		Failed: func(err error) { t.Log(err) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client, near := net.Pipe()
	l.conns <- near
	return client, server
}

func send(t *testing.T, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, from net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Fatalf("want %q, got %q, %v", want, got, err)
	}
}

func TestDataWaitsInBothDirectionsAsLongAsItIsToldAtTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delay atomic.Int64
		client, server := start(t, func() time.Duration { return time.Duration(delay.Load()) })
		trip := func(from, to net.Conn, want time.Duration) {
			t.Helper()
			begin := time.Now()
			send(t, from, "hello")
			receive(t, to, "hello")
			if took := time.Since(begin); took != want {
				t.Errorf("want it after %s, not %s", want, took)
			}
		}
		trip(client, server, 0)
		delay.Store(int64(300 * time.Millisecond))
		trip(client, server, 300*time.Millisecond)
		trip(server, client, 300*time.Millisecond)
		delay.Store(0)
		trip(server, client, 0)
	})
}

func TestWhatCameWhileItWasSlowIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delay atomic.Int64
		client, server := start(t, func() time.Duration { return time.Duration(delay.Load()) })
		delay.Store(int64(time.Second))
		send(t, client, "slow ")
		synctest.Wait()
		delay.Store(0)
		send(t, client, "fast")
		receive(t, server, "slow fast")
	})
}

func TestDelayIsNoLimitOfSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := start(t, func() time.Duration { return time.Second })
		begin := time.Now()
		for range 100 {
			send(t, client, "many chunks under way at once ")
		}
		receive(t, server, strings.Repeat("many chunks under way at once ", 100))
		if took := time.Since(begin); took != time.Second {
			t.Errorf("want all of it after 1s, not %s", took)
		}
	})
}

func TestASenderWaitsForAReceiverThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := start(t, func() time.Duration { return 0 })
		sent := make(chan error, 1)
		data := bytes.Repeat([]byte("x"), 2*queued*chunkSize)
		go func() {
			_, err := client.Write(data)
			sent <- err
		}()
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("all of it was taken, without a reader: %v", err)
		default:
		}
		if _, err := io.CopyN(io.Discard, server, int64(len(data))); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	})
}

func TestASideThatGoesAwayTakesTheOtherWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := start(t, func() time.Duration { return time.Minute })
		send(t, client, "the last words")
		client.Close()
		receive(t, server, "the last words")
		if n, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("want the end, got %d bytes, %v", n, err)
		}
	})
}

func TestAServerThatIsAwayEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := listener{make(chan net.Conn), make(chan struct{})}
		away := errors.New("no server")
		failed := make(chan error, 1)
		r := Relay{
			Dial:   func(context.Context) (net.Conn, error) { return nil, away },
			Delay:  func() time.Duration { return 0 },
			Failed: func(err error) { failed <- err },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Serve(ctx, l) }()
		client, near := net.Pipe()
		l.conns <- near
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("want the end, got %v", err)
		}
		if err := <-failed; !errors.Is(err, away) {
			t.Errorf("want the dial error, got %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// One side may end its half, as TCP allows, and still hear the answer.
func TestHalfClosedConnectionOverTCP(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := Relay{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", server.Addr().String())
		},
		Delay:  func() time.Duration { return time.Millisecond },
		Failed: func(err error) { t.Error(err) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Serve(ctx, l) }()
	go func() { // it answers once it has heard all
		conn, err := server.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		question, _ := io.ReadAll(conn)
		_, _ = conn.Write(bytes.ToUpper(question))
	}()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send(t, client, "is there a server?")
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(client); err != nil || string(answer) != "IS THERE A SERVER?" {
		t.Errorf("got %q, %v", answer, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
