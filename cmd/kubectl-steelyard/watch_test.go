package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestWatchPrintsWhatIsNew(t *testing.T) {
	for _, c := range []struct {
		name   string
		output string
		color  bool
		want   string
	}{
		{"a table", "table", false, "nothing is announced|\n\nclaimed|"},
		{"data", "json", false, `{"apiVersion": "plugin.steelyard.dev/v1beta1","kind": "ClaimReport","verdict": "OK","claims": []}|` +
			`{"apiVersion": "plugin.steelyard.dev/v1beta1","kind": "ClaimReport","verdict": "Attention","claims": [{"address": "192.0.2.1","node": "","answers": "","announced": false}]}|`},
		{"a terminal", "table", true, strings.Repeat(clearScreen+"nothing is announced|", 3) + strings.Repeat(clearScreen+"claimed|", 3)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				tool := &tool{IOStreams: genericiooptions.IOStreams{Out: terminal{&out}, ErrOut: terminal{&out}}, output: c.output, color: c.color}
				read := 0
				cmd := tool.watchable(&cobra.Command{}, func(context.Context, []string) (answer, error) {
					if read++; read <= 3 {
						return claimList{Claims: []claim{}}, nil
					}
					return claimList{Claims: []claim{{Address: "192.0.2.1"}}}, nil
				})
				cmd.SilenceErrors, cmd.SilenceUsage = true, true
				cmd.SetArgs([]string{"--watch"})
				ctx, stop := context.WithTimeout(t.Context(), 6*watchEvery-time.Millisecond)
				defer stop()
				if err := cmd.ExecuteContext(ctx); err != errFound {
					t.Errorf("it ended with %v, want that there is something to look at", err)
				}
				got := strings.NewReplacer("no address is claimed on the local network\n", "nothing is announced|", "ADDRESS    NODE  ANNOUNCED  LINKS  SINCE  SERVICES  WHY\n192.0.2.1        no\n", "claimed|").
					Replace(strings.NewReplacer("\x1b[1m", "", "\x1b[31m", "", "\x1b[0m", "").Replace(out.String()))
				if c.output == "json" {
					got = strings.NewReplacer("\n}\n", "}|", "\n", "", "  ", "").Replace(got)
				}
				if got != strings.ReplaceAll(c.want, "|\n\n", "|\n") {
					t.Errorf("it printed\n%q, want\n%q", got, c.want)
				}
			})
		})
	}
}
