package planner

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source"
)

// Snapshot is all that the decision depends on. Its objects belong to the
// cache and must not be changed.
type Snapshot struct {
	Now time.Time
	intent.Configured
	Services   []*corev1.Service            // ours, and not about to vanish; in no order
	Namespaces map[string]map[string]string // labels by name
	Occupied   *ipam.Occupied               // addresses of the pools that others than ours have; nil: none
	Conflicts  intent.Conflicts             // those of the pools' addresses that foreign hosts have
	Endpoints  Endpoints                    // of Services that share addresses by externalTrafficPolicy Local
	Where      *intent.Placement            // finds the nodes of endpoints that name none
	Reserved   *intent.Reserved             // what AddressReservations have
	Offers     func(types.UID) []ipam.Offer // what IPAMs have said for a Service; nil: there are none
	// Disagreement returns what is to be said of an address whose IPAM does not hold it for its Service.
	Disagreement func(pool string, k source.Key, a netip.Addr) string
	// Lost reports whether a Service is to leave an address, which its IPAM refuses; nil: none is.
	Lost      func(pool string, k source.Key, a netip.Addr) bool
	Announced *Announced            // what the conditions Announced are to be; nil: that is not known
	Attempts  map[types.UID]Attempt // writes whose outcome is not known, or was refused
	Contests  map[types.UID]Contest // Services whose status another client overwrites

	Kept   []ipam.Kept              // addresses that wait for Services that were deleted
	Graces map[string]time.Duration // how long pools keep addresses, also those that are gone

	// Memory remembers Kept and Graces, and takes in what a pass finds to be gone; nil:
	// they are known.
	Memory *KeptAddresses
	// Review returns the contests when a pass knows what it sees for the first time,
	// and what is gone; nil: contests are known.
	Review func([]Arrival, []types.UID) map[types.UID]Contest
}

// Endpoints are EndpointSlices by the Service that they are of.
type Endpoints = map[ipam.Key][]*discoveryv1.EndpointSlice

// contest returns the contest of svc; the zero contest: there is none.
func (s *Snapshot) contest(svc *corev1.Service) Contest {
	if len(s.Contests) == 0 { // usually
		return Contest{}
	}
	return s.Contests[svc.UID]
}
