package cluster

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// NewLogger returns the logger of a program. Every message, key and value that it
// writes can be shown, and is short, whatever foreign text it holds.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: shown}))
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
