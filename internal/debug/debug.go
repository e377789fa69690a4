// Package debug serves the addresses that a node announces, and the routes that it has sent,
// to tools on that node.
package debug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/serving"
)

// Server serves what this node announces. It works without the API server.
type Server struct {
	Addr     string // loopback
	Links    *layer2.Announcer
	Sessions Sessions
	Log      *slog.Logger
}

// announcement is one address in the answer.
type announcement struct {
	Address string       `json:"address"`
	State   layer2.State `json:"state"`
	Links   []string     `json:"links"`
	Foreign []foreign    `json:"foreign,omitempty"`
}

// foreign is a foreign host that has the address.
type foreign struct {
	MAC  string `json:"mac"`
	Link string `json:"link"`
}

// Run serves until ctx ends.
func (d Server) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d.Addr)
	if err != nil {
		return fmt.Errorf("listen for --debug-bind-address: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/announcements", d.announcements)
	mux.HandleFunc("GET /debug/routes", (&routes{Sessions: d.Sessions, log: d.Log}).ServeHTTP)
	server := &http.Server{Handler: serving.OnlyFor(nil, mux), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // Serve returns the error
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", d.Addr, err)
	}
	return nil
}

func (d Server) announcements(w http.ResponseWriter, _ *http.Request) {
	out := []announcement{}
	for _, s := range d.Links.Addresses() {
		a := announcement{Address: s.Addr.String(), State: s.State, Links: append([]string{}, s.Links...)}
		for _, f := range s.Foreign {
			a.Foreign = append(a.Foreign, foreign{MAC: f.MAC.String(), Link: f.Link})
		}
		out = append(out, a)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		d.Log.Debug("can't answer /debug/announcements", "err", err)
	}
}
