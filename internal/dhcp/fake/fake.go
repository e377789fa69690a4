// Package fake is a DHCP server for tests, of DHCPv4 and of IA_NA of DHCPv6. It does no I/O and
// reads no clock: it is given messages, and returns those that it answers.
package fake

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/steelyard-lb/steelyard/internal/dhcp"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Server is a server. Its fields may be changed at any time.
type Server struct {
	ID     netip.Addr              // IPv4
	Ranges map[string][]ipam.Range // by user class
	Lease  time.Duration
	T1, T2 time.Duration // 0: it says nothing of them
	Away   bool          // it answers nothing
	Now    func() time.Time

	leases map[netip.Addr]lease
	offers map[netip.Addr]lease // for a moment no other client is offered the same
	Log    []string             // what was asked, as "REQUEST 192.0.2.10"
}

// lease is whom an address is leased to.
type lease struct {
	client string
	until  time.Time
}

// Forget has the server lose its leases.
func (s *Server) Forget() { s.leases = nil }

// Leased returns the addresses that are leased, in order.
func (s *Server) Leased() (out []netip.Addr) {
	for a, l := range s.leases {
		if s.Now().Before(l.until) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// Answer returns the answers to a message.
func (s *Server) Answer(m dhcp.Message) []dhcp.Message {
	var answer []byte
	if m.Family == ipam.IPv6 {
		answer = s.answer6(m.Payload)
	} else {
		answer = s.answer4(m.Payload)
	}
	if answer == nil || s.Away {
		return nil
	}
	from := s.ID
	if m.Family == ipam.IPv6 {
		from = netip.MustParseAddr("fe80::1")
	}
	return []dhcp.Message{{Link: m.Link, Family: m.Family, From: from, Payload: answer}}
}

func (s *Server) note(kind string, a netip.Addr) {
	if a.IsValid() {
		kind += " " + a.String()
	}
	s.Log = append(s.Log, kind)
}

// may reports whether a client may have an address.
func (s *Server) may(client, class string, a netip.Addr, f ipam.Family) bool {
	for _, in := range []map[netip.Addr]lease{s.leases, s.offers} {
		if l, is := in[a]; is && l.client != client && s.Now().Before(l.until) {
			return false
		}
	}
	return ipam.FamilyOf(a) == f && slices.ContainsFunc(s.Ranges[class], func(r ipam.Range) bool { return r.Contains(a) })
}

// choose returns the address for a client: its own, that which it asks for, or a free one.
func (s *Server) choose(client, class string, want netip.Addr, f ipam.Family) netip.Addr {
	for a, l := range s.leases {
		if l.client == client && s.may(client, class, a, f) {
			return a
		}
	}
	if want.IsValid() && s.may(client, class, want, f) {
		return want
	}
	for _, r := range s.Ranges[class] {
		for a := r.First; a.IsValid() && a.Compare(r.Last) <= 0; a = a.Next() {
			if s.may(client, class, a, f) {
				return a
			}
		}
	}
	return netip.Addr{}
}

func (s *Server) enter(a netip.Addr, client string) {
	if s.leases == nil {
		s.leases = map[netip.Addr]lease{}
	}
	s.leases[a] = lease{client, s.Now().Add(s.Lease)}
	delete(s.offers, a)
}

// offer has a be offered to no other client for a second.
func (s *Server) offer(a netip.Addr, client string) {
	if s.offers == nil {
		s.offers = map[netip.Addr]lease{}
	}
	s.offers[a] = lease{client, s.Now().Add(time.Second)}
}

func (s *Server) answer4(payload []byte) []byte {
	m := must(dhcpv4.FromBytes(payload))
	want, _ := netip.AddrFromSlice(m.Options.Get(dhcpv4.OptionRequestedIPAddress))
	client, kind := string(m.Options.Get(dhcpv4.OptionClientIdentifier)), m.MessageType()
	s.note(kind.String(), want)
	if server, named := netip.AddrFromSlice(m.Options.Get(dhcpv4.OptionServerIdentifier)); s.Away || named && server != s.ID {
		return nil
	}
	chosen := s.choose(client, class4(m), want, ipam.IPv4)
	switch {
	case kind == dhcpv4.MessageTypeDiscover && chosen.IsValid():
		s.offer(chosen, client)
		return s.reply4(m, dhcpv4.MessageTypeOffer, chosen)
	case kind == dhcpv4.MessageTypeRequest && chosen == want:
		s.enter(want, client)
		return s.reply4(m, dhcpv4.MessageTypeAck, want)
	case kind == dhcpv4.MessageTypeRequest:
		return s.reply4(m, dhcpv4.MessageTypeNak, netip.Addr{})
	case kind == dhcpv4.MessageTypeRelease:
		if a, _ := netip.AddrFromSlice(m.ClientIPAddr.To4()); s.leases[a].client == client {
			delete(s.leases, a)
		}
	}
	return nil
}

// reply4 returns an answer; without an address it has none.
func (s *Server) reply4(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, a netip.Addr) []byte {
	out := must(dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(s.ID.AsSlice())))
	out.UpdateOption(dhcpv4.OptServerIdentifier(s.ID.AsSlice()))
	if !a.IsValid() {
		out.UpdateOption(dhcpv4.OptMessage("not yours"))
		return out.ToBytes()
	}
	out.YourIPAddr = net.IP(a.AsSlice())
	for code, d := range map[dhcpv4.OptionCode]time.Duration{dhcpv4.OptionIPAddressLeaseTime: s.Lease, dhcpv4.OptionRenewTimeValue: s.T1, dhcpv4.OptionRebindingTimeValue: s.T2} {
		if d > 0 {
			out.UpdateOption(dhcpv4.OptGeneric(code, dhcpv4.Duration(d).ToBytes()))
		}
	}
	return out.ToBytes()
}

// must returns a value that a test relies on.
func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

// class4 is the user class of a message.
func class4(m *dhcpv4.DHCPv4) string {
	if b := m.Options.Get(dhcpv4.OptionUserClassInformation); len(b) > 0 {
		return string(b[1:])
	}
	return ""
}

func (s *Server) answer6(payload []byte) []byte {
	m := must(dhcpv6.MessageFromBytes(payload))
	ia := m.Options.OneIANA()
	var want netip.Addr
	if o := ia.Options.OneAddress(); o != nil {
		want, _ = netip.AddrFromSlice(o.IPv6Addr)
	}
	s.note(strings.ToUpper(m.MessageType.String()), want)
	if s.Away {
		return nil
	}
	out := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
	if m.MessageType == dhcpv6.MessageTypeSolicit {
		out.MessageType = dhcpv6.MessageTypeAdvertise
	}
	out.AddOption(dhcpv6.OptClientID(m.Options.ClientID()))
	out.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}))
	has := &dhcpv6.OptIANA{IaId: ia.IaId, T1: s.T1, T2: s.T2}
	switch a, code := s.give6(m, want); {
	case code != iana.StatusSuccess:
		has.Options.Add(&dhcpv6.OptStatusCode{StatusCode: code})
	case a.IsValid():
		has.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: s.Lease, ValidLifetime: s.Lease})
	}
	out.AddOption(has)
	return out.ToBytes()
}

// give6 returns the address that a message gets, or why not.
func (s *Server) give6(m *dhcpv6.Message, want netip.Addr) (netip.Addr, iana.StatusCode) {
	client, class := string(m.Options.ClientID().ToBytes()), ""
	for _, c := range m.Options.UserClasses() {
		class = string(c)
	}
	chosen, own := s.choose(client, class, want, ipam.IPv6), s.leases[want].client == client
	switch kind := m.MessageType; {
	case kind == dhcpv6.MessageTypeRelease && own:
		delete(s.leases, want)
		return netip.Addr{}, iana.StatusSuccess
	case kind == dhcpv6.MessageTypeSolicit && chosen.IsValid():
		s.offer(chosen, client)
	case kind == dhcpv6.MessageTypeSolicit:
		return netip.Addr{}, iana.StatusNoAddrsAvail
	case kind != dhcpv6.MessageTypeRelease && chosen == want && (own || kind == dhcpv6.MessageTypeRequest):
		s.enter(want, client)
	default:
		return netip.Addr{}, iana.StatusNoBinding
	}
	return chosen, iana.StatusSuccess
}

// Client returns who has leased an address, by its identifier; "": none has.
func (s *Server) Client(a netip.Addr) string {
	if l, is := s.leases[a]; is && s.Now().Before(l.until) {
		return l.client
	}
	return ""
}
