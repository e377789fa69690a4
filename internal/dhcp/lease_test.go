package dhcp_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/steelyard-lb/steelyard/internal/dhcp"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

func TestALease(t *testing.T) {
	l := newLink(t)
	l.gives(request("u", ""), "192.0.2.10")
	l.asked("DISCOVER", "REQUEST 192.0.2.10")
	l.said("leased 192.0.2.10")
	l.gives(request("u", ""), "192.0.2.10")
	l.asked()

	l.pass(27*time.Minute - time.Second) // half of the time, less a tenth at most
	l.asked()
	l.pass(3 * time.Minute)
	l.asked("REQUEST 192.0.2.10")
	l.pass(10 * time.Hour)
	l.holds("u 192.0.2.10")
	l.said()
	l.servers[0].Log = nil

	l.state.Release(cluster, "u", netip.MustParseAddr("192.0.2.10"), l.now)
	l.settle()
	l.asked("RELEASE")
	l.said("released 192.0.2.10")
	l.holds()
	if left := l.servers[0].Leased(); len(left) > 0 {
		t.Errorf("the server has %v", left)
	}
}

func TestALeaseOfIPv6(t *testing.T) {
	l := newLink(t)
	r := request("u", "")
	r.Family = ipam.IPv6
	l.gives(r, "2001:db8::10")
	l.asked("SOLICIT", "REQUEST 2001:db8::10")
	l.pass(31 * time.Minute)
	l.asked("RENEW 2001:db8::10")

	// A confirmation that is lost is asked for again, and a server that is away soon not any more.
	l.lose = func(m dhcp.Message) bool { return m.Payload[0] == 8 && len(l.sent) < 6 }
	l.state.Release(cluster, "u", netip.MustParseAddr("2001:db8::10"), l.now)
	l.pass(time.Minute)
	l.asked("RELEASE 2001:db8::10")
	l.gives(r, "2001:db8::10")
	l.servers[0].Away, l.servers[0].Log = true, nil
	l.state.Release(cluster, "u", netip.MustParseAddr("2001:db8::10"), l.now)
	l.pass(time.Hour)
	l.asked("RELEASE 2001:db8::10", "RELEASE 2001:db8::10", "RELEASE 2001:db8::10", "RELEASE 2001:db8::10", "RELEASE 2001:db8::10")
	l.servers[0].Away, l.servers[0].Ranges = false, nil
	l.refuses(r, "no address is free: the DHCPv6 server fe80::1 says: NoAddrsAvail")
}

// The program has no memory, and servers know a Service again: the same program, or another one.
func TestAnotherMachineGoesOn(t *testing.T) {
	l := newLink(t)
	l.gives(request("u", "192.0.2.11"), "192.0.2.11")
	l.gives(request("v", ""), "192.0.2.10")
	l.restart()
	l.servers[0].Log = nil
	l.gives(request("v", "192.0.2.10"), "192.0.2.10")
	l.asked("DISCOVER 192.0.2.10", "REQUEST 192.0.2.10")
	l.gives(request("u", ""), "192.0.2.11")
	l.servers[0].Forget() // now it does not even know them
	l.restart()
	l.gives(request("u", "192.0.2.11"), "192.0.2.11")
}

// Who does not watch does not lead: what it has leased is renewed by another, or by none.
func TestWithoutAControllerNothingIsRenewed(t *testing.T) {
	l := newLink(t)
	l.gives(request("u", ""), "192.0.2.10")
	l.state.Unwatch(cluster)
	l.servers[0].Log = nil
	l.pass(50 * time.Minute)
	l.asked()
	l.state.Watch(cluster)
	l.pass(time.Minute)
	l.asked("REQUEST 192.0.2.10")
	l.state.Unwatch(cluster)
	l.pass(time.Hour)
	l.asked()
	l.holds()
	l.said("leased 192.0.2.10", "lost 192.0.2.10 no server has renewed it in time")
}

func TestAServerThatIsAway(t *testing.T) {
	for family, want := range map[ipam.Family]string{ipam.IPv4: "192.0.2.10", ipam.IPv6: "2001:db8::10"} {
		l := newLink(t)
		r := request("u", want)
		l.gives(r, want)
		l.servers[0].Away, l.servers[0].Log = true, nil
		l.pass(50 * time.Minute)
		l.holds("u " + want)
		l.servers[0].Away = false
		l.pass(9 * time.Minute)
		l.holds("u " + want)
		if most := 14; len(l.servers[0].Log) > most {
			t.Errorf("it is asked %d times: %q", len(l.servers[0].Log), l.servers[0].Log)
		}
		l.servers[0].Away = true
		l.said("leased " + want)
		l.pass(61 * time.Minute)
		l.said("lost " + want + " no server has renewed it in time")
		l.holds()
		name := map[ipam.Family]string{ipam.IPv4: "DHCPv4", ipam.IPv6: "DHCPv6"}[family]
		l.refuses(r, "no "+name+" server has offered an address on eth0 yet")
		l.servers[0].Log = nil
		l.pass(24 * time.Hour) // no call asks any more
		if len(l.servers[0].Log) > 3 {
			t.Errorf("it is asked on and on: %d times", len(l.servers[0].Log))
		}
		l.servers[0].Away = false
		l.gives(r, want)
	}
}

// A server that has other addresses now ends a lease; the program says what it offers in its place.
func TestALeaseIsLost(t *testing.T) {
	for _, want := range []string{"192.0.2.10", "2001:db8::10"} {
		l := newLink(t)
		r := request("u", want)
		l.gives(r, want)
		l.servers[0].Ranges = map[string][]ipam.Range{dhcp.UserClass("lan"): {ipam.RangeOf(netip.MustParsePrefix("192.0.2.64/32")), ipam.RangeOf(netip.MustParsePrefix("2001:db8::64/128"))}}
		l.pass(time.Hour)
		l.holds()
		if want == "192.0.2.10" {
			l.said("leased "+want, "lost "+want+" the DHCPv4 server 192.0.2.1 says: not yours")
			l.refuses(r, "the address is another's: the DHCPv4 server 192.0.2.1 offers 192.0.2.64, and not 192.0.2.10")
		} else {
			l.said("leased "+want, "lost "+want+" the DHCPv6 server fe80::1 says: NoBinding")
			l.refuses(r, "the address is another's: the DHCPv6 server fe80::1 offers 2001:db8::64, and not 2001:db8::10")
		}
		l.pass(time.Hour) // what was offered was not asked for
		if left := l.servers[0].Leased(); len(left) > 0 {
			t.Errorf("the server has %v", left)
		}
	}
}

// Another server of the link hears what is asked of all. What it says counts when the first is silent.
func TestTwoServers(t *testing.T) {
	l := newLink(t)
	l.gives(request("u", ""), "192.0.2.10")
	other := l.serve("192.0.2.2")
	other.Ranges = nil
	l.pass(10 * time.Hour)
	l.holds("u 192.0.2.10")
	l.said("leased 192.0.2.10")
	l.servers[0].Away = true
	l.pass(10 * time.Hour)
	l.said("lost 192.0.2.10 the DHCPv4 server 192.0.2.2 says: not yours")

	// Whichever offers what a Service has is taken.
	l.servers[0].Away = false
	other.Ranges = map[string][]ipam.Range{dhcp.UserClass("lan"): {ipam.RangeOf(netip.MustParsePrefix("192.0.2.64/32"))}}
	l.servers[0], l.servers[1] = l.servers[1], l.servers[0]
	l.gives(request("u", "192.0.2.10"), "192.0.2.10")
	l.pass(2 * time.Second) // then the other one does not wait for an answer any more
	l.gives(request("v", ""), "192.0.2.64")
}

// A Service that is created again goes on with what it had, without a message: only its UID is new.
func TestAServiceIsCreatedAgain(t *testing.T) {
	l := newLink(t)
	again := func(uid, addr string) ledger.Request {
		r := request(uid, addr)
		r.Name = "web"
		return r
	}
	l.gives(again("old", ""), "192.0.2.10")
	l.servers[0].Log = nil
	l.gives(again("new", "192.0.2.10"), "192.0.2.10")
	l.asked()
	l.holds("new 192.0.2.10")
	l.state.Release(cluster, "old", netip.MustParseAddr("192.0.2.10"), l.now)
	l.holds("new 192.0.2.10")
	l.gives(again("next", "192.0.2.12"), "192.0.2.12")
	l.asked("RELEASE", "DISCOVER 192.0.2.12", "REQUEST 192.0.2.12")
	l.holds("next 192.0.2.12")

	// Its controller, and this program, were away meanwhile.
	l.restart()
	l.gives(again("last", "192.0.2.12"), "192.0.2.12")
}

// What is lost is sent again, with pauses that grow (RFC 2131 section 4.1).
func TestMessagesAreRepeated(t *testing.T) {
	l := newLink(t)
	l.lose = func(m dhcp.Message) bool { return len(l.sent)%3 != 0 }
	l.gives(request("u", ""), "192.0.2.10")
	l.asked("DISCOVER", "REQUEST 192.0.2.10")
	l.lose = func(dhcp.Message) bool { return true }
	from := len(l.sent)
	r := request("v", "")
	for begun := l.now; l.now.Sub(begun) < 3*time.Minute; l.pass(10 * time.Second) {
		if _, err := l.state.Allocate(r, l.now); err == nil {
			t.Fatal("it has an address, and nothing was answered")
		}
	}
	if n := len(l.sent) - from; n < 4 || n > 7 {
		t.Errorf("%d messages in three minutes", n)
	}
}

// What answers nothing that was asked counts for nothing, and what no host can have is refused.
func TestHostileServers(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*link, *dhcpv4.DHCPv4)
		text   string
	}{
		"another exchange":   {func(_ *link, m *dhcpv4.DHCPv4) { m.TransactionID[0]++ }, ""},
		"another client":     {func(_ *link, m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptClientIdentifier([]byte("me"))) }, ""},
		"another's hardware": {func(_ *link, m *dhcpv4.DHCPv4) { m.ClientHWAddr[5]++ }, ""},
		"a request":          {func(_ *link, m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootRequest }, ""},
		"no server":          {func(_ *link, m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionServerIdentifier) }, ""},
		"a confirmation":     {func(_ *link, m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck)) }, ""},
		"no address":         {func(_ *link, m *dhcpv4.DHCPv4) { m.YourIPAddr = nil }, "offers 0.0.0.0, which no host can have"},
		"a group":            {func(_ *link, m *dhcpv4.DHCPv4) { m.YourIPAddr = []byte{224, 0, 0, 1} }, "offers 224.0.0.1, which no host can have"},
		"loopback":           {func(_ *link, m *dhcpv4.DHCPv4) { m.YourIPAddr = []byte{127, 0, 0, 1} }, "offers 127.0.0.1, which no host can have"},
		"all hosts":          {func(_ *link, m *dhcpv4.DHCPv4) { m.YourIPAddr = []byte{255, 255, 255, 255} }, "offers 255.255.255.255, which no host can have"},
		"this machine's own": {func(l *link, _ *dhcpv4.DHCPv4) { l.own = netip.MustParseAddr("192.0.2.10") }, "offers 192.0.2.10, which this machine itself has"},
		"another Service's":  {func(_ *link, m *dhcpv4.DHCPv4) { m.YourIPAddr = []byte{192, 0, 2, 12} }, "offers 192.0.2.12, which Service n/of-x has: it does not tell clients apart"},
		"for no time":        {func(_ *link, m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionIPAddressLeaseTime) }, "offers 192.0.2.10, for 0s only; at least 10s is needed"},
		"for a second":       {func(_ *link, m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptIPAddressLeaseTime(time.Second)) }, "offers 192.0.2.10, for 1s only; at least 10s is needed"},
		"nothing is unusual": {func(*link, *dhcpv4.DHCPv4) {}, "-"},
		"renewals before now": {func(_ *link, m *dhcpv4.DHCPv4) {
			m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 0}))
		}, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLink(t)
			l.gives(request("x", "192.0.2.12"), "192.0.2.12")
			honest := l.servers[0]
			l.servers = nil
			l.lose = func(m dhcp.Message) bool {
				for _, r := range honest.Answer(m) {
					p, err := dhcpv4.FromBytes(r.Payload)
					if err != nil {
						t.Fatal(err)
					}
					if p.MessageType() == dhcpv4.MessageTypeOffer {
						x.change(l, p)
					}
					r.Payload = p.ToBytes()
					l.state.Receive(r, l.now)
				}
				return true
			}
			a, err := l.asks(request("u", ""))
			var pending *dhcp.PendingError
			switch {
			case x.text == "-" && err == nil:
			case x.text == "" && errors.As(err, &pending):
			case x.text != "" && errors.Is(err, ledger.ErrTaken) && err.Error() == "the address is another's: the DHCPv4 server 192.0.2.1 "+x.text:
			default:
				t.Errorf("it gets %s, %v; want %q", a.Addr, err, x.text)
			}
		})
	}
}

// A lease that never ends is not renewed.
func TestALeaseForGood(t *testing.T) {
	l := newLink(t)
	l.servers[0].Lease = (1<<32 - 1) * time.Second
	l.gives(request("u", ""), "192.0.2.10")
	l.servers[0].Log = nil
	l.pass(1000 * time.Hour)
	l.asked()
	l.holds("u 192.0.2.10")
}

// What a server says is shown, and can't do harm there.
func TestWhatAServerSaysIsEscaped(t *testing.T) {
	l := newLink(t)
	l.gives(request("u", ""), "192.0.2.10")
	honest := l.servers[0]
	l.servers, honest.Ranges = nil, nil
	l.lose = func(m dhcp.Message) bool {
		for _, r := range honest.Answer(m) {
			p, err := dhcpv4.FromBytes(r.Payload)
			if err != nil {
				t.Fatal(err)
			}
			p.UpdateOption(dhcpv4.OptMessage("no\n\x1b[2J"))
			r.Payload = p.ToBytes()
			l.state.Receive(r, l.now)
		}
		return true
	}
	l.pass(time.Hour)
	l.said("leased 192.0.2.10", `lost 192.0.2.10 the DHCPv4 server 192.0.2.1 says: no\n\x1b[2J`)
}

func FuzzReceive(f *testing.F) {
	l := newLink(&testing.T{})
	for _, r := range []ledger.Request{request("u", ""), request("u", "2001:db8::10")} {
		if _, err := l.asks(r); err != nil {
			f.Fatal(err)
		}
	}
	for _, m := range l.sent {
		f.Add(m.Payload, m.Family == ipam.IPv6)
	}
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		l := newLink(t)
		family := map[bool]ipam.Family{false: ipam.IPv4, true: ipam.IPv6}[six]
		l.servers = nil
		r := request("u", "")
		r.Family = family
		_, _ = l.state.Allocate(r, l.now)
		l.settle()
		l.state.Receive(dhcp.Message{Link: "eth0", Family: family, Payload: b}, l.now)
		l.pass(time.Minute)
	})
}

// An address that was offered, and that another client has asked for first, costs nothing but a moment.
func TestAnotherClientIsFaster(t *testing.T) {
	for _, want := range []string{"", "192.0.2.10"} {
		l := newLink(t)
		l.lose = func(dhcp.Message) bool {
			if len(l.sent) == 2 { // between offer and request
				ranges := l.servers[0].Ranges[dhcp.UserClass("lan")]
				ranges[0].First = netip.MustParseAddr("192.0.2.11")
			}
			return false
		}
		if want == "" {
			l.gives(request("u", want), "192.0.2.11")
		} else {
			l.refuses(request("u", want), "the address is another's: the DHCPv4 server 192.0.2.1 refuses 192.0.2.10: not yours")
		}
	}
}
