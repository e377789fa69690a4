package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

// hostile is what a tenant may write into an annotation, or a stolen speaker's
// token into a status.
const hostile = "\x1b[2J\x1b]0;x\x07\u009b31m\u202e\x7fé\n\rok\U000e0041"

// foreignAnswer holds foreign text in each way that answers draw it.
type foreignAnswer struct {
	Text string `json:"text"`
}

func (a foreignAnswer) kind() string { return "Foreign" }

func (a foreignAnswer) clean() bool { return true }

func (a foreignAnswer) names() []string { return []string{a.Text} }

func (a foreignAnswer) draw(p *printer) {
	p.heading(a.Text)
	p.line(bad(a.Text), plain(" end"))
	p.table("  ", header("A", "B"), []cell{plain(a.Text), good(a.Text)}, []cell{plain("b"), plain("c")})
	p.WriteString(a.Text) // what forgets to use a piece
}

// printed returns what is printed of foreignAnswer.
func printed(t *testing.T, format, text string, color bool) string {
	t.Helper()
	var out bytes.Buffer
	p := &tool{IOStreams: genericiooptions.IOStreams{Out: terminal{&out}, ErrOut: terminal{&out}}, output: format, color: color}
	if err := p.print(foreignAnswer{text}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestATerminalGetsNothingThatItObeys(t *testing.T) {
	for _, format := range formats() {
		for _, color := range []bool{false, true} {
			got := printed(t, format, hostile, color)
			for _, s := range []style{"0", goodOne, badOne, strong} {
				if color {
					got = strings.ReplaceAll(got, s.code(), "")
				}
			}
			if strings.ContainsAny(got, "\x1b\x07\u009b\u202e\x7f\r\U000e0041") || !strings.Contains(got, "é") {
				t.Errorf("%s, color %t: %q", format, color, got)
			}
		}
	}
}

func TestEncodedAnswersHoldTheSameText(t *testing.T) {
	var fromJSON, fromYAML foreignAnswer
	if err := json.Unmarshal([]byte(printed(t, "json", hostile, false)), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(printed(t, "yaml", hostile, false)), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{hostile, hostile}, []string{fromJSON.Text, fromYAML.Text}); diff != "" {
		t.Error(diff)
	}
}

func TestATableOfLongTextsIsShort(t *testing.T) {
	if got := printed(t, "table", strings.Repeat("\x01", 255000), false); len(strings.Split(got, "\n")[0]) > 1100 {
		t.Errorf("a heading has %d bytes", len(strings.Split(got, "\n")[0]))
	}
}

func TestAnErrorIsShortAndHarmless(t *testing.T) {
	var out bytes.Buffer
	p := &tool{IOStreams: genericiooptions.IOStreams{ErrOut: terminal{&out}}}
	p.printError(errors.Join(errors.New("first"), errors.New(hostile), errors.New(strings.Repeat("\x02", 300000)), errors.New(strings.Repeat("x\n", 50))).Error())
	if got := out.String(); !strings.HasPrefix(got, "first\n") || strings.ContainsAny(got, "\x1b\u009b\u202e\x02\r") || len(got) > 4000 || strings.Count(got, "\n") > maxLines+1 {
		t.Errorf("%d bytes: %.300q", len(got), got)
	}
}
