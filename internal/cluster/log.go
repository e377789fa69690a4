package cluster

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// LogFormat is how a program writes its log: LogText or LogJSON.
type LogFormat string

// The formats: one line, or one JSON object, for each message.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// MarshalText implements encoding.TextMarshaler, for flags.
func (f LogFormat) MarshalText() ([]byte, error) { return []byte(f), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *LogFormat) UnmarshalText(text []byte) error {
	switch got := LogFormat(text); got {
	case LogText, LogJSON:
		*f = got
		return nil
	}
	return fmt.Errorf("it is %s or %s", LogText, LogJSON)
}

// NewLogger returns the logger of a program. Every message, key and value that it
// writes can be shown, and is short, whatever foreign text it holds.
func NewLogger(w io.Writer, level slog.Leveler, format LogFormat) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: shown}
	if format == LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// shown is an attribute as it is logged.
func shown(_ []string, a slog.Attr) slog.Attr {
	a.Key = printable.Word(a.Key)
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(printable.Message(a.Value.String()))
	case slog.KindAny:
		if a.Key != slog.LevelKey {
			a.Value = slog.StringValue(printable.Message(textOf(a.Value.Any())))
		}
	}
	return a
}

// textOf returns v as slog.TextHandler has it.
func textOf(v any) string {
	switch v := v.(type) {
	case error:
		return fmt.Sprint(v) // which survives a nil pointer
	case []byte:
		return string(v)
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			return "!ERROR:" + err.Error()
		}
		return string(text)
	}
	return fmt.Sprintf("%+v", v)
}
