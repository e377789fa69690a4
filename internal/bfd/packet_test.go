package bfd

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// down is a packet as FRR's bfdd sends it before it knows its peer.
var down = []byte{
	0x20, 0x40, 3, 24, // version 1, no diagnostic; Down
	0, 0, 0, 7, 0, 0, 0, 0,
	0, 0x0f, 0x42, 0x40, 0, 0x0f, 0x42, 0x40, 0, 0, 0xc3, 0x50,
}

func TestParseReadsAPacketOfFRR(t *testing.T) {
	want := Packet{
		Status: Down, Multiplier: 3, MyDiscr: 7,
		DesiredMinTx: time.Second, RequiredMinRx: time.Second, RequiredMinEcho: 50 * time.Millisecond,
	}
	have, auth, err := Parse(down)
	if diff := cmp.Diff(want, have); diff != "" || auth != nil || err != nil {
		t.Errorf("auth %x, err %v; want -, have +:\n%s", auth, err, diff)
	}
	if b := have.Append(nil); !bytes.Equal(b, down) {
		t.Errorf("Append gives % x", b)
	}
}

func TestParseMakesTheChecksOfRFC5880Section686(t *testing.T) {
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(down)) }
	set := func(i int, v byte) []byte { return change(func(b []byte) []byte { b[i] = v; return b }) }
	for name, c := range map[string]struct {
		packet []byte
		want   error
	}{
		"no octets":                       {nil, ErrShort},
		"23 octets":                       {down[:23], ErrShort},
		"version 0":                       {set(0, 0), ErrVersion},
		"version 2":                       {set(0, 2<<5), ErrVersion},
		"length below a header":           {set(3, 23), ErrShort},
		"length beyond the payload":       {set(3, 25), ErrShort},
		"length 25 with authentication":   {change(func(b []byte) []byte { b[1] |= flagAuth; b[3] = 25; return append(b, 5, 28) }), ErrShort},
		"multiplier 0":                    {set(2, 0), ErrMultiplier},
		"multipoint":                      {set(1, 0x40|flagMultipoint), ErrMultipoint},
		"my discriminator 0":              {set(7, 0), ErrMyDiscr},
		"your discriminator 0 in Init":    {set(1, byte(Init)<<6), ErrYourDiscr},
		"your discriminator 0 in Up":      {set(1, byte(Up)<<6), ErrYourDiscr},
		"your discriminator 0, AdminDown": {set(1, 0), nil},
		"octets after the packet":         {append(bytes.Clone(down), 1, 2, 3), nil},
	} {
		if _, _, err := Parse(c.packet); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

func TestAnIntervalBeyondTheLongestIsSentAsTheLongest(t *testing.T) {
	p, _, err := Parse(Packet{Multiplier: 1, MyDiscr: 1, DesiredMinTx: 2 * MaxInterval, RequiredMinRx: -1}.Append(nil))
	if err != nil || p.DesiredMinTx != MaxInterval || p.RequiredMinRx != 0 {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestSHA1 is of RFC 5880 §6.7.4.
func TestSHA1(t *testing.T) {
	for _, by := range []AuthType{MeticulousSHA1, KeyedSHA1} {
		testSHA1(t, by)
	}
}

func testSHA1(t *testing.T, by AuthType) {
	key, other := Key{ID: 9, Secret: "sesame", Type: by}, Key{ID: 9, Secret: "mustard", Type: by}
	signed := sign(bytes.Clone(down), key, 77)
	p, auth, err := Parse(signed)
	if err != nil || p.MyDiscr != 7 {
		t.Fatal(p, err)
	}
	if seq, err := verify(signed, auth, []Key{{ID: 1, Secret: "x"}, key}); seq != 77 || err != nil {
		t.Errorf("sequence %d, %v", seq, err)
	}
	if _, err := verify(signed, auth, []Key{other}); !errors.Is(err, ErrAuthHash) {
		t.Errorf("with another secret: %v", err)
	}
	if _, err := verify(signed, auth, []Key{{ID: 1, Secret: "sesame", Type: by}}); !errors.Is(err, ErrAuthKey) {
		t.Errorf("with another ID: %v", err)
	}
	if _, err := verify(signed, auth, []Key{{ID: 9, Secret: "sesame", Type: MeticulousSHA1 + KeyedSHA1 - by}}); !errors.Is(err, ErrAuthType) {
		t.Errorf("with the other type: %v", err)
	}
	for i := range signed {
		if i == offKeyID { // another key, tried above
			continue
		}
		bad := bytes.Clone(signed)
		bad[i] ^= 1
		_, auth, err := Parse(bad)
		if err != nil || auth == nil {
			continue
		}
		if _, err := verify(bad, auth, []Key{key}); err == nil {
			t.Errorf("verify accepts a packet whose octet %d was changed", i)
		}
	}
}

// TestSequenceNumbers is of RFC 5880 §6.7.4: with Meticulous Keyed SHA1 a number must not
// come again.
func TestSequenceNumbers(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		by      AuthType
		numbers []uint32
		last    error
	}{
		{MeticulousSHA1, []uint32{7, 8}, nil},
		{MeticulousSHA1, []uint32{7, 7}, ErrAuthSequence},
		{MeticulousSHA1, []uint32{7, 6}, ErrAuthSequence},
		{MeticulousSHA1, []uint32{7, 17}, ErrAuthSequence},
		{KeyedSHA1, []uint32{7, 8}, nil},
		{KeyedSHA1, []uint32{7, 7}, nil},
		{KeyedSHA1, []uint32{7, 6}, ErrAuthSequence},
		{KeyedSHA1, []uint32{1<<32 - 1, 0}, nil},
		{KeyedSHA1, []uint32{7, 16}, nil}, // three times the multiplier
		{KeyedSHA1, []uint32{7, 17}, ErrAuthSequence},
	} {
		key := Key{ID: 1, Secret: "sesame", Type: c.by}
		m := newMachine(now, Session{Keys: []Key{key}}, 1, 0)
		var last error
		for _, n := range c.numbers {
			b := sign(bytes.Clone(down), key, n)
			p, auth, err := Parse(b)
			if err != nil || p.Multiplier != 3 {
				t.Fatal(p, err)
			}
			last = m.receive(now, p, b, auth)
		}
		if !errors.Is(last, c.last) {
			t.Errorf("type %d, numbers %d: %v, want %v", c.by, c.numbers, last, c.last)
		}
	}
}

// FuzzParse checks that Append writes what Parse has read, and that no packet makes a
// machine send an invalid one.
func FuzzParse(f *testing.F) {
	f.Add(down)
	f.Add(sign(bytes.Clone(down), Key{ID: 1, Secret: "s"}, 5))
	f.Add(sign(bytes.Clone(down), Key{ID: 1, Secret: "s", Type: KeyedSHA1}, 5))
	f.Add([]byte{0x20, 0xc6, 1, 26, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2}) // an authentication section of two octets
	now := time.Unix(1_000_000, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, auth, err := Parse(b)
		if err != nil {
			return
		}
		again, _, err := Parse(p.Append(nil))
		if err != nil || again != p {
			t.Fatalf("%+v became %+v: %v", p, again, err)
		}
		for _, keys := range [][]Key{nil, {{ID: 1, Secret: "s"}}, {{ID: 1, Secret: "s", Type: KeyedSHA1}}} {
			m := newMachine(now, Session{Keys: keys}, 1, 0)
			_ = m.receive(now, p, b, auth)
			for range 3 {
				m.expire(now.Add(time.Hour))
				if out, ok := m.emit(now, 0.5, nil); ok {
					if _, _, err := Parse(out); err != nil {
						t.Fatalf("after %+v it sends % x: %v", p, out, err)
					}
				}
			}
		}
	})
}
