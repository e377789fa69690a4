// Command kubectl-steelyard is kubectl's plugin for Steelyard; in the PATH it
// is "kubectl steelyard". It reads the cluster once into a value, asks the same
// packages that decide in the controller and the speakers, and compares.
//
// Each subcommand has a file of its own and a line in commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways to log in that kubeconfigs name
)

// The exit codes, which scripts rely on.
const (
	exitFine   = 0
	exitFailed = 1 // the command could not do what it is for
	exitFound  = 2 // it could, and there is something to look at: a fault, a difference
)

// commands are all subcommands, in the order of the help text.
func commands(t *tool) []*cobra.Command {
	return []*cobra.Command{
		status(t),
		explain(t),
		simulate(t),
		lint(t),
		claims(t),
		sessions(t),
		move(t),
		rebalance(t),
		drain(t),
		undrain(t),
		doctors(t),
		migrates(t),
		versions(t),
	}
}

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	t := &tool{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), now: time.Now}
	t.colour = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	t.connect = t.dial
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := t.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// errFound ends a command that did its work with exitFound; its answer has
// said all there is to say.
var errFound = errors.New("there is something to look at")

// run runs one command line and returns its exit code.
func (t *tool) run(ctx context.Context, args []string) int {
	root := t.root()
	root.SetArgs(args)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return exitFine
	case errors.Is(err, errFound):
		return exitFound
	default:
		fmt.Fprintln(t.ErrOut, "error:", err)
		return exitFailed
	}
}

// root returns the command that has all others.
func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-steelyard",
		Short: "See what Steelyard does with your Services, and why",
		Long: `See what Steelyard does with your Services, and why.

Exit codes: 0 all is well, or nothing would change; 1 the command failed;
2 it found something to look at.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl steelyard"},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(t.In)
	root.SetOut(t.Out)
	root.SetErr(t.ErrOut)
	t.addFlags(root)
	root.AddCommand(commands(t)...)
	return root
}
