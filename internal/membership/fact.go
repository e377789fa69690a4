package membership

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Standing says whether a member can be counted on. The zero value is Present.
type Standing uint8

const (
	// Present is a member of which nothing bad is known.
	Present Standing = iota
	// Restarting is a member whose speaker has said that it stops, while its node
	// goes on: what it announced is still true, but it can't answer questions.
	Restarting
	// Gone is a member that its watchers have lost.
	Gone
	// Unheard is a member that has not been heard yet: only Kubernetes knows of it.
	Unheard
)

func (s Standing) String() string {
	return [...]string{"Present", "Restarting", "Gone", "Unheard"}[min(s, Unheard)]
}

// fact is what is known of one life of a member. Of two facts the later life
// counts, and of one life the worse standing; so it doesn't matter in which
// order facts arrive, or how often.
type fact struct {
	Member   string        `json:"member"`
	Life     uint64        `json:"life"` // grows with each start of the speaker, and when it proves that it is not gone
	Standing Standing      `json:"standing"`
	Hold     time.Duration `json:"hold,omitempty"` // of Restarting: for how much longer
}

// outdoes reports whether f counts instead of g.
func (f fact) outdoes(g fact) bool {
	return cmp.Or(cmp.Compare(f.Life, g.Life), cmp.Compare(f.Standing, g.Standing)) > 0
}

// message is what speakers tell one another, in a datagram.
type message struct {
	Version int    `json:"v"`
	From    string `json:"from"`
	Facts   []fact `json:"facts,omitempty"`
	Hello   bool   `json:"hello,omitempty"` // the sender has not heard of the receiver's life
	// Lost names a member whose session with the sender has expired, in this life.
	// The sender asks what the receiver sees.
	Lost *fact `json:"lost,omitempty"`
	// Sees names a member whose session with the sender is Up: the answer to Lost.
	Sees *fact `json:"sees,omitempty"`
}

const (
	version = 1
	// most is how many facts fit into one.
	most = 8
)

var (
	errForged  = errors.New("datagram is not signed with the speakers' key")
	errUnknown = errors.New("datagram is of an unknown version")
)

// seal writes m, signed (HMAC-SHA256).
func (m message) seal(key []byte) ([]byte, error) {
	m.Version = version
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a membership message: %w", err)
	}
	return append(mac(key, body), body...), nil
}

// open reads what seal has written with one of keys.
func open(keys [][]byte, b []byte) (message, error) {
	if len(b) < sha256.Size {
		return message{}, errForged
	}
	signature, body := b[:sha256.Size], b[sha256.Size:]
	for _, key := range keys {
		if !hmac.Equal(signature, mac(key, body)) {
			continue
		}
		var m message
		if err := json.Unmarshal(body, &m); err != nil {
			return message{}, fmt.Errorf("decode a membership message: %w", err)
		}
		if m.Version != version {
			return message{}, errUnknown
		}
		return m, nil
	}
	return message{}, errForged
}

func mac(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(body) // never fails
	return h.Sum(nil)
}
