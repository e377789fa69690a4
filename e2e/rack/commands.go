package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
	"golang.org/x/sys/unix"
)

func up(ctx context.Context, l *line) error {
	var o lab.Options
	l.flags.IntVar(&o.Nodes, "nodes", 3, "")
	l.flags.StringVar(&o.Router, "router", "bird", "")
	l.flags.StringVar(&o.Proxy, "proxy", "nftables", "")
	l.flags.StringVar(&o.Kubernetes, "kubernetes", "", "")
	l.flags.BoolVar(&o.NoSteelyard, "no-steelyard", false, "")
	l.flags.IntVar(&o.Controllers, "controllers", 1, "")
	l.flags.IntVar(&o.ControlPlanes, "control-planes", 0, "")
	l.flags.BoolVar(&o.Relay, "relay", false, "")
	l.flags.StringVar(&o.NodePorts, "node-ports", "", "")
	l.flags.Func("controller-flag", "", func(flag string) error {
		o.ControllerFlags = append(o.ControllerFlags, flag)
		return nil
	})
	l.flags.Func("speaker-flag", "", func(flag string) error {
		o.SpeakerFlags = append(o.SpeakerFlags, flag)
		return nil
	})
	if _, _, err := l.words(); err != nil {
		return err
	}
	o.Name = *l.name
	r, err := lab.Up(ctx, o, os.Stdout)
	if err != nil {
		return err
	}
	fmt.Printf("\nKUBECONFIG=%s   (reached from the rack's hosts: rack kubectl, rack exec)\n\n", r.Kubeconfig())
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tIPV4\tIPV6")
	for _, h := range r.Hosts() {
		switch {
		case !h.V4.IsValid():
			fmt.Fprintf(t, "%s\t-\t-\n", h.Name)
		default:
			fmt.Fprintf(t, "%s\t%s\t%s\n", h.Name, h.V4, h.V6)
		}
	}
	return t.Flush()
}

// build needs no rack: what it builds serves all.
func build(ctx context.Context, l *line) error {
	words, _, err := l.words("IMAGE")
	if err != nil {
		return err
	}
	path, err := lab.BuildImage(ctx, words[0], os.Stderr)
	if err != nil {
		return err
	}
	fmt.Println(path)
	return nil
}

func down(_ context.Context, l *line) error {
	all := l.flags.Bool("all", false, "")
	if _, _, err := l.words(); err != nil {
		return err
	}
	names := []string{*l.name}
	if *all {
		names = lab.List()
	}
	var failed []error
	for _, name := range names {
		if there := lab.List(); !slices.Contains(there, name) {
			fmt.Printf("there is no rack named %s, nor remains of one\n", name)
		}
		failed = append(failed, lab.Down(name))
	}
	return errors.Join(failed...)
}

func list(_ context.Context, l *line) error {
	if _, _, err := l.words(); err != nil {
		return err
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, name := range lab.List() {
		r, err := lab.Open(name)
		switch {
		case err != nil:
			fmt.Fprintf(t, "%s\thalf dead: run rack down --name %[1]s\n", name)
		case !r.Ready:
			fmt.Fprintf(t, "%s\thalf up\n", name)
		default:
			fmt.Fprintf(t, "%s\tup\t%d nodes\trouter %s\tkube-proxy %s\n", name, r.Nodes, r.Router, r.Proxy)
		}
	}
	return t.Flush()
}

// execute reads flags before the host only: what follows is the command's.
func execute(ctx context.Context, l *line) error {
	if err := l.parse(l.args); err != nil {
		return err
	}
	args := l.flags.Args()
	if len(args) > 1 && args[1] == "--" {
		args = append(args[:1:1], args[2:]...)
	}
	if len(args) < 2 {
		return errors.New("want: rack exec [--name NAME] HOST -- COMMAND…")
	}
	r, err := lab.Open(*l.name)
	if err != nil {
		return err
	}
	return become(r.Command(ctx, args[0], args[1:]...))
}

// kubectl reads only --name, and only when it comes first.
func kubectl(ctx context.Context, l *line) error {
	args := l.args
	switch {
	case len(args) > 0 && strings.HasPrefix(args[0], "--name="):
		*l.name, args = strings.TrimPrefix(args[0], "--name="), args[1:]
	case len(args) > 1 && args[0] == "--name":
		*l.name, args = args[1], args[2:]
	}
	r, err := lab.Open(*l.name)
	if err != nil {
		return err
	}
	return become(r.Command(ctx, "control", append([]string{"kubectl"}, args...)...))
}

func kubeconfig(_ context.Context, l *line) error {
	r, _, _, err := l.open()
	if err != nil {
		return err
	}
	fmt.Println(r.Kubeconfig())
	return nil
}

func cut(_ context.Context, l *line) error {
	r, words, _, err := l.open("HOST")
	if err != nil {
		return err
	}
	return r.Cut(words[0])
}

func join(_ context.Context, l *line) error {
	r, words, _, err := l.open("HOST")
	if err != nil {
		return err
	}
	return r.Join(words[0])
}

func delay(_ context.Context, l *line) error {
	r, words, _, err := l.open("TIME")
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(words[0])
	if err != nil {
		return fmt.Errorf("%q: want a time such as 300ms, or 0", words[0])
	}
	return r.Delay(d)
}

func kill(_ context.Context, l *line) error {
	name := l.flags.String("signal", "KILL", "")
	r, words, _, err := l.open("HOST", "PROCESS")
	if err != nil {
		return err
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(*name), "SIG"))
	if sig == 0 {
		return fmt.Errorf("no signal is called %q; KILL, TERM, STOP, CONT, HUP, … are", *name)
	}
	return r.Kill(words[0], words[1], sig)
}

func start(_ context.Context, l *line) error {
	r, words, _, err := l.open("HOST", "PROCESS")
	if err != nil {
		return err
	}
	return r.Start(words[0], words[1])
}

func ps(_ context.Context, l *line) error {
	r, _, _, err := l.open()
	if err != nil {
		return err
	}
	all, err := r.Processes()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tPROCESS\tPID\tSTATE")
	for _, p := range all {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", p.Host, p.Name, p.PID, p.State())
	}
	return t.Flush()
}

func logs(ctx context.Context, l *line) error {
	follow := l.flags.Bool("f", false, "")
	r, words, _, err := l.open("[HOST]", "[PROCESS]")
	if err != nil {
		return err
	}
	files, err := r.Logs(words[0], words[1])
	if err != nil {
		return err
	}
	tail := exec.CommandContext(ctx, "tail", append([]string{"-n", "+1"}, files...)...)
	if *follow {
		tail.Args = append(tail.Args, "-F")
	}
	tail.Env = os.Environ()
	return become(tail)
}

func pcap(ctx context.Context, l *line) error {
	r, words, filter, err := l.open("HOST", "[FILE]")
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("tcpdump"); err != nil {
		return errors.New("not found: tcpdump; on Debian: apt-get install -y tcpdump")
	}
	argv := []string{"tcpdump", "-nn", "-i", "eth0"}
	if words[0] == "switch" {
		argv[3] = "br0"
	}
	if words[1] == "" {
		argv = append(argv, "-l")
	} else {
		file, err := filepath.Abs(words[1])
		if err != nil {
			return fmt.Errorf("find %s: %w", words[1], err)
		}
		argv = append(argv, "-U", "-Z", "root", "-w", file) // as another user it could not write there
	}
	return become(r.Command(ctx, words[0], append(argv, filter...)...))
}

func peers(_ context.Context, l *line) error {
	r, _, _, err := l.open()
	if err != nil {
		return err
	}
	if r.Router == "none" {
		return fmt.Errorf("rack %s has no router that speaks BGP", r.Name)
	}
	fmt.Print(r.Peers())
	return nil
}

// routes prints what the router was offered for a prefix, in its own words.
func routes(ctx context.Context, l *line) error {
	r, words, _, err := l.open("PREFIX")
	if err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(words[0])
	if err != nil {
		return fmt.Errorf("%q is no prefix such as 203.0.113.10/32", words[0])
	}
	argv, err := r.RoutesCommand(prefix)
	if err != nil {
		return err
	}
	return become(r.Command(ctx, "router", argv...))
}

// relay is what host control runs between the controllers and the API server;
// it is not for people.
func relay(ctx context.Context, l *line) error {
	if _, _, err := l.words(); err != nil {
		return err
	}
	return lab.RunRelay(ctx, *l.name, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// kubelet is what host control runs for the nodes; it is not for people.
func kubelet(ctx context.Context, l *line) error {
	if _, _, err := l.words(); err != nil {
		return err
	}
	if err := lab.RunKubelet(ctx, *l.name, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
