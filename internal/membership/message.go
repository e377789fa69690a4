package membership

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Standing says whether a member can be counted on. The zero value is Alive.
type Standing uint8

const (
	// Alive is a member of which nothing bad is known.
	Alive Standing = iota
	// Restarting is a member whose speaker has said that it stops, while its node
	// goes on: what it announced is still true, but it can't answer questions.
	Restarting
	// Dead is a member that its watchers have lost.
	Dead
	// Unknown is a member that has not been heard yet: only Kubernetes knows of it.
	Unknown
)

func (s Standing) String() string {
	return [...]string{"Alive", "Restarting", "Dead", "Unknown"}[min(s, Unknown)]
}

// update is what is known of one incarnation of a member. Of two updates the later
// incarnation counts, and of one incarnation the worse standing; so it doesn't matter
// in which order updates arrive, or how often.
type update struct {
	Member      string        `json:"member"`
	Incarnation uint64        `json:"life"` // grows with each start of the speaker, and with each refutation
	Standing    Standing      `json:"standing"`
	Hold        time.Duration `json:"hold,omitempty"` // of Restarting: for how much longer
}

// supersedes reports whether u counts instead of v.
func (u update) supersedes(v update) bool {
	return cmp.Or(cmp.Compare(u.Incarnation, v.Incarnation), cmp.Compare(u.Standing, v.Standing)) > 0
}

// Message is what speakers tell one another, in a datagram.
type Message struct {
	Version int    `json:"v"`
	From    string `json:"from"`
	Start   uint64 `json:"start,omitempty"` // of the sender: a time
	Number  uint64 `json:"n,omitempty"`     // of the message, since Start; 0: the sender is of an earlier version
	Known   uint64 `json:"known,omitempty"` // a start of the receiver that is later than what it said
	// Segment is what the message is about, and Addr the sender's address there; zero:
	// it is about the nodes themselves.
	Segment netip.Prefix `json:"segment,omitzero"`
	Addr    netip.Addr   `json:"addr,omitzero"`
	Updates []update     `json:"facts,omitempty"`
	Ping    bool         `json:"hello,omitempty"` // the sender has not heard of the receiver's incarnation
	// Suspect names a member whose session with the sender has expired, in this
	// incarnation. The sender asks what the receiver sees.
	Suspect *update `json:"lost,omitempty"`
	// Alive names a member whose session with the sender is Up: the answer to Suspect.
	Alive *update `json:"sees,omitempty"`
	// Report is what a speaker without an API server reports (see Reports). Such a message says
	// nothing else.
	Report json.RawMessage `json:"report,omitempty"`
}

// A speaker that knows no segments must not take what is said about one for what is
// said about nodes: so such messages are of a version of their own.
const (
	version        = 1
	segmentVersion = 2
	reportVersion  = 3
	// most is how many updates fit into one.
	most = 8
)

var (
	errForged  = errors.New("datagram is not signed with the speakers' key")
	errUnknown = errors.New("datagram is of an unknown version")
)

func (m Message) version() int {
	switch {
	case m.Report != nil:
		return reportVersion
	case m.Segment.IsValid():
		return segmentVersion
	}
	return version
}

// sign writes m, signed (HMAC-SHA256).
func (m Message) sign(key []byte) ([]byte, error) {
	m.Version = m.version()
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a membership message: %w", err)
	}
	return append(mac(key, body), body...), nil
}

// verify reads what sign has written with one of keys.
func verify(keys [][]byte, b []byte) (Message, error) {
	if len(b) < sha256.Size {
		return Message{}, errForged
	}
	signature, body := b[:sha256.Size], b[sha256.Size:]
	for _, key := range keys {
		if !hmac.Equal(signature, mac(key, body)) {
			continue
		}
		var m Message
		if err := json.Unmarshal(body, &m); err != nil {
			return Message{}, fmt.Errorf("decode a membership message: %w", err)
		}
		if m.Version != m.version() {
			return Message{}, errUnknown
		}
		return m, nil
	}
	return Message{}, errForged
}

func mac(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(body) // never fails
	return h.Sum(nil)
}
