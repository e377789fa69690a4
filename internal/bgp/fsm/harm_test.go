package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// sink is a connection that takes everything.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }

// digest has a session take in all that a router sends, in the state that it leads
// to, and returns how many messages that were and what there is to say at the end.
func digest(s *Session, b []byte) (messages int, reported string) {
	c := &connection{Session: s, conn: sink{}, state: OpenSent, start: time.Now(), holdTime: time.Minute}
	c.enc = encoder{local: netip.MustParseAddr("192.0.2.2"), asn: s.peer.LocalASN}
	r := newReader(bytes.NewReader(b), func() {}, func() { messages++ })
	for {
		kind, body, err := r.next()
		if err == nil {
			messages++
			err = c.take(message{kind: kind, body: body})
		}
		if err != nil {
			reported, _, _ = c.describe(err)
			c.end(err)
			return messages, reported
		}
	}
}

func harmed() *Session {
	p := somePeer()
	p.DualStack, p.Graceful = true, true
	s := New(slog.New(slog.DiscardHandler), p, netip.MustParseAddr("192.0.2.2"), &recorder{})
	s.unsubscribed.Store(true) // the log would be too long
	s.Advertise(AdjRIBOut{Routes: []announce.Route{{Prefix: netip.MustParsePrefix("198.51.100.1/32")}}, NextHops: NextHops{V4: netip.IPv4Unspecified()}})
	return s
}

// seeds are what routers send, and what has ended another speaker: 19 bytes before
// any OPEN, and an attribute 40 (prefix SID) that is malformed.
func seeds() [][]byte {
	caps := [][]byte{four, {1, 0, 2, 0, 1}, {2}, {5, 0, 1, 0, 1, 0, 2}, {64, 0x80, 120, 0, 1, 1, 0x80}, {65, 0, 0, 0xfc, 0x59}, {69, 0, 1, 1, 3}, {73, 1, 'r', 1, 'd'}}
	update := func(attributes ...[]byte) []byte {
		all := bytes.Join(attributes, nil)
		body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(all)))
		return raw(updateMessage, append(append(body, all...), 32, 198, 51, 100, 9)...)
	}
	attribute := func(flags, kind byte, value ...byte) []byte {
		return append([]byte{flags, kind, byte(len(value))}, value...)
	}
	known := [][]byte{
		attribute(0x40, 1, 0), attribute(0x40, 2, 2, 1, 0, 0, 0xfc, 0x59), attribute(0x40, 3, 10, 9, 0, 1), attribute(0x80, 4, 0, 0, 0, 1),
		attribute(0x40, 5, 0, 0, 0, 100), attribute(0x40, 6), attribute(0xc0, 7, 0, 0, 0xfc, 0x59, 10, 9, 0, 1), attribute(0xc0, 8, 0xff, 0xff, 0, 0),
		attribute(0x80, 9, 10, 9, 0, 1), attribute(0x80, 10, 10, 9, 0, 1), attribute(0x80, 14, 0, 2, 1, 16, 0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 128),
		attribute(0x80, 15, 0, 2, 1, 128), attribute(0xc0, 16, 0, 2, 0, 0, 0, 0, 0, 1), attribute(0xc0, 17, 2, 1, 0, 0, 0xfc, 0x59),
		attribute(0xc0, 22, 0, 6, 0, 0, 0), attribute(0xc0, 23, 0, 1, 0, 0), attribute(0x80, 26, 1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 1), attribute(0xc0, 32, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3),
		attribute(0xc0, 40, 1, 0, 7, 0, 0, 0, 0, 0, 0, 1), attribute(0xc0, 40, 5, 0xff, 0xff, 0), attribute(0xe0, 40, 0xff),
	}
	up := slices.Concat(rawOpen(64601, 90, caps...), raw(keepaliveMessage))
	out := [][]byte{
		raw(9), rawOpen(64601, 90), rawOpen(64601, 90, caps...), up, raw(keepaliveMessage), raw(refreshMessage, 0, 1, 0, 1),
		raw(notificationMessage, append([]byte{6, 2, 9}, "back at 8"...)...),
		slices.Concat(up, raw(refreshMessage, 0, 2, 0, 1), update(known...), raw(notificationMessage, 6, 4)),
		slices.Concat(up, update(attribute(0xc0, 40, 4, 0, 0x10, 0)), update()),
	}
	for _, k := range known {
		out = append(out, slices.Concat(up, update(k)))
	}
	return out
}

// mutate changes a few bytes: anywhere, or where lengths and types are.
func mutate(r *rand.Rand, all [][]byte) []byte {
	b := slices.Clone(all[r.IntN(len(all))])
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			return b
		}
		i := r.IntN(len(b))
		switch r.IntN(8) {
		case 0, 1:
			b[i] = byte(r.Uint32())
		case 2:
			b[i] ^= 1 << r.IntN(8)
		case 3:
			b[i] = []byte{0, 1, 0x7f, 0x80, 0xfe, 0xff}[r.IntN(6)]
		case 4:
			b = slices.Insert(b, i, byte(r.Uint32()))
		case 5:
			b = slices.Delete(b, i, min(len(b), i+1+r.IntN(4)))
		case 6:
			b = append(b, all[r.IntN(len(all))]...)
		case 7: // the length that a header has, made true or untrue
			if j := bytes.Index(b[i:], bytes.Repeat([]byte{0xff}, 16)); j >= 0 && i+j+18 <= len(b) {
				binary.BigEndian.PutUint16(b[i+j+16:], uint16(r.IntN(4200)))
			}
		}
	}
	return b
}

// No router can stop a session by what it sends: 30 s of mutated messages, in every
// state. BGP_MUTATIONS=10000000 sends so many.
func TestNoMessageHarmsASession(t *testing.T) {
	want, err := strconv.Atoi(os.Getenv("BGP_MUTATIONS"))
	limit := 30 * time.Second
	if err == nil {
		limit = time.Hour
	}
	if testing.Short() {
		limit = time.Second
	}
	seed := uint64(time.Now().UnixNano())
	r, all, s := rand.New(rand.NewPCG(seed, 0)), seeds(), harmed()
	histories, messages, describe := 0, 0, map[string]int{}
	for start := time.Now(); time.Since(start) < limit && (want == 0 || histories < want); {
		for range 1000 {
			b := mutate(r, all)
			func() {
				defer func() {
					if p := recover(); p != nil {
						t.Fatalf("seed %d: %x: %v", seed, b, p)
					}
				}()
				n, reported := digest(s, b)
				messages += n
				describe[fmt.Sprintf("%.40s", reported)]++
			}()
			histories++
		}
	}
	t.Logf("%d histories, %d messages, %d ends", histories, messages, len(describe))
	if len(describe) < 10 {
		t.Errorf("the mutations reach too little: %v", describe)
	}
}

func FuzzSession(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { digest(harmed(), b) })
}
