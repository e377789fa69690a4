package bfd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// router is another project's BFD program. It runs on a host until the test ends.
type router interface {
	// start starts it, without sessions.
	start(*testing.T, host)
	// kill ends it with SIGKILL, and starts it again.
	kill(*testing.T)
	// hold configures a session for each path. It can be called again.
	hold(*testing.T, []path, settings)
	// sessions returns the router's view of its sessions, by the peer's address.
	sessions(*testing.T) map[string]view
}

// path is a pair of addresses for a session.
type path struct{ ours, theirs string }

// settings are the settings of a router's sessions. Intervals are in milliseconds.
type settings struct {
	tx, rx, multiplier int
	multihop           bool
	bgp                bool // a BGP neighbor requests the sessions; false: they are configured as such
	passive            bool
	down               bool   // by the administrator
	keys               string // the options for authentication, as BIRD writes them
}

// view is a router's view of a session.
type view struct {
	up                   bool
	interval, detection  time.Duration // agreed, at the router's end
	diagnostic, fromPeer string        // "": the router does not show it
}

func routers() map[string]func() router {
	return map[string]func() router{
		"FRR":  func() router { return &frr{} },
		"BIRD": func() router { return &bird{} },
	}
}

// program is a running program.
type program struct{ *exec.Cmd }

func launch(t *testing.T, h host, args ...string) program {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := program{exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.name}, args...)...)}
	if err := p.Start(); err != nil {
		t.Fatalf("start %s: %v", args[0], err)
	}
	t.Cleanup(func() {
		stop()
		p.end()
	})
	return p
}

// end kills the program. Wait returns the signal as an error, which is expected.
func (p program) end() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// frr is zebra, bfdd and bgpd.
type frr struct {
	host     host
	dir      string
	programs []program
	held     []string // commands
}

func (f *frr) start(t *testing.T, h host) {
	for _, need := range []string{"vtysh", "/usr/lib/frr/zebra", "/usr/lib/frr/bfdd", "/usr/lib/frr/bgpd"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("needs FRR: %v", err)
		}
	}
	dir, err := os.MkdirTemp("", "bfd-frr-") // unlike t.TempDir, accessible to the user frr
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	command(t, "chown", "frr:frr", dir)
	f.host, f.dir = h, dir
	f.run(t)
}

func (f *frr) run(t *testing.T) {
	f.programs = nil
	for _, p := range []struct {
		name  string
		extra []string
	}{{"zebra", nil}, {"bfdd", []string{"--bfdctl", f.dir + "/bfdd.sock"}}, {"bgpd", []string{"-n", "-p", "0"}}} {
		args := []string{"/usr/lib/frr/" + p.name, "-f", "/dev/null", "-i", f.dir + "/" + p.name + ".pid",
			"-z", f.dir + "/zserv.api", "--vty_socket", f.dir, "--log", "stdout"}
		f.programs = append(f.programs, launch(t, f.host, append(args, p.extra...)...))
		// The other daemons connect to zebra at their start, and retry only after ten seconds.
		attempt(t, p.name+" answers", func() error {
			_, err := exec.Command("vtysh", "--vty_socket", f.dir, "-d", p.name, "-c", "show version").Output()
			return err
		})
	}
}

func (f *frr) kill(t *testing.T) {
	for _, p := range f.programs {
		p.end()
	}
	f.run(t)
	f.ask(t, f.held...)
}

func (f *frr) ask(t *testing.T, commands ...string) string {
	t.Helper()
	args := []string{"--vty_socket", f.dir}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return command(t, "vtysh", args...)
}

func (f *frr) hold(t *testing.T, paths []path, m settings) {
	t.Helper()
	no := map[bool]string{false: "no "}
	commands := []string{"configure", "bfd", "profile p",
		fmt.Sprintf("transmit-interval %d", m.tx), fmt.Sprintf("receive-interval %d", m.rx), fmt.Sprintf("detect-multiplier %d", m.multiplier),
		no[m.passive] + "passive-mode", no[m.down] + "shutdown", "exit"}
	for _, p := range paths {
		peer, where := addrOf(p.ours), " local-address "+addrOf(p.theirs)
		if m.multihop {
			where = " multihop" + where
		} else {
			where += " interface eth0"
		}
		if !m.bgp {
			commands = append(commands, "peer "+peer+where, "profile p", "exit")
		}
	}
	commands = append(commands, "exit")
	if m.bgp {
		commands = append(commands, "router bgp 64601", "bgp router-id 192.0.2.2")
		for _, p := range paths {
			neighbor := "neighbor " + addrOf(p.ours)
			commands = append(commands, neighbor+" remote-as 64512")
			if m.multihop {
				commands = append(commands, neighbor+" ebgp-multihop 3", neighbor+" update-source "+addrOf(p.theirs))
			}
			commands = append(commands, neighbor+" bfd profile p")
		}
		commands = append(commands, "exit")
	}
	f.held = commands
	f.ask(t, commands...)
}

func (f *frr) sessions(t *testing.T) map[string]view {
	var peers []struct {
		Peer, Status, Diagnostic string
		RemoteDiagnostic         string `json:"remote-diagnostic"`
		Receive                  int    `json:"receive-interval"`
		Transmit                 int    `json:"transmit-interval"`
		RemoteReceive            int    `json:"remote-receive-interval"`
		RemoteTransmit           int    `json:"remote-transmit-interval"`
		RemoteMultiplier         int    `json:"remote-detect-multiplier"`
	}
	if err := json.Unmarshal([]byte(f.ask(t, "show bfd peers json")), &peers); err != nil {
		t.Fatalf("read FRR's BFD peers: %v", err)
	}
	views := map[string]view{}
	for _, p := range peers {
		views[p.Peer] = view{
			up: p.Status == "up", diagnostic: p.Diagnostic, fromPeer: p.RemoteDiagnostic,
			interval:  time.Duration(max(p.Transmit, p.RemoteReceive)) * time.Millisecond,
			detection: time.Duration(p.RemoteMultiplier*max(p.Receive, p.RemoteTransmit)) * time.Millisecond,
		}
	}
	return views
}

// bird is BIRD.
type bird struct {
	host    host
	dir     string
	program program
}

func (b *bird) start(t *testing.T, h host) {
	b.startWith(t, h, "")
}

func (b *bird) startWith(t *testing.T, h host, protocols string) {
	for _, need := range []string{"bird", "birdc"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("needs BIRD: %v", err)
		}
	}
	b.host, b.dir = h, t.TempDir()
	b.write(t, protocols)
	b.run(t)
}

func (b *bird) run(t *testing.T) {
	command(t, "bird", "-p", "-c", b.dir+"/bird.conf")
	b.program = launch(t, b.host, "bird", "-f", "-c", b.dir+"/bird.conf", "-s", b.dir+"/ctl")
	attempt(t, "BIRD answers", func() error {
		_, err := exec.Command("birdc", "-s", b.dir+"/ctl", "show", "status").Output()
		return err
	})
}

func (b *bird) kill(t *testing.T) {
	b.program.end()
	b.run(t)
}

func (b *bird) write(t *testing.T, protocols string) {
	text := "router id 192.0.2.2;\nprotocol device {}\n" + protocols
	if err := os.WriteFile(filepath.Join(b.dir, "bird.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *bird) hold(t *testing.T, paths []path, m settings) {
	t.Helper()
	options := fmt.Sprintf("min tx interval %d ms; min rx interval %d ms; multiplier %d;", m.tx, m.rx, m.multiplier)
	if m.passive {
		options += " passive yes;"
	}
	options += m.keys
	sessions, neighbors := "", ""
	for _, p := range paths {
		ours, theirs := addrOf(p.ours), addrOf(p.theirs)
		where := `dev "eth0" local ` + theirs
		if m.multihop {
			where = "local " + theirs + " multihop yes"
		}
		sessions += fmt.Sprintf("  neighbor %s %s;\n", ours, where)
		neighbors += neighbor(p.theirs, p.ours, m.multihop, "bfd on; local as 64601; neighbor as 64512")
	}
	if m.bgp {
		sessions = ""
	} else {
		neighbors = ""
	}
	disabled := map[bool]string{true: "  disabled;\n"}[m.down]
	b.write(t, fmt.Sprintf("protocol bfd {\n%s  interface \"eth0\" { %s };\n  multihop { %[2]s };\n%[3]s}\n%[4]s", disabled, options, sessions, neighbors))
	command(t, "birdc", "-s", b.dir+"/ctl", "configure")
}

func (b *bird) sessions(t *testing.T) map[string]view {
	out, err := exec.Command("birdc", "-s", b.dir+"/ctl", "show", "bfd", "sessions").CombinedOutput()
	if err != nil && !strings.Contains(string(out), "no BFD protocol running") {
		t.Fatalf("birdc: %v: %s", err, out)
	}
	views := map[string]view{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line) // address, interface, state, since, interval, timeout
		if len(f) != 6 {
			continue
		}
		seconds := func(word string) time.Duration {
			n, err := strconv.ParseFloat(word, 64)
			if err != nil {
				return 0 // the line of column titles
			}
			return time.Duration(n*1000) * time.Millisecond
		}
		views[f[0]] = view{up: f[2] == "Up", interval: seconds(f[4]), detection: seconds(f[5])}
	}
	return views
}

// neighbor returns the configuration of a BGP protocol in BIRD.
func neighbor(local, peer string, multihop bool, options string) string {
	hops := "direct"
	if multihop {
		hops = "multihop 3"
	}
	if strings.Contains(peer, "%") {
		hops += `; interface "eth0"`
	}
	return fmt.Sprintf("protocol bgp { %s; local %s; neighbor %s; %s; ipv4 { import none; export none; }; }\n", hops, addrOf(local), addrOf(peer), options)
}

// speakBGP runs BIRD, without BFD, as the router's BGP peer: FRR starts BFD when the BGP
// session is established.
func (m *meeting) speakBGP(multihop bool) {
	protocols := ""
	for _, p := range m.paths {
		protocols += neighbor(p.ours, p.theirs, multihop, "passive; local as 64512; neighbor as 64601")
	}
	new(bird).startWith(m.T, m.near, protocols)
}

// addrOf returns an address without its zone.
func addrOf(a string) string {
	a, _, _ = strings.Cut(a, "%")
	return a
}

// attempt repeats do until it returns no error.
func attempt(t *testing.T, what string, do func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatalf("never happened: %s: %v", what, err)
}
