// Package logs makes the logs of the programs: what they write can be shown, and is short, whatever
// foreign text it holds.
package logs

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Format is how a program writes its log: Text or JSON.
type Format string

// The formats: one line, or one JSON object, for each message.
const (
	Text Format = "text"
	JSON Format = "json"
)

// MarshalText implements encoding.TextMarshaler, for flags.
func (f Format) MarshalText() ([]byte, error) { return []byte(f), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Format) UnmarshalText(text []byte) error {
	switch got := Format(text); got {
	case Text, JSON:
		*f = got
		return nil
	}
	return fmt.Errorf("it is %s or %s", Text, JSON)
}

// New returns the logger of a program. Every message, key and value that it
// writes can be shown, and is short, whatever foreign text it holds.
func New(w io.Writer, level slog.Leveler, format Format) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: shown}
	if format == JSON {
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
