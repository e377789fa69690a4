package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// raw makes a message of any bytes.
func raw(kind uint8, body ...byte) []byte {
	b := bytes.Repeat([]byte{0xff}, 16)
	b = binary.BigEndian.AppendUint16(b, uint16(headerLength+len(body)))
	return append(append(b, kind), body...)
}

// rawOpen makes an OPEN with these capabilities, each with code and value.
func rawOpen(asn uint16, hold uint16, capabilities ...[]byte) []byte {
	var caps []byte
	for _, c := range capabilities {
		caps = append(append(caps, c[0], byte(len(c)-1)), c[1:]...)
	}
	body := []byte{4}
	body = binary.BigEndian.AppendUint16(body, asn)
	body = binary.BigEndian.AppendUint16(body, hold)
	body = append(body, 10, 9, 9, 9)
	if len(caps) == 0 {
		return raw(openMessage, append(body, 0)...)
	}
	body = append(body, byte(len(caps)+2), 2, byte(len(caps)))
	return raw(openMessage, append(body, caps...)...)
}

// RFC 4271 section 6.1.
func TestHeaders(t *testing.T) {
	long := func(b []byte, n uint16) []byte {
		binary.BigEndian.PutUint16(b[16:], n)
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		want string // of the NOTIFICATION, or of the message
		data []byte
	}{
		{"a KEEPALIVE", raw(keepaliveMessage), "a KEEPALIVE", nil},
		{"a wrong marker is reported to the router", make([]byte, 40), "connection not synchronized", nil},
		{"19 bytes that are the header of an UPDATE's first bytes and no more", raw(9), "bad message type", []byte{9}},
		{"a length below the least", long(raw(keepaliveMessage), 18), "bad message length", []byte{0, 18}},
		{"a length above the most", long(raw(updateMessage, make([]byte, 10)...), 4097), "bad message length", []byte{0x10, 1}},
		{"a KEEPALIVE with a body", raw(keepaliveMessage, 0), "bad message length", []byte{0, 20}},
		{"an OPEN that is too short", raw(openMessage, make([]byte, 9)...), "bad message length", []byte{0, 28}},
		{"an UPDATE that is too short", raw(updateMessage, 0, 0), "bad message length", []byte{0, 21}},
		{"a NOTIFICATION that is too short", raw(notificationMessage, 0), "bad message length", []byte{0, 20}},
		{"a ROUTE-REFRESH that is too short", raw(refreshMessage, 0), "bad message length", []byte{0, 20}},
		{"an UPDATE is thrown away, whatever is in it", append(raw(updateMessage, 0xff, 0xff, 0xff, 0xff, 1), raw(keepaliveMessage)...), "a KEEPALIVE", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReader(bytes.NewReader(c.in), func() {}, func() {})
			kind, _, err := r.next()
			var bad *fault
			switch {
			case errors.As(err, &bad):
				if bad.notification.String() != c.want || !bytes.Equal(bad.data, c.data) {
					t.Errorf("%s, %v", bad.notification, bad.data)
				}
			case err != nil || kindName(kind) != c.want:
				t.Errorf("%s, %v", kindName(kind), err)
			}
		})
	}
}

func TestParseOpen(t *testing.T) {
	four, six, vpn := []byte{1, 0, 1, 0, 1}, []byte{1, 0, 2, 0, 1}, []byte{1, 0, 1, 0, 128}
	extended := func(hop byte) []byte { return []byte{5, 0, 1, 0, 1, 0, hop} }
	for _, c := range []struct {
		name string
		in   []byte
		want Capabilities
		asn  uint32
	}{
		{"no capability means IPv4 (RFC 4760 8)", rawOpen(64601, 9), Capabilities{IPv4: true}, 64601},
		{"families differ", rawOpen(64601, 9, four, six), Capabilities{IPv4: true, IPv6: true}, 64601},
		{"a family of another kind is none of ours", rawOpen(64601, 9, vpn, six), Capabilities{IPv6: true}, 64601},
		{"an IPv6 next hop for IPv4 (RFC 8950 4)", rawOpen(64601, 9, four, extended(2)), Capabilities{IPv4: true, Extended: true}, 64601},
		{"an IPv4 next hop is nothing new", rawOpen(64601, 9, four, extended(1)), Capabilities{IPv4: true}, 64601},
		{"a long AS number (RFC 6793)", rawOpen(23456, 9, four, []byte{65, 0, 1, 0, 0}), Capabilities{IPv4: true, FourByte: true}, 65536},
		{"it keeps the routes of a peer that restarts (RFC 4724)", rawOpen(64601, 9, four, []byte{64, 0, 120}), Capabilities{IPv4: true, Restart: true}, 64601},
		{"what is not known is left out (RFC 5492 3)", rawOpen(64601, 9, four, []byte{200, 1, 2, 3}, []byte{2}), Capabilities{IPv4: true, Refresh: true}, 64601},
		{"so is what has another length than its own", rawOpen(64601, 9, four, []byte{65, 0, 1}, []byte{1, 0, 2, 0}), Capabilities{IPv4: true}, 64601},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, bad := parseOpen(c.in[headerLength:])
			if bad != nil {
				t.Fatal(bad)
			}
			c.want.Heard, c.want.HoldTime = true, 9*time.Second
			if d := cmp.Diff(c.want, o.Capabilities); d != "" || o.asn != c.asn || o.id != 0x0a090909 {
				t.Errorf("asn %d, id %x\n%s", o.asn, o.id, d)
			}
		})
	}
	wide := rawOpen(64601, 9)[headerLength:]
	wide = append(wide[:9], 255, 255, 0, 9, 2, 0, 6, 1, 4, 0, 2, 0, 1)
	if o, bad := parseOpen(wide); bad != nil || !o.IPv6 || o.IPv4 {
		t.Errorf("long parameters (RFC 9072): %+v, %v", o, bad)
	}
}

func TestBadOpens(t *testing.T) {
	good := rawOpen(64601, 9, []byte{1, 0, 1, 0, 1})[headerLength:]
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   string
	}{
		{"another version", func(b []byte) []byte { b[0] = 3; return b }, "unsupported version number"},
		{"parameters longer than they say", func(b []byte) []byte { return append(b, 0) }, "OPEN message error"},
		{"parameters shorter than they say", func(b []byte) []byte { return b[:len(b)-1] }, "OPEN message error"},
		{"a capability longer than its parameter", func(b []byte) []byte { b[13] = 200; return b }, "OPEN message error"},
		{"a parameter that is no capability", func(b []byte) []byte { b[10] = 1; return b }, "unsupported optional parameter"},
		{"a long form cut short", func(b []byte) []byte { return append(b[:9], 255, 255, 9) }, "OPEN message error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, bad := parseOpen(c.change(slices.Clone(good)))
			if bad == nil || bad.notification.String() != c.want {
				t.Errorf("%+v", bad)
			}
		})
	}
}

func TestParseNotification(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want notification
		said string
	}{
		{"a code and a subcode", []byte{2, 2}, badPeerAS, ""},
		{"words (RFC 9003)", append([]byte{6, 2, 9}, "back at 8"...), notification{cease, 2}, "back at 8"},
		{"words that are shorter than they say", append([]byte{6, 2, 200}, "back"...), notification{cease, 2}, ""},
		{"a hard reset is what it is for (RFC 8538 3)", append([]byte{6, 9, 6, 4, 9}, "back at 8"...), notification{cease, 4}, "back at 8"},
		{"one that says nothing", []byte{6, 9}, hardReset, ""},
		{"one for another hard reset", []byte{6, 9, 6, 9, 6, 2}, hardReset, ""},
		{"a limit of prefixes (RFC 4486 4)", []byte{6, 1, 0, 2, 1, 0, 0, 0, 10}, prefixLimit, ": 10 of IPv6"},
		{"a limit of another family", []byte{6, 1, 0, 2, 2, 0, 0, 0, 10}, prefixLimit, ""},
		{"a limit that is not said", []byte{6, 1}, prefixLimit, ""},
		{"data of another error is no word", append([]byte{6, 5, 4}, "back"...), notification{cease, 5}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n, said := parseNotification(c.in); n != c.want || said != c.said {
				t.Errorf("%v, %q", n, said)
			}
		})
	}
}

// A router that floods is read no faster than so many bytes a moment.
func TestAFloodIsPaced(t *testing.T) {
	one := raw(updateMessage, make([]byte, maxLength-headerLength)...)
	const total = 8 << 20
	n := 0
	flood := readerFunc(func(b []byte) (int, error) {
		if n >= total {
			return 0, io.EOF
		}
		k := 0
		for k < len(b) {
			m := copy(b[k:], one[(n+k)%len(one):])
			k += m
		}
		n += k
		return k, nil
	})
	updates := 0
	start := time.Now()
	_, _, err := newReader(flood, func() {}, func() { updates++ }).next()
	if took := time.Since(start); took < (total/windowBytes-2)*windowLength {
		t.Errorf("%d bytes were read in %v", total, took)
	}
	if err == nil || updates < total/maxLength-1 || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("%d updates, %v", updates, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
