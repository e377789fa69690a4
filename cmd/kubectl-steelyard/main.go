// Command kubectl-steelyard is kubectl's plugin for Steelyard; in the PATH it
// is "kubectl steelyard". It reads the cluster once into a value, asks the same
// packages that decide in the controller and the speakers, and compares.
//
// Each subcommand has a file of its own and a line in commands. Files of objects (-f) are
// read by our own code, not by cli-runtime's FilenameOptions: that forgets on which line
// a document and its fields stand, which lint tells as FILE:LINE.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways to log in that kubeconfigs name
	"k8s.io/klog/v2"
)

// The exit codes, which scripts rely on.
const (
	exitFine   = 0
	exitFailed = 1 // the command could not do what it is for
	exitFound  = 2 // it could, and there is something to look at: a fault, a difference
)

// group is a part of the commands, for the help text.
type group struct {
	title    string
	commands []*cobra.Command
}

// commands are all subcommands, in the parts of the help text.
func commands(t *tool) []group {
	return []group{
		{"See what is", []*cobra.Command{status(t), explain(t), services(t), claims(t), sessions(t), routes(t), remembers(t), doctors(t), exports(t), versions(t)}},
		{"Try what would be", []*cobra.Command{simulate(t), lint(t), migrates(t)}},
		{"Change what is", []*cobra.Command{move(t), rebalance(t), drain(t), undrain(t), renumber(t), reserve(t), pin(t), release(t)}},
	}
}

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	t := &tool{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), now: time.Now}
	t.color = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	t.connect, t.ask = t.dial, t.forward
	klog.SetLogger(logr.Discard()) // the command prints errors, once
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
	t.Out, t.ErrOut = terminal{t.Out}, terminal{t.ErrOut}
	root := t.root()
	root.SetArgs(args)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return exitFine
	case errors.Is(err, errFound):
		return exitFound
	default:
		t.printError("error: " + explainError(err).Error())
		return exitFailed
	}
}

// explainError adds to an error whether reaching the cluster failed, not the command itself.
func explainError(err error) error {
	var way *url.Error
	switch {
	case errors.As(err, &way):
		return fmt.Errorf("reach the cluster: %w; is it the right one (--context, --kubeconfig)?", way)
	case apierrors.IsUnauthorized(err):
		return errors.New("the cluster does not know you, or not any more (Unauthorized): log in again, or see --context")
	}
	return err
}

// root returns the command that has all others.
func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-steelyard",
		Short: "See what Steelyard does with your Services, and why",
		Long: `See what Steelyard does with your Services, and why.

Exit codes: 0 all is well, or nothing would change; 1 the command failed;
2 it found something to look at.

With -o json or yaml each answer is an object of ` + answersVersion + `:
its kind tells the command, and its verdict is OK (exit code 0) or Attention (2).`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl steelyard"},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(t.In)
	root.SetOut(t.Out)
	root.SetErr(t.ErrOut)
	root.SetFlagErrorFunc(usageError)
	t.addFlags(root)
	for _, g := range commands(t) {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	return root
}
