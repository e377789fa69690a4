package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

type stringer struct{ s string }

func (s stringer) String() string { return s.s }

// TestALogLineIsShortAndCanBeShown logs the same text by all ways there are.
func TestALogLineIsShortAndCanBeShown(t *testing.T) {
	long := "\x1b[2J" + strings.Repeat("\x01", 255000) + "\u202e\r\n\u2028"
	for name, log := range map[string]func(*slog.Logger, string){
		"a value":              func(l *slog.Logger, s string) { l.Info("m", "k", s) },
		"a key":                func(l *slog.Logger, s string) { l.Info("m", s, 1) },
		"the message":          func(l *slog.Logger, s string) { l.Info(s) },
		"an error":             func(l *slog.Logger, s string) { l.Info("m", "err", fmt.Errorf("read: %w", errors.New(s))) },
		"a list":               func(l *slog.Logger, s string) { l.Info("m", "k", []string{"a", s}) },
		"bytes":                func(l *slog.Logger, s string) { l.Info("m", "k", []byte(s)) },
		"a struct":             func(l *slog.Logger, s string) { l.Info("m", "k", struct{ A string }{s}) },
		"a Stringer":           func(l *slog.Logger, s string) { l.Info("m", "k", stringer{s}) },
		"in a group":           func(l *slog.Logger, s string) { l.WithGroup("g").Info("m", slog.Group("h", "k", s)) },
		"said once for all":    func(l *slog.Logger, s string) { l.With("k", s).Info("m") },
		"controller-runtime's": func(l *slog.Logger, s string) { logr.FromSlogHandler(l.Handler()).Error(errors.New(s), s, "k", s) },
		"klog's": func(l *slog.Logger, s string) {
			klog.SetSlogLogger(l)
			defer klog.ClearLogger()
			klog.Infof("%s", s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, format := range []Format{Text, JSON} {
				var out bytes.Buffer
				log(New(&out, slog.LevelInfo, format), long)
				line := strings.TrimSuffix(out.String(), "\n")
				if !printable.Is(line) {
					t.Errorf("%s: it can't be shown: %.200q", format, line)
				}
				if n := len(line); n > 8*printable.MaxMessage || n < 50 {
					t.Errorf("%s: it has %d bytes", format, n)
				}
				if format == JSON && !json.Valid([]byte(line)) {
					t.Errorf("no JSON: %.200q", line)
				}
			}
		})
	}
}

// TestNothingElseChangesInTheLog compares with the handler of package slog.
func TestNothingElseChangesInTheLog(t *testing.T) {
	var have, want bytes.Buffer
	write := func(l *slog.Logger) {
		l.Warn("an address", "addr", netip.MustParseAddr("10.0.0.1"), "list", []netip.Addr{netip.MustParseAddr("::1")}, "n", 3, "for", time.Second,
			"err", errors.New("a \"b\""), "none", nil, "at", time.Unix(7, 0).UTC(), "level", slog.LevelInfo, "s", `C:\x`, "struct", struct{ A, B int }{1, 2},
			slog.Group("g", "nothing", error((*nilError)(nil))))
	}
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	write(slog.New(slog.NewTextHandler(&want, &slog.HandlerOptions{ReplaceAttr: noTime})))
	write(New(&have, slog.LevelInfo, Text))
	_, line, _ := strings.Cut(have.String(), " ")
	if line != want.String() {
		t.Errorf("have %swant %s", line, want.String())
	}
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestALogHasLevelsAndNumbersAsJSON(t *testing.T) {
	var format Format
	if err := format.UnmarshalText([]byte("xml")); err == nil {
		t.Error("xml is a format")
	}
	if err := format.UnmarshalText([]byte("json")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	New(&out, slog.LevelInfo, format).Warn("can't send", "peer", "tor", "routes", 3)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["level"] != "WARN" || line["msg"] != "can't send" || line["peer"] != "tor" || line["routes"] != 3.0 || line["time"] == nil {
		t.Errorf("%v", line)
	}
}
