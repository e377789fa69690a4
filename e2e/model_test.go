package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// histories are what both racks and the model of package simulation run. At the times that a
// history names, clients must get the same answers in both.
const histories = "../internal/simulation/testdata/rack/*.txt"

// historiesOfARack is how many a rack runs, one after the other.
const historiesOfARack = 6

// TestModel holds the model against the programs: it does to racks what the histories say.
func TestModel(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(histories)
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories: %v", err)
	}
	for part, some := range slices.Collect(slices.Chunk(files, historiesOfARack)) {
		t.Run(strconv.Itoa(part+1), func(t *testing.T) {
			inLane(t)
			m := newModelRack(t, startRack(t, fmt.Sprintf("%sm%d", *prefix, part+1), "--router bird --proxy nftables"))
			for _, file := range some {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { m.live(t, file) })
			}
		})
	}
}

// modelRack is a rack of three nodes and three Services.
type modelRack struct {
	*lab.Rack
	macs map[string]string // nodes by MAC
}

const (
	modelNodes = 3
	modelPool  = `
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: lan}
spec: {addresses: [192.0.2.180-192.0.2.190]}
---
apiVersion: steelyard.dev/v1beta1
kind: L2Advertisement
metadata: {name: lan}
`
	modelService = `
---
apiVersion: v1
kind: Service
metadata:
  name: s%d
  annotations: {steelyard.dev/loadBalancerIPs: %s}
spec: {type: LoadBalancer, ipFamilyPolicy: SingleStack, ipFamilies: [IPv4], selector: {app: none}, ports: [{port: 80}]}
`
)

func modelAddress(service int) string { return fmt.Sprintf("192.0.2.%d", 180+service) }

func newModelRack(t *testing.T, name string) *modelRack {
	t.Helper()
	r, err := lab.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	m := &modelRack{r, map[string]string{}}
	objects := modelPool
	for i := 1; i <= modelNodes; i++ {
		objects += fmt.Sprintf(modelService, i, modelAddress(i))
		mac, err := m.on(t.Context(), fmt.Sprint("node", i), "cat", "/sys/class/net/eth0/address")
		if err != nil {
			t.Fatal(err)
		}
		m.macs[strings.TrimSpace(mac)] = fmt.Sprint("n", i)
	}
	if _, err := kubectl(t, name, objects, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *modelRack) on(ctx context.Context, host string, argv ...string) (string, error) {
	out, err := m.Command(ctx, host, argv...).Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		err = fmt.Errorf("%s on %s: %w: %s", argv[0], host, err, failed.Stderr)
	}
	return string(out), err
}

// live runs a history.
func (m *modelRack) live(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := m.steps(string(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			rackStage(m.Name).logState(t)
		}
		if _, err := m.on(context.Background(), "switch", "nft", "flush", "ruleset"); err != nil {
			t.Error(err)
		}
		rackStage(m.Name).repair(t)
	})
	m.rest(t)
	start := time.Now()
	for _, s := range steps {
		time.Sleep(time.Until(start.Add(s.at)))
		t.Logf("%6.2f %s", time.Since(start).Seconds(), s.text)
		if err := s.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", s.text, err)
		}
	}
}

// rest waits until all speakers see one another, and each L2Claim names who answers.
func (m *modelRack) rest(t *testing.T) {
	t.Helper()
	ready := regexp.MustCompile(fmt.Sprintf(`^(true True ){%d}$`, modelNodes))
	m.eventually(t, "all speakers are ready", func() bool {
		out, err := kubectl(t, m.Name, "", "get", "speakers", "-o", `jsonpath={range .items[*]}{.status.links[0].up} {.status.conditions[?(@.type=="Ready")].status} {end}`)
		return err == nil && ready.MatchString(out)
	})
	m.eventually(t, "each address has an owner that answers", func() bool {
		out, err := kubectl(t, m.Name, "", "get", "l2claims", "-o", `jsonpath={range .items[*]}{.spec.node} {.status.node} {end}`)
		f := strings.Fields(out)
		return err == nil && len(f) == 2*modelNodes && f[0] == f[1] && f[2] == f[3] && f[4] == f[5]
	})
}

func (m *modelRack) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %s: %s", timeout, what)
		}
	}
}

// act is something to do, or to look for.
type act func(context.Context) error

// timed is an act at a time.
type timed struct {
	at   time.Duration
	text string
	do   act
}

// The lines of a history: "at 4s for 3s: pair n1 n2", "at 0s for 0s: move n1 of 2",
// "at 7s: n1 n2 none". The others say what the model is made of.
var (
	faultLine       = regexp.MustCompile(`^at (\S+) for (\S+): (\S+)((?: n\d)*)(?: of (\d))?$`)
	expectationLine = regexp.MustCompile(`^at (\S+):((?: n\d| none)+)$`)
)

// steps reads a history.
func (m *modelRack) steps(text string) ([]timed, error) {
	var out []timed
	var last []string
	for i, line := range strings.Split(text, "\n") {
		f, s := faultLine.FindStringSubmatch(line), expectationLine.FindStringSubmatch(line)
		switch {
		case f != nil:
			at, err0 := time.ParseDuration(f[1])
			long, err1 := time.ParseDuration(f[2])
			number, _ := strconv.Atoi(f[5]) // or none: 0
			begin, end, err2 := m.fault(f[3], strings.Fields(f[4]), number, fmt.Sprint("f", i))
			if err := errors.Join(err0, err1, err2); err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			out = append(out, timed{at, line, begin})
			if end != nil {
				out = append(out, timed{at + long, "the end of " + line, end})
			}
		case s != nil:
			at, err := time.ParseDuration(s[1])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			last = strings.Fields(s[2])
			want := last
			out = append(out, timed{at, line, func(ctx context.Context) error { return m.see(ctx, want) }})
		case strings.HasPrefix(line, "at "):
			return nil, fmt.Errorf("%q: not understood", line)
		}
	}
	if last == nil {
		return nil, errors.New("the history expects nothing")
	}
	slices.SortStableFunc(out, func(a, b timed) int { return int(a.at - b.at) })
	return append(out, timed{out[len(out)-1].at, "the L2Claims", func(ctx context.Context) error { return m.written(ctx, last) }}), nil
}

// blink is for how long a rack that other racks share the machine with may be late.
const blink = 1500 * time.Millisecond

// see asks as a client, and compares who answers.
func (m *modelRack) see(ctx context.Context, want []string) error {
	var got []string
	for end := time.Now().Add(blink); time.Now().Before(end); {
		got = make([]string, len(want))
		var wg sync.WaitGroup
		for i := range want {
			wg.Go(func() { got[i] = m.answer(ctx, modelAddress(i+1)) })
		}
		wg.Wait()
		if slices.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("%q answer, and in the model %q do", got, want)
}

var replyFrom = regexp.MustCompile(`(?i)reply from \S+ \[([0-9a-f:]+)\]`)

// answer names the nodes whose MACs are in the replies that a client gets.
func (m *modelRack) answer(ctx context.Context, addr string) string {
	out, _ := m.on(ctx, "client", "arping", "-c", "2", "-w", "1", "-I", "eth0", addr) // fails without an answer
	all := map[string]bool{}
	for _, r := range replyFrom.FindAllStringSubmatch(out, -1) {
		all[m.macs[strings.ToLower(r[1])]] = true
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), " and ")
}

// written checks that the L2Claims name those who answer.
func (m *modelRack) written(ctx context.Context, want []string) error {
	var got string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		out, err := m.on(ctx, "control", "kubectl", "get", "l2claims", "-o", "jsonpath={range .items[*]}{.status.node} {end}")
		if err != nil {
			return err
		}
		if got = strings.ReplaceAll(strings.TrimSpace(out), "node", "n"); got == strings.Join(want, " ") {
			return nil
		}
	}
	return fmt.Errorf("they name %q, and in the model %q", got, want)
}

const excludedLabel = "node.kubernetes.io/exclude-from-external-load-balancers"

// fault returns what begins one, and what ends it; nil: nothing does.
func (m *modelRack) fault(kind string, nodes []string, number int, name string) (begin, end act, err error) {
	var host string
	hosts, others := map[string]bool{}, map[string]bool{}
	for _, n := range m.macs {
		others[hostOf(n)] = true
	}
	for _, n := range nodes {
		host = hostOf(n)
		hosts[host] = true
		delete(others, host)
	}
	signal := func(host, process string, s syscall.Signal) act {
		return func(context.Context) error { return m.Kill(host, process, s) }
	}
	start := func(context.Context) error { return m.Start(host, "speaker") }
	claim, owner := modelAddress(max(number, 1)), `{"spec":{"node":"`+host+`"}}`
	acts, ok := map[string][2]act{
		"unplug":  {func(context.Context) error { return m.Cut(host) }, func(context.Context) error { return m.Join(host) }},
		"power":   {m.power(false, hosts), m.power(true, hosts)},
		"others":  {m.power(false, others), m.power(true, others)},
		"crash":   {signal(host, "speaker", syscall.SIGKILL), start},
		"restart": {signal(host, "speaker", syscall.SIGTERM), start},
		"freeze":  {signal(host, "speaker", syscall.SIGSTOP), signal(host, "speaker", syscall.SIGCONT)},
		"api":     {signal("control", "kube-apiserver", syscall.SIGSTOP), signal("control", "kube-apiserver", syscall.SIGCONT)},
		"exclude": {m.runs("control", "kubectl", "label", "node", host, excludedLabel+"="), m.runs("control", "kubectl", "label", "node", host, excludedLabel+"-")},
		"move":    {m.runs("control", "kubectl", "patch", "l2claim", claim, "--type=merge", "--patch", owner), nil},
	}[kind]
	if ok {
		return acts[0], acts[1], nil
	}
	rules := m.dropped(kind, nodes)
	if rules == "" {
		return nil, nil, errors.New("a rack knows no such fault")
	}
	table := "table bridge " + name
	return m.runs("switch", "nft", table+" { chain drops { type filter hook forward priority 0; "+rules+" }; }"), m.runs("switch", "nft", "delete", table), nil
}

// hostOf returns the host of a node of a history.
func hostOf(node string) string { return strings.Replace(node, "n", "node", 1) }

func (m *modelRack) runs(host string, argv ...string) act {
	return func(ctx context.Context) error {
		_, err := m.on(ctx, host, argv...)
		return err
	}
}

// dropped are rules for the frames that the switch drops; empty: that fault drops no frames.
func (m *modelRack) dropped(kind string, nodes []string) string {
	ports := func(some []string) string {
		var all []string
		for _, n := range some {
			all = append(all, hostOf(n))
		}
		return "{ " + strings.Join(all, ", ") + " }"
	}
	here := ports(nodes)
	switch kind {
	case "mute":
		return "iifname " + here + " drop;"
	case "cut-receive":
		return "oifname " + here + " drop;"
	case "lan", "split":
		return "iifname " + here + " oifname != " + here + " drop; iifname != " + here + " oifname " + here + " drop;"
	case "oneway":
		return "iifname " + ports(nodes[:1]) + " oifname " + ports(nodes[1:]) + " drop;"
	case "pair":
		return m.dropped("oneway", nodes) + m.dropped("oneway", []string{nodes[1], nodes[0]})
	case "switch":
		all := slices.Sorted(maps.Values(m.macs))
		return m.dropped("mute", all) + m.dropped("cut-receive", all)
	}
	return ""
}

// power switches nodes off, or on. Of what runs there only the speaker matters.
func (m *modelRack) power(on bool, nodes map[string]bool) act {
	return func(context.Context) error {
		var failed []error
		for host := range nodes {
			if on {
				failed = append(failed, m.Join(host), m.Start(host, "speaker"))
			} else {
				failed = append(failed, m.Cut(host), m.Kill(host, "speaker", syscall.SIGKILL))
			}
		}
		return errors.Join(failed...)
	}
}
