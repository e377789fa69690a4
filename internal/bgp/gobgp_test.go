package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// gobgp is a GoBGP in the router's namespace.
type gobgp struct {
	bin string // folder of gobgpd and gobgp
	log string // file
}

// gobgpBin is where the programs of a version of GoBGP are.
func gobgpBin(t *testing.T, version string) string {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "..", "bin", "gobgp", version))
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// gobgpNeighbor is a neighbor of both families; it takes the address, the AS number and
// the password.
const gobgpNeighbor = `
[[neighbors]]
  [neighbors.config]
    neighbor-address = "%s"
    peer-as = %d
    auth-password = "%s"
  [neighbors.transport.config]
    passive-mode = true
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 120
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
`

// inGobgpRack builds GoBGP and runs the calling test as inRack does.
func inGobgpRack(t *testing.T, version string) bool {
	t.Helper()
	if os.Getenv(routerNS) == "" {
		bin := gobgpBin(t, version)
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		pkg := "github.com/osrg/gobgp/" + version + "/cmd/"
		cmd := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join("..", "..", "e2e", "gobgp"), "-ldflags=-s -w", "-o", bin+"/", pkg+"gobgpd", pkg+"gobgp")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build GoBGP: %v\n%s", err, out)
		}
	}
	return inRack(t)
}

// startGobgp starts a GoBGP that knows an external neighbor 10.9.0.2 with a password,
// and an internal one 10.9.0.3.
func startGobgp(t *testing.T, version string) *gobgp {
	t.Helper()
	dir := t.TempDir()
	g := &gobgp{bin: gobgpBin(t, version), log: filepath.Join(dir, "log")}
	config := "[global.config]\n  as = 64601\n  router-id = \"10.9.0.1\"\n" +
		fmt.Sprintf(gobgpNeighbor, "10.9.0.2", 64512, "right") + fmt.Sprintf(gobgpNeighbor, "10.9.0.3", 64601, "")
	file := filepath.Join(dir, "gobgpd.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(g.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", os.Getenv(routerNS), filepath.Join(g.bin, "gobgpd"), "-f", file, "--log-plain", "--log-level", "info", "--pprof-disable")
	cmd.Env = append(os.Environ(), "GODEBUG=multipathtcp=0") // v3 listens with it otherwise, and then knows no MD5
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start gobgpd: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		out.Close()
		if text, err := os.ReadFile(g.log); err == nil && t.Failed() {
			t.Logf("gobgpd:\n%s", text)
		}
	})
	eventually(t, "gobgpd answers", func() error {
		_, err := g.ask("neighbor")
		return err
	})
	return g
}

func (g *gobgp) ask(words ...string) (string, error) {
	out, err := exec.Command("ip", slices.Concat([]string{"netns", "exec", os.Getenv(routerNS), filepath.Join(g.bin, "gobgp")}, words)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gobgp %s: %w: %s", strings.Join(words, " "), err, out)
	}
	return string(out), nil
}

// says waits until the answer to a question has all the words.
func (g *gobgp) says(t *testing.T, question string, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("gobgp %s says %q", question, words), func() error {
		out, err := g.ask(strings.Fields(question)...)
		if err != nil {
			return err
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				return fmt.Errorf("no %q in\n%s", w, out)
			}
		}
		return nil
	})
}

// logs waits for a line of the log that has all the words.
func (g *gobgp) logs(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("gobgpd logs %q", words), func() error {
		text, err := os.ReadFile(g.log)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return nil
			}
		}
		return errors.New("no such line")
	})
}

// GoBGP takes what a session offers, with its attributes, as other routers do.
func TestGobgp3(t *testing.T) { withGobgp(t, "v3") }
func TestGobgp4(t *testing.T) { withGobgp(t, "v4") }

func withGobgp(t *testing.T, version string) {
	if !inGobgpRack(t, version) {
		return
	}
	router := startGobgp(t, version)
	s, _ := startSessions(t)
	four, six := routes("198.51.100.1/32")[0], routes("2001:db8::1/128")[0]
	four.Communities, four.Large = []uint32{64512<<16 | 7, 0xFFFFFF01}, []announce.LargeCommunity{{Global: 64512, Data1: 1, Data2: 2}}
	four.LocalPref, four.MED, four.HasMED, four.Prepend = 77, 5, true, 1
	signed, inside := peer("signed", "10.9.0.1"), peer("inside", "10.9.0.1")
	signed.DualStack, signed.Graceful, signed.Password, signed.SourceAddr = true, true, "wrong", netip.MustParseAddr("10.9.0.2")
	inside.DualStack, inside.Graceful, inside.LocalASN, inside.SourceAddr = true, true, 64601, netip.MustParseAddr("10.9.0.3")
	all := func() []announce.Peering {
		return []announce.Peering{{Peer: signed, Routes: []announce.Route{four, six}}, {Peer: inside, Routes: []announce.Route{four, six}}}
	}
	s.Set(all())
	fails(t, s, "signed", "no answer", "password")
	signed.Password = "right"
	s.Set(all())
	establish(t, s, "signed")
	other := establish(t, s, "inside")
	router.says(t, "neighbor 10.9.0.2 adj-in -a ipv4", "198.51.100.1/32", "10.9.0.2", "64512 64512", "{Origin: i}", "{Med: 5}", "64512:7, no-export", "64512:1:2")
	router.says(t, "neighbor 10.9.0.2 adj-in -a ipv6", "2001:db8::1/128", "fd09::2", "64512")
	router.says(t, "neighbor 10.9.0.3 adj-in -a ipv4", "198.51.100.1/32", "10.9.0.3", "{LocalPref: 77}", "64512:7, no-export")
	router.says(t, "neighbor 10.9.0.3 adj-in -a ipv6", "2001:db8::1/128")
	router.says(t, "neighbor 10.9.0.2", "ESTABLISHED, up for", "graceful-restart:\tadvertised and received", "Remote: restart time 120 sec")

	// A change is a difference, and the session goes on.
	before := establish(t, s, "signed")
	four.Communities = nil
	s.Set(all())
	eventually(t, "the communities are gone", func() error {
		out, err := router.ask("neighbor", "10.9.0.2", "adj-in", "-a", "ipv4")
		if err == nil && (strings.Contains(out, "64512:7") || !strings.Contains(out, "198.51.100.1/32")) {
			err = fmt.Errorf("in\n%s", out)
		}
		return err
	})
	if got := establish(t, s, "signed"); !got.Since.Equal(before.Since) {
		t.Error("a change of routes reset the session")
	}
	s.Set(all()[1:])
	router.logs(t, "received notification", "Key=10.9.0.2", "Code=6", "Subcode=3")
	eventually(t, "the routes of a peer that has gone are gone", func() error {
		out, err := router.ask("global", "rib", "-a", "ipv4")
		if err == nil && strings.Contains(out, "64512 64512") {
			err = fmt.Errorf("in\n%s", out)
		}
		return err
	})
	if got := establish(t, s, "inside"); !got.Since.Equal(other.Since) {
		t.Errorf("the other session: %+v", got)
	}
}

// dies, in the environment, says that the process is the one that a graceful restart
// is tried with: it holds a session until it is killed.
const dies = "BGP_TEST_DIES"

func graceful() []announce.Peering {
	p := peer("p", "10.9.0.1")
	p.Graceful, p.Password, p.SourceAddr = true, "right", netip.MustParseAddr("10.9.0.2")
	return []announce.Peering{{Peer: p, Routes: routes("198.51.100.9/32")}}
}

// A speaker that is killed leaves its routes at GoBGP until the next one has told its
// own (RFC 4724).
func TestGobgp3WaitsForARestart(t *testing.T) { gobgpWaits(t, "v3") }
func TestGobgp4WaitsForARestart(t *testing.T) { gobgpWaits(t, "v4") }

func gobgpWaits(t *testing.T, version string) {
	if !inGobgpRack(t, version) {
		return
	}
	if os.Getenv(dies) != "" {
		s, _ := startSessions(t)
		s.Set(graceful())
		<-t.Context().Done() // never: it is killed
	}
	router := startGobgp(t, version)
	first := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	first.Env = append(os.Environ(), dies+"=1")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() {
		_ = first.Process.Kill()
		_ = first.Wait() // it was killed
	}
	t.Cleanup(kill)
	router.says(t, "global rib -a ipv4", "198.51.100.9/32")
	kill()
	eventually(t, "the session is lost", func() error {
		out, err := router.ask("neighbor", "10.9.0.2")
		if err == nil && strings.Contains(out, "ESTABLISHED, up for") {
			err = errors.New("it is still up")
		}
		return err
	})
	if out, err := router.ask("global", "rib", "-a", "ipv4"); err != nil || !strings.Contains(out, "198.51.100.9/32") {
		t.Errorf("the route did not stay: %v\n%s", err, out)
	}
	s, _ := startSessions(t)
	s.Set(graceful())
	establish(t, s, "p")
	router.says(t, "neighbor 10.9.0.2 adj-in -a ipv4", "198.51.100.9/32")
}
