package unnumbered

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

func TestIsRouter(t *testing.T) {
	own, other := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2%eth0")
	near := &ipv6.ControlMessage{HopLimit: 255}
	advertisement := &ndp.RouterAdvertisement{}
	for _, c := range []struct {
		name string
		m    ndp.Message
		cm   *ipv6.ControlMessage
		from netip.Addr
		want bool
	}{
		{"an advertisement by another node on the link", advertisement, near, other, true},
		{"one from further away (RFC 4861 6.1.2)", advertisement, &ipv6.ControlMessage{HopLimit: 254}, other, false},
		{"one of which that is not known", advertisement, nil, other, false},
		{"one from an address that is not of the link (RFC 4861 6.1.2)", advertisement, near, netip.MustParseAddr("2001:db8::1"), false},
		{"our own", advertisement, near, own.WithZone("eth0"), false},
		{"a solicitation", &ndp.RouterSolicitation{}, near, other, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := isRouter(c.m, c.cm, c.from, own); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestFindSaysWhyThereIsNoRouterAndEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var reported string
	Find(ctx, "no-such-link", func(router netip.Addr, problem string) {
		reported = problem
		if router.IsValid() {
			t.Errorf("found %s", router)
		}
		cancel()
	})
	if !strings.Contains(reported, "no-such-link") {
		t.Errorf("reported %q", reported)
	}
}
