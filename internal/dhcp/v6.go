package dhcp

import (
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// optionSolMaxRT is asked for by each client (RFC 8415 section 18.2.1).
const optionSolMaxRT = dhcpv6.OptionCode(82)

// message6 is the message that is due for a lease.
func (l *lease) message6(now time.Time) []byte {
	kind, asks, server := dhcpv6.MessageTypeSolicit, l.want, false
	switch l.phase {
	case requesting:
		kind, asks, server = dhcpv6.MessageTypeRequest, l.offered, true
	case renewing:
		kind, asks, server = dhcpv6.MessageTypeRenew, l.Addr, true
	case rebinding:
		kind, asks = dhcpv6.MessageTypeRebind, l.Addr
	case releasing:
		kind, asks, server = dhcpv6.MessageTypeRelease, l.Addr, true
	}
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{byte(l.xid >> 16), byte(l.xid >> 8), byte(l.xid)}}
	m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionClientID, OptionData: l.id.duid()})
	if server {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionServerID, OptionData: l.server})
	}
	m.AddOption(dhcpv6.OptElapsedTime(min(max(now.Sub(l.begun), 0), (1<<16-1)*10*time.Millisecond)))
	if kind != dhcpv6.MessageTypeRelease {
		m.AddOption(dhcpv6.OptRequestedOption(optionSolMaxRT))
		m.AddOption(&dhcpv6.OptUserClass{UserClasses: [][]byte{[]byte(UserClass(l.Pool))}})
	}
	ia := &dhcpv6.OptIANA{IaId: iaid}
	if asks.IsValid() {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: asks.AsSlice()})
	}
	m.AddOption(ia)
	return m.ToBytes()
}

// read6 reads a message of a server.
func read6(in Message) (r reply, ok bool) {
	if len(in.Payload) > largest {
		return r, false
	}
	m, err := dhcpv6.MessageFromBytes(in.Payload)
	if err != nil || m.Options.ClientID() == nil || m.Options.ServerID() == nil {
		return r, false
	}
	x := m.TransactionID
	r = reply{
		xid: uint32(x[0])<<16 | uint32(x[1])<<8 | uint32(x[2]), client: m.Options.ClientID().ToBytes(), server: m.Options.ServerID().ToBytes(),
		from: in.From.String(), best: m.Options.Preference() == 255, text: said(""),
	}
	switch m.MessageType {
	case dhcpv6.MessageTypeAdvertise:
		r.answer = offers
	case dhcpv6.MessageTypeReply:
		r.answer = grants
	default:
		return r, false
	}
	r.heed(m.Options.Status())
	for _, ia := range m.Options.IANA() {
		if ia.IaId == iaid && (ia.T2 == 0 || ia.T1 <= ia.T2) { // RFC 8415 section 21.4
			r.heed(ia.Options.Status())
			r.addresses(ia)
		}
	}
	if len(r.more) > 0 {
		r.grant = r.more[0]
	}
	return r, len(r.more)+len(r.ended) > 0 || r.answer == refuses || r.answer == lacks || m.MessageType == dhcpv6.MessageTypeReply
}

// heed takes in a status.
func (r *reply) heed(s *dhcpv6.OptStatusCode) {
	switch {
	case s == nil || s.StatusCode == iana.StatusSuccess:
		return
	case s.StatusCode == iana.StatusNoAddrsAvail:
		r.answer = lacks
	case s.StatusCode == iana.StatusNoBinding || s.StatusCode == iana.StatusNotOnLink:
		r.answer = refuses
	default:
		r.answer = 0
	}
	r.text = said(s.StatusCode.String())
	if s.StatusMessage != "" {
		r.text = said(s.StatusMessage)
	}
}

// addresses takes in the addresses of an IA_NA. One without time left is taken away.
func (r *reply) addresses(ia *dhcpv6.OptIANA) {
	for _, o := range ia.Options.Addresses() {
		a, ok := netip.AddrFromSlice(o.IPv6Addr)
		switch {
		case !ok:
		case o.ValidLifetime == 0:
			r.ended = append(r.ended, a)
		default:
			g := grant{a, lasting(o.ValidLifetime), ia.T1, ia.T2}
			if g.t1 == 0 && o.PreferredLifetime <= o.ValidLifetime { // RFC 8415 section 21.4
				g.t1, g.t2 = o.PreferredLifetime/2, o.PreferredLifetime*4/5
			}
			r.more = append(r.more, g)
		}
	}
}
