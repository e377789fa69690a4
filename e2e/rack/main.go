// Command rack runs a Kubernetes cluster for tests on one Linux machine: each
// host is a network namespace. It is a thin shell over package lab.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

const usage = `rack: a Kubernetes cluster on this machine, each host a network namespace

  rack up [--nodes 3] [--router bird|frr|none] [--proxy nftables|iptables|other] [--no-steelyard]
          [--controllers 1] [--controller-flag FLAG]… [--speaker-flag FLAG]… [--relay]
          [--node-ports 20000-32767] [--control-planes 0] [--kubernetes 1.31]
                                      build a rack; returns when it is ready, and it stays
  rack exec HOST -- COMMAND…          run a command on a host, with kubectl at hand
  rack kubectl ARGS…                  the real kubectl
  rack kubeconfig                     print the path of the administrator's kubeconfig
  rack cut HOST | rack join HOST      unplug a host's cable at the switch, plug it in again
  rack delay 300ms | rack delay 0     slow down what passes between controllers and API server (up --relay)
  rack kill HOST PROCESS [--signal KILL]   send a signal; what dies stays dead until start
  rack start HOST PROCESS             start a dead process again
  rack ps                             the processes and how they are
  rack logs [HOST [PROCESS]] [-f]     what they wrote; Pods log as host "pods"
  rack pcap HOST [FILE] [-- FILTER…]  tcpdump on a host, to a file or as text
  rack probe HOST ADDRESS:PORT [--for 10s] [--every 10ms] [--timeout 250ms]
                                      connect again and again; draw when it worked
  rack babble HOST [--for 10s] [--malformed] -- ADDRESS:PORT…
                                      listen as a hostile BGP router, which sends nonsense in each state; --malformed:
                                      one of AS 64999 that any other takes for healthy, and passes its malformed
                                      attributes on
  rack flood HOST [--for 10s] [--rate N] [--as ADDRESS] -- ADDRESS:PORT…
                                      send forged datagrams from a host, N a second or as many as it can; --as: in the
                                      name of another host
  rack peers                          BGPPeer objects for the rack's router
  rack routes PREFIX                  what the router was offered for a prefix such as 203.0.113.10/32
  rack build IMAGE                    build a program, once: traefik, which Pods of that image run (others run agnhost), or a
                                      network plugin: kube-router, flannel, calico-node
  rack list                           the racks of this machine
  rack down [--all]                   end a rack and leave nothing behind

Each takes --name NAME, by default $RACK or else "rack"; racks of different names run side by side.
Hosts: switch, router, client, control, node1, node2, …, and outside, behind the router.
With --control-planes 3, node1 to node3 have a kube-apiserver each, and a process static, which announces 192.0.2.10 for them
(static.kubeconfig beside the administrator's leads there).
Replicas of the controller are controller, controller-2, … on host control, with metrics on 127.0.0.1:7472, :7473, ….

Example:
  rack up && rack kubectl create deployment web --image=web --replicas=3 && rack exec client -- ip addr
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "rack: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		fmt.Print(usage)
		return nil
	}
	commands := map[string]func(context.Context, *line) error{
		"up": up, "down": down, "list": list, "exec": execute, "kubectl": kubectl, "kubeconfig": kubeconfig,
		"cut": cut, "join": join, "delay": delay, "relay": relay, "kill": kill, "start": start, "ps": ps, "logs": logs, "pcap": pcap,
		"peers": peers, "routes": routes, "build": build, "probe": probe, "kubelet": kubelet, "dial": dial, "babble": babble, "babbler": babbler,
		"flood": flood, "flooder": flooder,
	}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("no command %q; \"rack help\" lists them", args[0])
	}
	return command(ctx, newLine(args[0], args[1:]))
}

// line is a command line to parse.
type line struct {
	flags *flag.FlagSet
	name  *string
	args  []string
}

func newLine(command string, args []string) *line {
	l := &line{flags: flag.NewFlagSet("rack "+command, flag.ContinueOnError), args: args}
	l.flags.SetOutput(io.Discard) // the error says it all
	l.name = l.flags.String("name", cmp.Or(os.Getenv("RACK"), "rack"), "")
	return l
}

// words parses flags before, between and after words. It checks that there are
// as many words as want names; those in [brackets] may be missing. The rest is what
// stands after "--".
func (l *line) words(want ...string) (words, rest []string, err error) {
	args := l.args
	if i := slices.Index(args, "--"); i >= 0 {
		args, rest = args[:i], args[i+1:]
	}
	for {
		if err := l.parse(args); err != nil {
			return nil, nil, err
		}
		args = l.flags.Args()
		if len(args) == 0 {
			break
		}
		words, args = append(words, args[0]), args[1:]
	}
	least := slices.IndexFunc(want, func(w string) bool { return strings.HasPrefix(w, "[") })
	if least < 0 {
		least = len(want)
	}
	if len(words) < least || len(words) > len(want) {
		return nil, nil, fmt.Errorf("want: %s %s", l.flags.Name(), strings.Join(want, " "))
	}
	for len(words) < len(want) {
		words = append(words, "")
	}
	return words, rest, nil
}

func (l *line) parse(args []string) error {
	err := l.flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(usage)
	} else if err != nil {
		return fmt.Errorf("%s: %w; \"rack help\" tells more", l.flags.Name(), err)
	}
	return err
}

// open parses the line and finds its rack.
func (l *line) open(want ...string) (r *lab.Rack, words, rest []string, err error) {
	if words, rest, err = l.words(want...); err != nil {
		return nil, nil, nil, err
	}
	r, err = lab.Open(*l.name)
	return r, words, rest, err
}

// become turns this process into the command, which then has the terminal, the
// signals and the exit status to itself.
func become(cmd *exec.Cmd) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	return syscall.Exec(cmd.Path, cmd.Args, cmd.Environ())
}
