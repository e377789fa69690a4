package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// story has the commands of a story, beside those of testscript:
//
//	kubectl ARGS…             the real kubectl, in the story's namespace
//	steelyard ARGS…           the plugin kubectl-steelyard, in the story's namespace
//	rack ARGS…                what bin/rack does with the story's rack: cut, join, kill, start; on kind's
//	                          cluster only the controller is killed and started
//	on HOST COMMAND…          run a command on a host
//	curl HOST ADDRESS:PORT PATH    an HTTP request from a host, with a new connection
//	says [SERVICE]            a line for each Service, or for one: name, addresses, reason, message
//	events OBJECT             a line for each event of an object: reason, message, count if repeated;
//	                          of one that is in no namespace: KIND/OBJECT
//	active VAR                wait for the active controller; $VAR is it, $VAR_METRICS where its metrics are
//	address VAR SERVICE 4|6   wait for an address of the Service; $VAR is it, ready for a URL
//	get VAR OBJECT JSONPATH   $VAR becomes a field of an object, which must not be empty
//	record HOST               listen, from now on, to what is said to a host by ARP and NDP
//	holders ADDRESS           the MACs that said they have the address since record
//	turns ADDRESS             the same in the order in which they did, each as often as it began to
//	crossings HOST ADDRESS    send a UDP packet of TTL 255 to a closed port of an address; how often it, or an
//	                          ICMP error about it, crosses the router's link to the nodes
//	press HOST ADDRESS:PORT   connect 200 times a second, from now on, from a host that forgets its neighbors all the time
//	pressed                   end that: how many connections were answered, and how many were not
//	traffic HOST ADDRESS:PORT open a connection after the other from a host, from now on
//	traffic HOST SERVICE:PORT for TIME
//	                          the same to the first address in a Service's status, which the client uses for so long
//	answered                  end all traffic: not one connection may have failed
//	upgrade TIME              stop one speaker after the other, and start it a time later; wait for its sessions
//	releases [both]           make the release $TO (and $FROM before it), in $RELEASES, and serve it at $REGISTRY
//	helm ARGS…                the real Helm
//	olm NAMESPACE RELEASE     apply the bundle of a release as OLM would, in the place of the one before; its examples
//	                          are in examples.json
//	told SERVICE REASON       wait until all who tell of a Service's announcement give that reason (condition, event, metric,
//	                          page, plugin); Announced: until all say that it is announced
//	eventually [TIME] PATTERN COMMAND…    run one of the above until its output matches
//	always TIME PATTERN COMMAND…          … and check that it matches for all that time
//
// With "!" in front, kubectl, steelyard, rack, on, curl, says and events must fail, and eventually waits
// for output that does not match, or for a failure.
type story struct {
	stage
	namespace string
	heard     *capture // by record; nil before
	pressing  *press   // by press; nil before
	traffic   []*exec.Cmd
	resolving []*resolving
	bundle    clusterServiceVersion // by olm; zero before
}

// timeout is how long eventually waits by default. It is long
// because the machine may be slow; stories that care measure against a floor.
const timeout = 40 * time.Second

// command is a command of a story.
type command = func(*testscript.TestScript, bool, []string)

func (s *story) commands() map[string]command {
	all := map[string]command{"eventually": s.eventually, "always": s.always, "address": s.address, "get": s.get, "active": s.active, "record": s.record, "traffic": s.begin, "answered": s.answered, "upgrade": s.upgrade, "releases": s.releases, "helm": s.helm, "olm": s.olm}
	all["holders"], all["turns"] = s.heardOf((*capture).holders), s.heardOf((*capture).handovers)
	all["crossings"] = s.crossings
	all["told"] = s.toldEverywhere
	all["press"], all["pressed"] = s.press, s.pressed
	for _, name := range []string{"kubectl", "steelyard", "rack", "on", "curl", "says", "events"} {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			s.check(ts, neg, append([]string{name}, args...))
		}
	}
	return all
}

// check runs a command and fails the story if it ends otherwise than wanted.
// Its output is what stdout and stderr look at.
func (s *story) check(ts *testscript.TestScript, neg bool, command []string) {
	o := s.look(ts, command)
	fmt.Fprint(ts.Stdout(), o.stdout)
	fmt.Fprint(ts.Stderr(), o.stderr)
	if o.err != nil && !neg {
		ts.Fatalf("%s: %v", strings.Join(command, " "), o.err)
	}
	if o.err == nil && neg {
		ts.Fatalf("%s: succeeded, and should not", strings.Join(command, " "))
	}
}

// arguments turns a command of a story into a command line.
func (s *story) arguments(ts *testscript.TestScript, command []string) []string {
	args := command[1:]
	switch {
	case command[0] == "kubectl":
		return s.line("kubectl", slices.Concat([]string{"--namespace", s.namespace}, args)...)
	case command[0] == "steelyard":
		return s.line("steelyard", slices.Concat(args, []string{"--namespace", s.namespace})...)
	case command[0] == "says" && len(args) < 2:
		fields := `{range .items[*]}{.metadata.name} {.status.loadBalancer.ingress[*].ip} {.status.conditions[?(@.type=="steelyard.dev/Allocated")].reason} {.status.conditions[?(@.type=="steelyard.dev/Allocated")].message}{"\n"}{end}`
		get := []string{"kubectl", "get", "services", "-o", "jsonpath=" + fields}
		for _, a := range args {
			get = append(get, "--field-selector", "metadata.name="+a)
		}
		return s.arguments(ts, get)
	case command[0] == "events" && len(args) == 1:
		fields := `{range .items[*]}{.reason} {.message} {.series.count}{"\n"}{end}`
		get := []string{"kubectl", "get", "events", "-o", "jsonpath=" + fields, "--field-selector"}
		if kind, name, ok := strings.Cut(args[0], "/"); ok {
			return s.arguments(ts, append(get, "involvedObject.kind="+kind+",involvedObject.name="+name, "--namespace", "default"))
		}
		return s.arguments(ts, append(get, "involvedObject.name="+args[0]))
	case command[0] == "rack" && len(args) > 0:
		return s.line(args[0], slices.Clone(args[1:])...)
	case command[0] == "on" && len(args) > 1:
		return s.line("exec", slices.Concat([]string{args[0], "--"}, args[1:])...)
	case command[0] == "curl" && len(args) == 3:
		return s.line("exec", args[0], "--", "curl", "-gsS", "--max-time", "2", "http://"+args[1]+args[2])
	}
	ts.Fatalf("unknown command, or arguments missing: %q", command)
	return nil
}

// rack is the story's rack, for what only a rack can do.
func (s *story) rack(ts *testscript.TestScript) *lab.Rack {
	name, ok := s.stage.(rackStage)
	if !ok {
		ts.Fatalf("only a rack can do that")
	}
	r, err := lab.Open(string(name))
	ts.Check(err)
	return r
}

// outcome is how one run of a command ended.
type outcome struct {
	stdout, stderr string
	err            error
}

func (o outcome) String() string {
	return fmt.Sprintf("the last output was\n%s%s%v", o.stdout, o.stderr, o.err)
}

// look runs a command without a trace in the story's log.
func (s *story) look(ts *testscript.TestScript, command []string) outcome {
	line := s.arguments(ts, command)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return outcome{s.translated(stdout.String()), s.translated(stderr.String()), err}
}

// until looks again and again until what it sees is good, and returns that.
func (s *story) until(ts *testscript.TestScript, limit time.Duration, command []string, good func(outcome) bool) outcome {
	start := time.Now()
	for {
		o := s.look(ts, command)
		if good(o) {
			ts.Logf("after %.1fs", time.Since(start).Seconds())
			return o
		}
		if time.Since(start) > limit {
			ts.Fatalf("%s: not after %s; %s", strings.Join(command, " "), limit, o)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *story) eventually(ts *testscript.TestScript, neg bool, args []string) {
	limit := timeout
	if d, err := time.ParseDuration(args[0]); err == nil {
		limit, args = d, args[1:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: [!] eventually [TIME] PATTERN COMMAND…")
	}
	pattern := regexp.MustCompile(args[0])
	s.until(ts, limit, args[1:], func(o outcome) bool { return neg != (o.err == nil && pattern.MatchString(o.stdout)) })
}

func (s *story) always(ts *testscript.TestScript, neg bool, args []string) {
	limit, err := time.ParseDuration(args[0])
	if neg || err != nil || len(args) < 3 {
		ts.Fatalf("usage: always TIME PATTERN COMMAND…")
	}
	pattern, command := regexp.MustCompile(args[1]), args[2:]
	n := 0
	for start := time.Now(); time.Since(start) < limit; n++ {
		if o := s.look(ts, command); o.err != nil || !pattern.MatchString(o.stdout) {
			ts.Fatalf("%s: not any more after %d times; %s", strings.Join(command, " "), n, o)
		}
	}
	ts.Logf("%d times", n)
}

func (s *story) address(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 || args[2] != "4" && args[2] != "6" {
		ts.Fatalf("usage: address VAR SERVICE 4|6")
	}
	separator := map[string]string{"4": ".", "6": ":"}[args[2]]
	var found string
	s.until(ts, timeout, []string{"kubectl", "get", "service", args[1], "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"}, func(o outcome) bool {
		for _, a := range strings.Fields(o.stdout) {
			if strings.Contains(a, separator) {
				found = a
			}
		}
		return found != ""
	})
	ts.Setenv(args[0]+"_IP", found)
	if args[2] == "6" {
		found = fmt.Sprintf("[%s]", found)
	}
	ts.Setenv(args[0], found)
}

func (s *story) get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: get VAR OBJECT JSONPATH")
	}
	o := s.until(ts, timeout, []string{"kubectl", "get", args[1], "-o", "jsonpath=" + args[2]}, func(o outcome) bool {
		return o.err == nil && o.stdout != ""
	})
	ts.Setenv(args[0], o.stdout)
}

func (s *story) active(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: active VAR")
	}
	r := s.rack(ts)
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		name, err := r.ActiveController(context.Background())
		if err == nil {
			ts.Logf("%s after %.1fs", name, time.Since(start).Seconds())
			ts.Setenv(args[0], name)
			ts.Setenv(args[0]+"_METRICS", r.MetricsAddress(name))
			return
		}
		if time.Since(start) > timeout {
			ts.Fatalf("no active controller after %s: %v", timeout, err)
		}
	}
}
