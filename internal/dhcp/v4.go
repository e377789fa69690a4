package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// largest is the largest message that is accepted: one Ethernet frame.
const largest = 1500 - 20 - 8

// UserClass is what messages say of the pool that an address is for (RFC 3004, RFC 8415 section
// 21.15): a server can choose its range by it.
func UserClass(pool string) string { return "steelyard:" + pool }

// message4 is the message that is due for a lease.
func (l *lease) message4() []byte {
	kind, asks := dhcpv4.MessageTypeRequest, l.Addr
	switch l.phase {
	case discovering:
		kind, asks = dhcpv4.MessageTypeDiscover, l.want
	case requesting:
		asks = l.offered
	case releasing:
		kind, asks = dhcpv4.MessageTypeRelease, netip.Addr{}
	}
	m := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: l.id.mac[:], NumSeconds: l.secs,
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero, Options: dhcpv4.Options{},
	}
	binary.BigEndian.PutUint32(m.TransactionID[:], l.xid)
	m.SetBroadcast() // the hardware address is no link's
	m.UpdateOption(dhcpv4.OptMessageType(kind))
	m.UpdateOption(dhcpv4.OptClientIdentifier(l.id.clientID()))
	// RFC 2131 table 5 has none in a RELEASE, but dnsmasq finds by it the range that the address is of.
	m.UpdateOption(dhcpv4.OptRFC3004UserClass([]string{UserClass(l.Pool)}))
	if kind == dhcpv4.MessageTypeRelease {
		m.ClientIPAddr = l.Addr.AsSlice()
	} else {
		m.UpdateOption(dhcpv4.OptMaxMessageSize(largest))
		m.UpdateOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask, dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue))
	}
	if asks.IsValid() {
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(asks.AsSlice()))
	}
	if l.phase == requesting || l.phase == releasing { // a renewal is for any server: it has the form of INIT-REBOOT
		m.UpdateOption(dhcpv4.OptServerIdentifier(l.server))
	}
	return m.ToBytes()
}

// read4 reads a message of a server.
func read4(in Message) (r reply, ok bool) {
	if len(in.Payload) > largest {
		return r, false
	}
	m, err := dhcpv4.FromBytes(in.Payload)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply {
		return r, false
	}
	server, ok := netip.AddrFromSlice(m.Options.Get(dhcpv4.OptionServerIdentifier))
	if !ok || !server.Is4() {
		return r, false
	}
	r = reply{
		xid: binary.BigEndian.Uint32(m.TransactionID[:]), client: m.Options.Get(dhcpv4.OptionClientIdentifier), mac: m.ClientHWAddr,
		server: server.AsSlice(), from: server.String(), text: said(string(m.Options.Get(dhcpv4.OptionMessage))),
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeOffer:
		r.answer = offers
	case dhcpv4.MessageTypeAck:
		r.answer = grants
	case dhcpv4.MessageTypeNak:
		r.answer = refuses
		return r, true
	default:
		return r, false
	}
	seconds := func(of dhcpv4.OptionCode) time.Duration {
		if b := m.Options.Get(of); len(b) == 4 {
			return lasting(time.Duration(binary.BigEndian.Uint32(b)) * time.Second)
		}
		return 0
	}
	r.addr, ok = netip.AddrFromSlice(m.YourIPAddr.To4())
	r.lease, r.t1, r.t2 = seconds(dhcpv4.OptionIPAddressLeaseTime), seconds(dhcpv4.OptionRenewTimeValue), seconds(dhcpv4.OptionRebindingTimeValue)
	return r, ok
}

// lasting returns a time of a lease: all bits set are forever (RFC 2131 section 3.3).
func lasting(d time.Duration) time.Duration {
	if d == (1<<32-1)*time.Second {
		return forever
	}
	return d
}

// said returns a server's own words, safe to show.
func said(text string) string {
	if text == "" {
		return "no"
	}
	return printable.Within(100, text)
}
