package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// answer is what a command found. With -o json or yaml it is encoded, an object, with an
// envelope in front.
type answer interface {
	draw(*printer)
	clean() bool // there is nothing to look at
	kind() string
}

// named is an answer that lists objects, for -o name.
type named interface{ names() []string }

// envelope is what encoded answers have in common.
type envelope struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Result     string `json:"verdict"`
}

// answersVersion is the apiVersion of encoded answers. It changes when a field changes
// its meaning or goes, not when one comes.
const answersVersion = "plugin." + v1beta1.Group + "/v1beta1"

// The results, under the key verdict: those of the exit codes 0 and 2.
const (
	resultOK        = "OK"
	resultAttention = "Attention"
)

// encode encodes a in its envelope.
func encode(a answer) ([]byte, error) {
	e := envelope{answersVersion, a.kind(), resultOK}
	if !a.clean() {
		e.Result = resultAttention
	}
	head, err0 := json.Marshal(e)
	body, err1 := json.Marshal(a)
	if err := errors.Join(err0, err1); err != nil {
		return nil, err
	}
	if string(body) == "{}" {
		return head, nil
	}
	return slices.Concat(head[:len(head)-1], []byte(","), body[1:]), nil
}

func formats() []string { return []string{"table", "wide", "name", "json", "yaml"} }

// print writes a in the format that -o asks for.
func (t *tool) print(a answer) error {
	if _, printed := a.(silent); printed {
		return nil
	}
	return t.printAfter("", a)
}

// printAfter writes a after a text of our own.
func (t *tool) printAfter(before string, a answer) error {
	text, err := t.format(a)
	if err != nil {
		return err
	}
	text = append([]byte(before), text...)
	if _, err := t.Out.Write(text); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// format returns a in the format that -o asks for.
func (t *tool) format(a answer) ([]byte, error) {
	var text []byte
	var err error
	switch t.output {
	case "name":
		list, ok := a.(named)
		if !ok {
			return nil, errors.New("-o name: this command lists no objects; claims, services and sessions do")
		}
		for _, name := range list.names() {
			text = append(text, printable.Line(name)+"\n"...)
		}
	case "json":
		text, err = asJSON(a, pairEscape)
	case "yaml":
		if text, err = encode(a); err == nil {
			text, err = yaml.JSONToYAML(text) // which fails of some controls, and leaves others as they are
		}
		if err != nil || !canBeSeen(text) {
			text, err = asJSON(a, longEscape)
		}
	default:
		p := printer{color: t.color, wide: t.output == "wide"}
		a.draw(&p)
		text = []byte(p.String())
	}
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return text, nil
}

// asJSON encodes a, with all that can't be seen escaped.
func asJSON(a answer, beyond func(rune) string) ([]byte, error) {
	text, err := encode(a)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return nil, err
	}
	return append(escaped(out.Bytes(), beyond), '\n'), nil
}

// style is how a piece of text is meant.
type style string

// The styles, as ANSI escape codes (ECMA-48 section 8.3.117).
const (
	noStyle style = ""
	goodOne style = "32"
	warnOne style = "33"
	badOne  style = "31"
	strong  style = "1"
	faint   style = "2"
)

// code is what has a terminal change to the style.
func (s style) code() string { return "\x1b[" + string(s) + "m" }

// piece is a piece of text in one style. It is drawn printable and short.
type cell struct {
	text  string
	style style
}

func plain(text string) cell  { return cell{text, noStyle} }
func good(text string) cell   { return cell{text, goodOne} }
func warn(text string) cell   { return cell{text, warnOne} }
func bad(text string) cell    { return cell{text, badOne} }
func bold(text string) cell   { return cell{text, strong} }
func dimmed(text string) cell { return cell{text, faint} }

// plainf is plain with formatting.
func plainf(format string, args ...any) cell { return plain(fmt.Sprintf(format, args...)) }

// printer draws for people. The zero printer draws without colors.
type printer struct {
	strings.Builder
	color bool
	wide  bool // all columns
}

// line draws pieces, one after the other, and ends the line.
func (p *printer) line(pieces ...cell) {
	for _, x := range pieces {
		x.text = printable.Message(x.text)
		p.draw(x)
	}
	p.WriteByte('\n')
}

func (p *printer) draw(x cell) {
	if !p.color || x.style == noStyle || x.text == "" {
		p.WriteString(x.text)
		return
	}
	p.WriteString(x.style.code() + x.text + style("0").code())
}

// heading draws a title, after an empty line unless it is the first.
func (p *printer) heading(text string) {
	if p.Len() > 0 {
		p.WriteByte('\n')
	}
	p.line(bold(text))
}

// table draws rows whose columns stand under one another, two spaces apart, each
// line after the indent. Rows may be of different lengths.
func (p *printer) table(indent string, rows ...[]cell) {
	var widths []int
	for r, row := range rows {
		rows[r] = slices.Clone(row)
		for i, x := range row {
			x.text = printable.Message(x.text)
			rows[r][i] = x
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(x.text))
		}
	}
	for _, row := range rows {
		for len(row) > 0 && row[len(row)-1].text == "" {
			row = row[:len(row)-1] // no spaces at the end of a line
		}
		_, _ = io.WriteString(p, indent)
		for i, x := range row {
			p.draw(x)
			if i < len(row)-1 {
				p.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(x.text)+2))
			}
		}
		p.WriteByte('\n')
	}
}

// header is the first row of a table.
func header(names ...string) []cell {
	out := make([]cell, len(names))
	for i, n := range names {
		out[i] = bold(n)
	}
	return out
}
