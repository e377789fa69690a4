package intent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// FuzzParseRange: whatever is written, nothing panics; and a range that can be
// read, or whose ends need only change places, is in order, of one family, and
// read again from its ends the same.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"10.0.0.0/24", "10.0.0.1-10.0.0.9", "10.0.0.1", "2001:db8::/64", "::1-::2", "0.0.0.0/0", "::/0", "::ffff:10.0.0.1", "fe80::1%eth0", "-", "/", "10.0.0.9-10.0.0.1", " 10.0.0.1 - 10.0.0.2 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRange(s)
		if err != nil && !strings.Contains(err.Error(), "ends before it starts") {
			if r != (ipam.Range{}) {
				t.Errorf("%q: both %v and %v", s, r, err)
			}
			return
		}
		if r.Last.Less(r.First) || r.First.BitLen() != r.Last.BitLen() || r.First.Is4In6() || r.First.Zone() != "" {
			t.Errorf("%q: %v", s, r)
		}
		if again, err := parseRange(fmt.Sprintf("%s-%s", r.First, r.Last)); err != nil || again != r {
			t.Errorf("%q: %v, and printed and read again %v, %v", s, r, again, err)
		}
	})
}

// FuzzParseCommunity: likewise for communities.
func FuzzParseCommunity(f *testing.F) {
	for _, s := range []string{"1:2", "65535:65535", "65536:1", "large:1:2:3", "large:4294967295:0:0", "large:1:2", "no-export", "1:2:3", ":", "large:", "+1:2", "01:2", "mine"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, large, err := parseCommunity(s)
		if err != nil {
			if c != 0 || large != nil {
				t.Errorf("%q: both a value and %v", s, err)
			}
			return
		}
		printed := fmt.Sprintf("%d:%d", c>>16, c&0xffff)
		if large != nil {
			printed = large.String()
		}
		c2, large2, err := parseCommunity(printed)
		if err != nil || c2 != c || (large == nil) != (large2 == nil) || large != nil && *large != *large2 {
			t.Errorf("%q: printed as %q, and that read again: %d, %v, %v", s, printed, c2, large2, err)
		}
	})
}
