package bgp

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// unusualRouter is a router in this process that does one odd thing with each connection.
func unusualRouter(t *testing.T, with func(*net.TCPConn) error) announce.Peer {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.AcceptTCP()
			if err != nil {
				return
			}
			err = errors.Join(conn.SetDeadline(time.Now().Add(10*time.Second)), with(conn), conn.Close())
			var closed *net.OpError // by the other side, which was done with it
			if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &closed) {
				t.Errorf("the odd router: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	p := peer("p", "127.0.0.1")
	p.Port = l.Addr().(*net.TCPAddr).AddrPort().Port()
	return p
}

func send(conn io.Writer, messages ...*packet.BGPMessage) error {
	for _, m := range messages {
		b, err := m.Serialize()
		if err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func open(holdTime uint16, caps ...packet.ParameterCapabilityInterface) *packet.BGPMessage {
	caps = append(caps, packet.NewCapFourOctetASNumber(64601))
	m, err := packet.NewBGPOpenMessage(64601, holdTime, netip.MustParseAddr("10.9.9.9"),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability(caps)})
	if err != nil {
		panic(err) // that is an IPv4 address
	}
	return m
}

// receive reads one message and returns its type.
func receive(conn io.Reader) (uint8, error) {
	head := make([]byte, packet.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(conn, head); err != nil {
		return 0, err
	}
	h := &packet.BGPHeader{}
	if err := h.DecodeFromBytes(head); err != nil {
		return 0, err
	}
	_, err := io.CopyN(io.Discard, conn, int64(h.Len)-packet.BGP_HEADER_LENGTH)
	return h.Type, err
}

// until reads messages up to the first of a type.
func until(conn io.Reader, kind uint8) error {
	for {
		if got, err := receive(conn); err != nil || got == kind {
			return err
		}
	}
}

func TestOddRoutersAreNamedInPlainWords(t *testing.T) {
	four := packet.NewCapMultiProtocol(packet.RF_IPv4_UC)
	cease := func(code, subcode uint8, text string) *packet.BGPMessage {
		data := append([]byte{byte(len(text))}, text...)
		return packet.NewBGPNotificationMessage(code, subcode, data)
	}
	up := func(conn *net.TCPConn, then ...*packet.BGPMessage) error {
		if err := send(conn, open(9, four), packet.NewBGPKeepAliveMessage()); err != nil {
			return err
		}
		if err := until(conn, packet.BGP_MSG_UPDATE); err != nil {
			return err
		}
		return send(conn, then...)
	}
	for _, c := range []struct {
		name  string
		with  func(*net.TCPConn) error
		words []string
	}{
		{"a hold time below the minimum (RFC 4271 6.2)", func(conn *net.TCPConn) error {
			return errors.Join(send(conn, open(1, four)), until(conn, packet.BGP_MSG_NOTIFICATION))
		}, []string{"unacceptable hold time"}},
		{"a hold time of none", func(conn *net.TCPConn) error {
			return errors.Join(send(conn, open(0, four), packet.NewBGPKeepAliveMessage()), until(conn, 0))
		}, []string{"hold time of 0"}},
		{"a capability it can't do without (RFC 5492 5)", func(conn *net.TCPConn) error {
			return errors.Join(until(conn, packet.BGP_MSG_OPEN), send(conn, packet.NewBGPNotificationMessage(2, 7, nil)))
		}, []string{"unsupported capability"}},
		{"no family of ours", func(conn *net.TCPConn) error {
			vpn := packet.NewCapMultiProtocol(packet.RF_IPv4_VPN)
			return errors.Join(send(conn, open(9, vpn), packet.NewBGPKeepAliveMessage()), until(conn, 0))
		}, []string{"does not take IPv4 routes"}},
		{"a shutdown with words (RFC 9003)", func(conn *net.TCPConn) error {
			return up(conn, cease(6, 2, "back at 8"))
		}, []string{"administrative shutdown", "back at 8"}},
		{"a goodbye with a subcode (RFC 4486)", func(conn *net.TCPConn) error {
			return up(conn, cease(6, 3, ""))
		}, []string{"peer deconfigured"}},
		{"a BFD session of its own that went down (RFC 9384)", func(conn *net.TCPConn) error {
			return up(conn, cease(6, 10, ""))
		}, []string{"BFD down"}},
		{"nonsense", func(conn *net.TCPConn) error {
			if err := up(conn); err != nil {
				return err
			}
			_, err := conn.Write(make([]byte, 40))
			return errors.Join(err, until(conn, packet.BGP_MSG_NOTIFICATION))
		}, []string{"connection not synchronized"}},
		{"a hang-up", func(conn *net.TCPConn) error { return up(conn) }, []string{"without a NOTIFICATION"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := unusualRouter(t, c.with)
			s, _ := startSessions(t)
			s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
			fails(t, s, "p", c.words...)
		})
	}
}

func TestARouterThatNeverReadsDelaysNoOther(t *testing.T) {
	silent := unusualRouter(t, func(conn *net.TCPConn) error {
		if err := conn.SetReadBuffer(1); err != nil {
			return err
		}
		if err := send(conn, open(9, packet.NewCapMultiProtocol(packet.RF_IPv4_UC)), packet.NewBGPKeepAliveMessage()); err != nil {
			return err
		}
		<-t.Context().Done()
		return nil
	})
	kind := unusualRouter(t, func(conn *net.TCPConn) error {
		err := send(conn, open(9, packet.NewCapMultiProtocol(packet.RF_IPv4_UC)), packet.NewBGPKeepAliveMessage())
		return errors.Join(err, until(conn, 0))
	})
	kind.Name = "kind"
	var manyRoutes []announce.Route
	for i := range 50_000 {
		a := netip.AddrFrom4([4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)})
		manyRoutes = append(manyRoutes, announce.Route{Prefix: netip.PrefixFrom(a, 32), Communities: []uint32{uint32(i)}})
	}
	s, _ := startSessions(t)
	s.Set([]announce.Peering{{Peer: silent, Routes: manyRoutes}, {Peer: kind, Routes: routes("198.51.100.1/32")}})
	if got := establish(t, s, "kind"); got.Advertised != 1 {
		t.Errorf("%+v", got)
	}
	s.Set(nil)
	eventually(t, "all are let go", func() error {
		if got := s.States(); len(got) > 0 {
			return errors.New("still there")
		}
		return nil
	})
}
