package intent_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// reserving has a pool, and reservations that differ in whom they name and when they end.
const reserving = `
IPAddressPool lan {addresses: [192.0.2.10-192.0.2.19]}
AddressReservation old {addresses: [192.0.2.10], namespace: shop, services: [web], expires: "2026-01-01T00:00:00Z"}
AddressReservation front {addresses: [192.0.2.11], namespace: shop, serviceSelector: {matchLabels: {tier: front}}}
AddressReservation web {addresses: [192.0.2.10, 192.0.2.12, 198.51.100.1], namespace: shop, services: [web, mail]}
AddressReservation all {addresses: [192.0.2.12, 192.0.2.13], namespace: shop}
AddressReservation both {addresses: [192.0.2.14], namespace: club, services: [web], alsoFor: [{namespace: lab, services: [web], serviceSelector: {matchLabels: {tier: front}}}, {namespace: lab}]}
`

func service(namespace, name string, labels map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
}

func TestReservedFor(t *testing.T) {
	c := intent.Parse(parse(t, reserving))
	end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if next := c.Reserved(end.Add(-time.Second), nil, intent.Choosing{}).Ends(); !next.Equal(end) {
		t.Errorf("the next reservation ends at %s", next)
	}
	if next := c.Reserved(end, nil, intent.Choosing{}).Ends(); !next.IsZero() {
		t.Errorf("a reservation ends at %s", next)
	}
	front := map[string]string{"tier": "front"}
	for _, x := range []struct {
		name string
		svc  *corev1.Service
		at   time.Time
		want string
	}{
		{"by its name first, then what selects it, then what is for all", service("shop", "web", front), end, "192.0.2.10 192.0.2.12 198.51.100.1 192.0.2.11 192.0.2.13"},
		{"the older has the address while it lasts", service("shop", "web", nil), end.Add(-time.Second), "192.0.2.10 192.0.2.12 198.51.100.1 192.0.2.13"},
		{"of a reservation that lost an address the rest counts", service("shop", "mail", nil), end.Add(-time.Second), "192.0.2.12 198.51.100.1 192.0.2.13"},
		{"none of its labels or names", service("shop", "db", nil), end, "192.0.2.13"},
		{"the name in another namespace", service("m", "web", front), end, ""},
		{"of several namespaces, by its name", service("club", "web", nil), end, "192.0.2.14"},
		{"another name there", service("club", "db", front), end, ""},
		{"of a namespace that is named twice, once", service("lab", "web", front), end, "192.0.2.14"},
		{"all of that", service("lab", "db", nil), end, "192.0.2.14"},
	} {
		var want []netip.Addr
		for _, s := range strings.Fields(x.want) {
			want = append(want, netip.MustParseAddr(s))
		}
		if have := c.Reserved(x.at, nil, intent.Choosing{}).Of(c.ReservationsFor(x.svc)); !slices.Equal(have, want) {
			t.Errorf("%s: %v, want %v", x.name, have, want)
		}
	}
}

func TestUsesOfReservations(t *testing.T) {
	c := intent.Parse(parse(t, reserving))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	holders := map[string]*corev1.Service{"192.0.2.10": service("shop", "web", nil), "192.0.2.11": service("shop", "db", nil)}
	uses := c.Uses(now, c.Reserved(now, nil, intent.Choosing{}), func(a netip.Addr) []*corev1.Service {
		if svc := holders[a.String()]; svc != nil {
			return []*corev1.Service{svc}
		}
		return nil
	})
	for name, want := range map[string]intent.ReservationUse{
		"old":   {Accepted: intent.Finding{Reason: v1beta1.ReasonExpired, Message: "spec.expires was 2026-01-01T00:00:00Z: delete it, or set a later time"}},
		"front": {Reserved: 1, Accepted: intent.Finding{Message: "Service shop/db has 192.0.2.11, is not named, and keeps it"}},
		"web":   {Reserved: 2, Used: 1, Accepted: intent.Finding{Message: "no IPAddressPool holds 198.51.100.1"}},
		"both":  {Reserved: 1},
		"all":   {Reserved: 1, Accepted: intent.Finding{Reason: v1beta1.ReasonOverlaps, Message: "192.0.2.12 is reserved by AddressReservation \"web\", which is older: take it out of one of the two"}},
	} {
		if have := uses[name]; !reflect.DeepEqual(have, want) {
			t.Errorf("%s: %+v, want %+v", name, have, want)
		}
	}
}
