package dhcp

import (
	"crypto/sha256"
	"fmt"

	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// identity is what DHCP servers know a Service by. It follows from the cluster, the namespace and
// the name: so it outlives a Service that is created again, and an administrator can reserve an
// address for it.
type identity struct {
	uuid [16]byte
	mac  [6]byte
}

// iaid is the one interface that each Service has (RFC 8415 section 12).
var iaid = [4]byte{0, 0, 0, 1}

// identify returns the identity of a Service. One without a name has its UID in place of it.
func identify(cluster string, h ledger.Holder) (id identity) {
	if h.Name == "" {
		h.Namespace, h.Name = "", h.UID
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "steelyard dhcp %q %q %q", cluster, h.Namespace, h.Name))
	copy(id.uuid[:], sum[:])
	id.uuid[6], id.uuid[8] = id.uuid[6]&0x0f|0x80, id.uuid[8]&0x3f|0x80 // version 8, RFC 9562 section 5.8
	copy(id.mac[:], sum[len(id.uuid):])
	id.mac[0] = id.mac[0]&^0x01 | 0x02 // one address, given locally
	return id
}

// duid is the client's DUID, from a UUID (RFC 6355).
func (id identity) duid() []byte { return append([]byte{0, 4}, id.uuid[:]...) }

// clientID is the client identifier of DHCPv4: the same DUID (RFC 4361 section 6.1).
func (id identity) clientID() []byte {
	return append(append([]byte{255}, iaid[:]...), id.duid()...)
}
