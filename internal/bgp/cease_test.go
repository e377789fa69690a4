package bgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// goodbye reads up to the first NOTIFICATION, and what comes after it: io.EOF is right.
func goodbye(conn io.Reader) (body []byte, err error) {
	for {
		head := make([]byte, packet.BGP_HEADER_LENGTH)
		if _, err := io.ReadFull(conn, head); err != nil {
			return nil, err
		}
		h := &packet.BGPHeader{}
		if err := h.DecodeFromBytes(head); err != nil {
			return nil, err
		}
		body := make([]byte, int(h.Len)-packet.BGP_HEADER_LENGTH)
		if _, err := io.ReadFull(conn, body); err != nil {
			return nil, err
		}
		if h.Type == packet.BGP_MSG_NOTIFICATION {
			_, err := conn.Read(make([]byte, 1))
			return body, err
		}
	}
}

// What a router hears when a session ends by our own doing (RFC 4486, RFC 9003).
func TestTheRouterHearsWhy(t *testing.T) {
	for _, c := range []struct {
		name string
		ends func(s *Sessions, stop func(), p announce.Peer)
		want []byte
	}{
		{"the peer goes", func(s *Sessions, _ func(), _ announce.Peer) { s.Set(nil) }, []byte{6, 3}},
		{"the peer changes", func(s *Sessions, _ func(), p announce.Peer) {
			p.RouterID = netip.MustParseAddr("10.9.9.9")
			s.Set([]announce.Peering{{Peer: p}})
		}, []byte{6, 6}},
		{"the speaker ends", func(_ *Sessions, stop func(), _ announce.Peer) { stop() }, append([]byte{6, 2, 24}, "Steelyard's speaker ends"...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := make(chan string, 9)
			p := unusualRouter(t, func(conn *net.TCPConn) error {
				if err := send(conn, open(9, packet.NewCapMultiProtocol(packet.RF_IPv4_UC)), packet.NewBGPKeepAliveMessage()); err != nil {
					return err
				}
				body, err := goodbye(conn)
				heard <- fmt.Sprintf("%v, %v", body, err)
				return nil
			})
			s, stop := startSessions(t)
			s.Set([]announce.Peering{{Peer: p}})
			establish(t, s, "p")
			c.ends(s, stop, p)
			if got, want := <-heard, fmt.Sprintf("%v, %v", c.want, io.EOF); got != want {
				t.Errorf("the router heard %s, want %s", got, want)
			}
		})
	}
}

// A router that is in the middle of telling much hears the goodbye: a connection that is
// closed with something unread would be reset, and what the router writes would fail
// before it reads why.
func TestTheGoodbyeIsNotLostInAFlood(t *testing.T) {
	update := append(bytes.Repeat([]byte{0xff}, 16), 0x10, 0, 2) // of 4,096 bytes
	update = append(update, make([]byte, 4096-len(update))...)
	begun, heard := make(chan struct{}, 9), make(chan string, 9)
	p := unusualRouter(t, func(conn *net.TCPConn) error {
		if err := send(conn, open(9, packet.NewCapMultiProtocol(packet.RF_IPv4_UC)), packet.NewBGPKeepAliveMessage()); err != nil {
			return err
		}
		if err := until(conn, packet.BGP_MSG_KEEPALIVE); err != nil {
			return err
		}
		for i := range 10_000 { // 40 MB, of which a part is on its way at each moment
			if i == 5_000 {
				begun <- struct{}{}
			}
			if _, err := conn.Write(update); errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
				heard <- fmt.Sprintf("after %d UPDATEs: %v", i, err)
				return nil
			} else if err != nil {
				return err
			}
		}
		body, err := goodbye(conn)
		heard <- fmt.Sprintf("%v, %v", body, err)
		return nil
	})
	s, _ := startSessions(t)
	s.Set([]announce.Peering{{Peer: p}})
	<-begun
	s.Set(nil)
	if got, want := <-heard, fmt.Sprintf("%v, %v", []byte{6, 3}, io.EOF); got != want {
		t.Errorf("the router heard %s, want %s", got, want)
	}
}

// A router that sends nothing, and never closes its side, delays the end only briefly.
func TestTheGoodbyeEnds(t *testing.T) {
	p := unusualRouter(t, func(conn *net.TCPConn) error {
		err := send(conn, open(9, packet.NewCapMultiProtocol(packet.RF_IPv4_UC)), packet.NewBGPKeepAliveMessage())
		if err == nil {
			_, err = goodbye(conn)
		}
		<-t.Context().Done()
		return err
	})
	s, stop := startSessions(t)
	s.Set([]announce.Peering{{Peer: p}})
	establish(t, s, "p")
	begun := time.Now()
	stop()
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

// A router that has had enough says so, and closes, while much of ours is on its way:
// what it said counts, not that the connection broke.
func TestTheRoutersGoodbyeIsHeardInOurFlood(t *testing.T) {
	var manyRoutes []announce.Route
	for i := range 50_000 {
		a := netip.AddrFrom4([4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)})
		manyRoutes = append(manyRoutes, announce.Route{Prefix: netip.PrefixFrom(a, 32), Communities: []uint32{uint32(i)}})
	}
	p := unusualRouter(t, func(conn *net.TCPConn) error {
		if err := send(conn, open(9, packet.NewCapMultiProtocol(packet.RF_IPv4_UC)), packet.NewBGPKeepAliveMessage()); err != nil {
			return err
		}
		if err := until(conn, packet.BGP_MSG_UPDATE); err != nil {
			return err
		}
		return send(conn, packet.NewBGPNotificationMessage(6, 1, []byte{0, 1, 1, 0, 0, 0x27, 0x10}))
	})
	s, _ := startSessions(t)
	s.Set([]announce.Peering{{Peer: p, Routes: manyRoutes}})
	eventually(t, "an error", func() error {
		if state(s, "p").LastError == "" {
			return errors.New("none")
		}
		return nil
	})
	if st := state(s, "p"); !strings.Contains(st.LastError, `"maximum number of prefixes reached": 10000 of IPv4`) || st.Failure != Failure("PrefixLimit") {
		t.Errorf("%s: %s", st.Failure, st.LastError)
	}
}
