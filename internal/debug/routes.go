package debug

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
)

// Sessions are the BGP sessions of this node.
type Sessions interface {
	States() []bgp.State
	Sent(peer string) []announce.Sent
}

// session is one BGP session in the answer.
type session struct {
	Peer   string           `json:"peer"`
	Router string           `json:"router,omitempty"` // empty: it is not found yet
	State  bgp.SessionState `json:"state"`
	Routes []route          `json:"routes"` // that the router has received
}

// route is a route as it was sent.
type route struct {
	Prefix      string   `json:"prefix"`
	NextHop     string   `json:"nextHop"`
	ASPath      []uint32 `json:"asPath,omitempty"`
	LocalPref   *uint32  `json:"localPref,omitempty"`
	MED         *uint32  `json:"med,omitempty"`
	Communities []string `json:"communities,omitempty"`
	Bandwidth   uint32   `json:"linkBandwidth,omitempty"` // in Mbit/s
}

func routeOf(r announce.Sent) route {
	out := route{Prefix: r.Prefix.String(), NextHop: r.NextHop.String(), ASPath: r.ASPath, Bandwidth: r.Bandwidth}
	if r.HasLocalPref {
		out.LocalPref = &r.LocalPref
	}
	if r.HasMED {
		out.MED = &r.MED
	}
	for _, c := range r.Communities {
		out.Communities = append(out.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
	}
	for _, c := range r.Large {
		out.Communities = append(out.Communities, c.String())
	}
	return out
}

// routes answers which routes routers have received.
type routes struct {
	Sessions
	log *slog.Logger

	mu sync.Mutex // one answer at a time: with many routes it takes some megabytes
}

func (h *routes) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if err := h.write(w, q.URL.Query().Get("peer")); err != nil {
		h.log.Debug("can't answer /debug/routes", "err", err)
	}
}

// write writes the sessions with a peer, or all for "", one after the other.
func (h *routes) write(w io.Writer, peer string) error {
	before := "["
	for _, s := range h.States() {
		if peer != "" && s.Peer != peer {
			continue
		}
		one := session{Peer: s.Peer, State: s.Session, Routes: []route{}}
		if s.Addr.IsValid() {
			one.Router = s.Addr.String()
		}
		for _, r := range h.Sent(s.Peer) {
			one.Routes = append(one.Routes, routeOf(r))
		}
		if _, err := io.WriteString(w, before); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if err := json.NewEncoder(w).Encode(one); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		before = ","
	}
	if before == "[" {
		before = "[]"
	} else {
		before = "]"
	}
	_, err := io.WriteString(w, before+"\n")
	return err
}
