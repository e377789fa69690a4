package speak

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	gobgplog "github.com/osrg/gobgp/v3/pkg/log"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// logger is what a gobgp server logs to. It picks out why a session fails,
// which gobgp says nowhere else, and passes the rest on; sessions going up and
// down are for the listener to log. It is called with locks of gobgp held and never
// calls back.
type logger struct {
	log *slog.Logger
	to  atomic.Pointer[hearing] // nil: the server is not in use
}

// hearing is one use of a server, from Start to Stop.
type hearing struct {
	Listener
	peer    announce.Peer
	up      atomic.Bool // Established
	crashed atomic.Bool
	told    atomic.Bool // why the present state is about to end
}

func (l *logger) hear(p announce.Peer, to Listener) *hearing {
	h := &hearing{Listener: to, peer: p}
	l.to.Store(h)
	return h
}

// deafen ends the hearing and reports whether the server has crashed in it.
func (l *logger) deafen() bool {
	h := l.to.Swap(nil)
	return h != nil && h.crashed.Load()
}

var _ gobgplog.Logger = (*logger)(nil)

// Panic and Fatal must not end the process, as gobgp expects: the session gets
// a new server.
func (l *logger) Panic(msg string, fields gobgplog.Fields) { l.crash(msg, fields) }

// Fatal does as Panic.
func (l *logger) Fatal(msg string, fields gobgplog.Fields) { l.crash(msg, fields) }

func (l *logger) Error(msg string, fields gobgplog.Fields) { l.pass(slog.LevelError, msg, fields) }
func (l *logger) Warn(msg string, fields gobgplog.Fields)  { l.pass(slog.LevelWarn, msg, fields) }
func (l *logger) Info(msg string, fields gobgplog.Fields)  { l.pass(slog.LevelDebug, msg, fields) }
func (l *logger) Debug(msg string, fields gobgplog.Fields) { l.pass(slog.LevelDebug, msg, fields) }

// SetLevel does nothing: slog's handler decides.
func (l *logger) SetLevel(gobgplog.LogLevel) {}

// GetLevel asks for the debug lines while the session is down, since failed
// attempts to connect are told in those only. While it is up they are about
// every single UPDATE, and cost time to put together.
func (l *logger) GetLevel() gobgplog.LogLevel {
	if to := l.to.Load(); to == nil || to.up.Load() {
		return gobgplog.InfoLevel
	}
	return gobgplog.DebugLevel
}

func (l *logger) crash(msg string, fields gobgplog.Fields) {
	l.write(slog.LevelError, msg, fields)
	if to := l.to.Load(); to != nil {
		to.crashed.Store(true)
		to.Crashed("the BGP server failed and is restarted: " + msg)
	}
}

func (l *logger) pass(level slog.Level, msg string, fields gobgplog.Fields) {
	if strings.HasPrefix(msg, "No matching path for withdraw found") || msg == "prefix limit reached" {
		return // one for each route of the router that we refused, when its session ends; one for each beyond the limit
	}
	if to := l.to.Load(); to == nil || to.tell(msg, fields) {
		level = slog.LevelDebug // the server is being stopped, or the listener logs it
	}
	l.write(level, msg, fields)
}

// tell tells the listener what a line says about the session, and reports
// whether that was anything.
func (h *hearing) tell(msg string, fields gobgplog.Fields) bool {
	if msg == "state changed" && h.told.Swap(false) {
		return false // an earlier line knew better
	}
	n := words(h.peer, msg, fields)
	switch {
	case n.why == "":
		return false
	case n.unreached:
		h.Unreached(n.why)
	default:
		h.told.Store(true)
		h.Failed(n.why, n.cause)
	}
	return true
}

func (l *logger) write(level slog.Level, msg string, fields gobgplog.Fields) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, len(fields))
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		attrs = append(attrs, slog.Any(strings.ToLower(k), fields[k]))
	}
	l.log.LogAttrs(ctx, level, "gobgp: "+msg, attrs...)
}
