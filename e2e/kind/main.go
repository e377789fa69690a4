// Command kind-rack runs a Kubernetes cluster of kind's for tests on this machine:
// what rack does with network namespaces it does with containers, and real
// kubelets. It is a thin shell over package cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/kind/cluster"
	"github.com/steelyard-lb/steelyard/e2e/kind/engine"
	"github.com/steelyard-lb/steelyard/e2e/kind/images"
)

const usage = `kind-rack: a cluster of kind's on this machine, with a router and clients as containers beside its nodes

  kind-rack check                     print whether a container engine runs here, or could be started
  kind-rack images                    build the images that it needs, once; nothing is pulled from a registry
  kind-rack up [--workers 2] [--proxy nftables|iptables] [--images auto|published|built]
                                      make a cluster, and an engine if none runs; it stays. Its images are pulled
                                      (published), or those that "images" builds; auto pulls where that works
  kind-rack load ARCHIVE…             load image archives into every node
  kind-rack install [--chart]         load dist/*.tar and apply config/default, or install the Helm chart
  kind-rack exec HOST -- COMMAND…     run a command on a host
  kind-rack kubectl ARGS…             the real kubectl
  kind-rack kubeconfig                print the path of the administrator's kubeconfig
  kind-rack cut HOST | join HOST      unplug a host's cable at the switch, plug it in again
  kind-rack peers                     BGPPeer objects for the router
  kind-rack down [--purge]            remove all, and end the engine if it was started here; its images stay unless
                                      --purge removes them as well

Hosts: router, client, outside (behind the router), control, node1, node2, …; and switch, where the engine runs.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "kind-rack: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		fmt.Print(usage)
		return nil
	}
	commands := map[string]func(context.Context, []string) error{
		"check": check, "images": build, "up": up, "down": down, "load": load, "install": install, "exec": execute, "kubectl": kubectl,
		"kubeconfig": kubeconfig, "cut": cable("down"), "join": cable("up"), "peers": peers,
	}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("no command %q; \"kind-rack help\" lists them", args[0])
	}
	return command(ctx, args[1:])
}

// parse parses a command line that has flags and no words.
func parse(name string, args []string, define func(*flag.FlagSet)) error {
	flags := flag.NewFlagSet("kind-rack "+name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says it all
	define(flags)
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", flags.Name(), err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: unexpected %q", flags.Name(), flags.Arg(0))
	}
	return nil
}

// check fails where a cluster can't be, for want of a container engine.
func check(ctx context.Context, args []string) error {
	if err := parse("check", args, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	if _, err := engine.Find(ctx); err == nil {
		fmt.Println("a container engine runs")
		return nil
	}
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	if _, err := cluster.Engine(ctx, root, func(string, ...any) {}); err != nil {
		return err
	}
	fmt.Println("a container engine can be started")
	return engine.Stop()
}

func build(ctx context.Context, args []string) error {
	if err := parse("images", args, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	start := time.Now()
	b := images.Builder{Root: root, Log: func(format string, args ...any) {
		fmt.Printf("%6.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}}
	set, err := b.Build(ctx)
	if err != nil {
		return err
	}
	for _, a := range []images.Archive{set.Node, set.Router, set.Client} {
		fmt.Printf("%s   load it with: docker load -i %s\n", a.Name, a.Path)
	}
	return nil
}

func up(ctx context.Context, args []string) (err error) {
	o := cluster.Options{}
	if err := parse("up", args, func(f *flag.FlagSet) {
		f.StringVar(&o.Images, "images", "auto", "")
		f.IntVar(&o.Workers, "workers", 2, "")
		f.StringVar(&o.Proxy, "proxy", "nftables", "")
	}); err != nil {
		return err
	}
	if o.Root, err = cluster.Root(); err != nil {
		return err
	}
	_, err = cluster.Up(ctx, o, os.Stdout)
	return err
}

func down(ctx context.Context, args []string) error {
	purge := false
	if err := parse("down", args, func(f *flag.FlagSet) { f.BoolVar(&purge, "purge", false, "") }); err != nil {
		return err
	}
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	err = cluster.Down(ctx, root)
	if err == nil && purge {
		err = engine.Purge()
	}
	return err
}

func load(ctx context.Context, args []string) error {
	c, err := cluster.Open()
	if err != nil {
		return err
	}
	return c.Load(ctx, args...)
}

func install(ctx context.Context, args []string) error {
	chart := false
	if err := parse("install", args, func(f *flag.FlagSet) { f.BoolVar(&chart, "chart", false, "") }); err != nil {
		return err
	}
	c, err := cluster.Open()
	if err != nil {
		return err
	}
	if chart {
		return c.InstallChart(ctx)
	}
	return c.Install(ctx)
}

func execute(ctx context.Context, args []string) error {
	if len(args) < 3 || args[1] != "--" {
		return errors.New("want: exec HOST -- COMMAND…")
	}
	c, err := cluster.Open()
	if err != nil {
		return err
	}
	return become(c.Command(ctx, args[0], args[2:]...))
}

func kubectl(_ context.Context, args []string) error {
	c, err := cluster.Open()
	if err != nil {
		return err
	}
	cmd := exec.Command(c.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	return become(cmd)
}

func kubeconfig(_ context.Context, _ []string) error {
	c, err := cluster.Open()
	if err == nil {
		fmt.Println(c.Kubeconfig())
	}
	return err
}

// cable is the command that sets the switch's end of a cable to a state.
func cable(state string) func(context.Context, []string) error {
	return func(ctx context.Context, args []string) error {
		if len(args) != 1 {
			return errors.New("want one HOST")
		}
		c, err := cluster.Open()
		if err != nil {
			return err
		}
		return c.Cable(ctx, args[0], state)
	}
}

func peers(context.Context, []string) error {
	fmt.Print(cluster.Peers())
	return nil
}

// become turns this process into the command, which then has the terminal, the
// signals and the exit status to itself.
func become(cmd *exec.Cmd) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	return syscall.Exec(cmd.Path, cmd.Args, cmd.Environ())
}
