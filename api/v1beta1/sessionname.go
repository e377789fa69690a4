package v1beta1

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxName is the longest name of an object.
const maxName = 253

// SessionName returns the name of the BGPSession of a node and a BGPPeer. A long one ends with
// a hash of the whole.
func SessionName(node, peer string) string {
	name := node + "." + peer
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:8])
	return strings.TrimRight(name[:maxName-1-len(hash)], ".-") + "-" + hash
}
