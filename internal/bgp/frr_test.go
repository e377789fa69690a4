package bgp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// frr is FRR's zebra, bfdd and bgpd in a namespace.
type frr struct{ ns string }

// frrBFD is what a neighbor can name as its BFD profile.
const frrBFD = `bfd
 profile fast
  transmit-interval 50
  receive-interval 50
 exit
exit
`

// startFRR starts FRR with the configuration of its bgpd, and of its zebra, and with flags of bgpd.
func startFRR(t *testing.T, ns, bgpd, zebra string, flags ...string) frr {
	t.Helper()
	const folder = "/usr/lib/frr"
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("needs FRR: %v", err)
	}
	etc, run := filepath.Join("/etc/frr", ns), filepath.Join("/run/frr", ns)
	for _, dir := range []string{etc, run} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
	for name, text := range map[string]string{"vtysh": "", "zebra": zebra, "bgpd": bgpd, "bfdd": frrBFD} {
		if err := os.WriteFile(filepath.Join(etc, name+".conf"), []byte("hostname router\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", "frr:frr", etc, run).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v\n%s", err, out)
	}
	f := frr{ns}
	for _, daemon := range []string{"zebra", "bfdd", "bgpd"} { // bgpd looks for the others when it starts
		cmd := exec.Command("ip", "netns", "exec", ns, filepath.Join(folder, daemon), "-N", ns,
			"-f", filepath.Join(etc, daemon+".conf"), "-i", filepath.Join(run, daemon+".pid"), "--log", "stdout")
		if daemon == "bgpd" {
			cmd.Args = append(cmd.Args, flags...)
		}
		if err := cmd.Start(); err != nil {
			t.Fatalf("start %s: %v", daemon, err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		eventually(t, daemon+" answers", func() error {
			_, err := os.Stat(filepath.Join(run, daemon+".vty"))
			return err
		})
	}
	eventually(t, "FRR has read its configuration", func() error {
		out, err := f.ask("show running-config")
		if want := strings.Count(bgpd, " activate"); err == nil && strings.Count(out, " activate") < want {
			err = fmt.Errorf("in\n%s", out)
		}
		return err
	})
	return f
}

func (f frr) ask(words string) (string, error) {
	out, err := exec.Command("vtysh", "-N", f.ns, "-c", words).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("vtysh %s: %w: %s", words, err, out)
	}
	return string(out), nil
}

// path is how FRR tells of a path.
type path struct {
	Valid     bool   `json:"valid"`
	LocPrf    uint32 `json:"locPrf"`
	Metric    uint32 `json:"metric"`
	ASPath    struct{ String string }
	Community struct{ String string }
	Large     struct{ String string } `json:"largeCommunity"`
	Extended  struct{ String string } `json:"extendedCommunity"`
	Nexthops  []struct {
		IP         string
		Scope      string
		Accessible bool
	}
}

// path waits until FRR has one valid path to the prefix, and returns it.
func (f frr) path(t *testing.T, family, prefix string) path {
	t.Helper()
	var out struct{ Paths []path }
	eventually(t, "FRR has "+prefix, func() error {
		text, err := f.ask("show bgp " + family + " unicast " + prefix + " json")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			return err
		}
		if len(out.Paths) != 1 || !out.Paths[0].Valid {
			return fmt.Errorf("in\n%s", text)
		}
		return nil
	})
	return out.Paths[0]
}

// says waits until FRR answers with the words.
func (f frr) says(t *testing.T, question, words string) {
	t.Helper()
	eventually(t, question+" says "+words, func() error {
		out, err := f.ask(question)
		if err == nil && !strings.Contains(out, words) {
			err = fmt.Errorf("in\n%s", out)
		}
		return err
	})
}

const frrHead = `frr defaults datacenter
router bgp 64601
 bgp router-id 10.9.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
`

func activate(neighbors ...string) string {
	out := ""
	for _, family := range []string{"ipv4", "ipv6"} {
		out += " address-family " + family + " unicast\n"
		for _, n := range neighbors {
			out += "  neighbor " + n + " activate\n"
		}
		out += " exit-address-family\n"
	}
	return out
}

func TestFRRTakesEveryKindOfPeer(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startFRR(t, os.Getenv(routerNS), frrHead+`
 neighbor 10.9.0.2 remote-as 64512
 neighbor 10.9.0.2 passive
 neighbor fd09::2 remote-as 64513
 neighbor fd09::2 passive
 neighbor 10.9.0.3 remote-as 64512
 neighbor 10.9.0.3 password s3cret
 neighbor 10.9.0.3 ttl-security hops 1
 neighbor 10.9.0.3 passive
 neighbor 10.9.0.4 remote-as 64601
 neighbor 10.9.0.4 passive
`+activate("10.9.0.2", "fd09::2", "10.9.0.3", "10.9.0.4"), "")
	s, _ := startSessions(t)
	plain, six, signed, inside := peer("plain", "10.9.0.1"), peer("six", "fd09::1"), peer("signed", "10.9.0.11"), peer("inside", "10.9.0.12")
	plain.DualStack, plain.HoldTime, plain.KeepaliveTime = true, 9e9, 3e9
	six.LocalASN, six.DualStack = 64513, true
	signed.Password, signed.MinTTL, signed.SourceAddr = "s3cret", 255, netip.MustParseAddr("10.9.0.3")
	inside.LocalASN, inside.PeerASN, inside.ASN, inside.SourceAddr = 64601, 0, announce.InternalASN, netip.MustParseAddr("10.9.0.4")
	full := routes("198.51.100.1/32")[0]
	full.LocalPref, full.MED, full.HasMED, full.Prepend, full.Bandwidth = 77, 5, true, 1, 100
	six2 := routes("2001:db8::2/128")[0]
	six2.Bandwidth = 30_000
	full.Communities, full.Large = []uint32{64512<<16 | 7, 0xFFFFFF01}, []announce.LargeCommunity{{Global: 1, Data1: 2, Data2: 3}}
	s.Set([]announce.Peering{
		{Peer: plain, Routes: append(routes("2001:db8::1/128"), full)},
		{Peer: six, Routes: append(routes("198.51.100.2/32"), six2)},
		{Peer: signed, Routes: routes("198.51.100.3/32")},
		{Peer: inside, Routes: []announce.Route{{Prefix: netip.MustParsePrefix("198.51.100.4/32"), LocalPref: 200, Prepend: 3}}},
	})
	p := router.path(t, "ipv4", "198.51.100.1/32")
	if p.ASPath.String != "64512 64512" || p.Metric != 5 || p.Nexthops[0].IP != "10.9.0.2" ||
		p.Community.String != "64512:7 no-export" || p.Large.String != "1:2:3" || p.Extended.String != "LB:64512:12500000 (100.000 Mbps)" {
		t.Errorf("%+v", p)
	}
	for prefix, hop := range map[string]string{"2001:db8::1/128": "fd09::2", "2001:db8::2/128": "fd09::2"} {
		if p := router.path(t, "ipv6", prefix); p.Nexthops[0].IP != hop {
			t.Errorf("%s: %+v", prefix, p)
		}
	}
	if p := router.path(t, "ipv6", "2001:db8::2/128"); p.Extended.String != "LB:64513:3750000128 (30.000 Gbps)" {
		t.Errorf("link bandwidth: %+v", p)
	}
	if p := router.path(t, "ipv4", "198.51.100.2/32"); p.ASPath.String != "64513" || p.Nexthops[0].IP != "10.9.0.2" {
		t.Errorf("another local AS number: %+v", p)
	}
	if p := router.path(t, "ipv4", "198.51.100.3/32"); p.Nexthops[0].IP != "10.9.0.3" {
		t.Errorf("signed: %+v", p)
	}
	if p := router.path(t, "ipv4", "198.51.100.4/32"); p.LocPrf != 200 || p.ASPath.String != "Local" {
		t.Errorf("internal: %+v", p)
	}
	router.says(t, "show bgp neighbors 10.9.0.2", "Hold time is 9 seconds, keepalive interval is 3 seconds")
	// FRR may end a session that comes up while it starts; what is up by now stays.
	before := s.States()
	time.Sleep(4 * time.Second) // longer than a keepalive interval
	for i, st := range s.States() {
		if st.Session != Established || st.Drops != before[i].Drops || st.Drops > 1 {
			t.Errorf("%+v", st)
		}
	}
}

func TestFRRIsFoundOnTheLink(t *testing.T) {
	if !inRack(t) {
		return
	}
	s, _ := startSessions(t)
	p := announce.Peer{Name: "p", Interface: "eth0", LocalASN: 64512, ASN: announce.ExternalASN, ConnectTime: 1e9, DualStack: true}
	nowhere := p
	nowhere.Name, nowhere.Interface = "nowhere", "eth7"
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "2001:db8::1/128")}, {Peer: nowhere}})
	fails(t, s, "p", "no router advertisement was heard on eth0")
	fails(t, s, "nowhere", `there is no interface "eth7"`)
	router := startFRR(t, os.Getenv(routerNS), frrHead+` neighbor eth0 interface remote-as external
`+activate("eth0"), "interface eth0\n no ipv6 nd suppress-ra\n ipv6 nd ra-interval 1\n")
	for _, prefix := range []string{"198.51.100.1/32", "2001:db8::1/128"} {
		family := map[bool]string{true: "ipv6", false: "ipv4"}[strings.Contains(prefix, ":")]
		got := router.path(t, family, prefix)
		if !strings.HasPrefix(got.Nexthops[0].IP, "fe80::") {
			t.Errorf("%s: %+v", prefix, got)
		}
	}
	if got := establish(t, s, "p"); got.Addr.Zone() != "eth0" || got.Advertised != 2 {
		t.Errorf("%+v", got)
	}
	before := establish(t, s, "p")
	if _, err := router.ask("clear bgp *"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session comes back", func() error {
		if st := state(s, "p"); st.Session != Established || st.Drops == 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	t.Logf("up again %s after it was up first", state(s, "p").Since.Sub(before.Since))
	router.path(t, "ipv4", "198.51.100.1/32")
}

func TestFRRTakesIPv4RoutesWithIPv6NextHops(t *testing.T) {
	if !inRack(t) {
		return
	}
	ip(t, "-4", "addr", "flush", "dev", "eth0")
	router := startFRR(t, os.Getenv(routerNS), frrHead+`
 neighbor fd09::2 remote-as 64512
 neighbor fd09::2 passive
 neighbor fd09::2 capability extended-nexthop
`+activate("fd09::2"), "")
	s, _ := startSessions(t)
	p := peer("p", "fd09::1")
	p.DualStack = true
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "2001:db8::1/128")}})
	for family, prefix := range map[string]string{"ipv4": "198.51.100.1/32", "ipv6": "2001:db8::1/128"} {
		if got := router.path(t, family, prefix); got.Nexthops[0].IP != "fd09::2" {
			t.Errorf("%s: %+v", prefix, got)
		}
	}
}

func TestBIRDIsFoundOnTheLink(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, `
protocol radv { interface "eth0" { min ra interval 3; max ra interval 4; default lifetime 0; }; }
protocol bgp uplink {
  local as 64601; neighbor range fe80::/10 external; interface "eth0"; dynamic name "node";
  ipv4 { import all; export none; extended next hop on; };
  ipv6 { import all; export none; };
}
`)
	s, _ := startSessions(t)
	s.Set([]announce.Peering{{
		Peer:   announce.Peer{Name: "p", Interface: "eth0", LocalASN: 64512, PeerASN: 64601, ConnectTime: 1e9, DualStack: true},
		Routes: routes("198.51.100.1/32", "2001:db8::1/128"),
	}})
	establish(t, s, "p")
	for _, prefix := range []string{"198.51.100.1/32", "2001:db8::1/128"} {
		router.shows(t, "node1", prefix, "BGP.next_hop: ", " fe80::")
	}
}

func TestARouterTwoHopsAway(t *testing.T) {
	if !inRack(t) {
		return
	}
	near := os.Getenv(routerNS)
	far := strings.TrimSuffix(near, "router") + "far"
	ip(t, "netns", "add", far)
	t.Cleanup(func() { removeNamespace(t, far) })
	ip(t, "-n", near, "link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", far)
	for _, x := range [][]string{
		{"-n", near, "addr", "add", "10.9.8.1/24", "dev", "eth1"}, {"-n", near, "link", "set", "eth1", "up"},
		{"-n", far, "link", "set", "lo", "up"}, {"-n", far, "link", "set", "eth0", "up"},
		{"-n", far, "addr", "add", "10.9.8.2/24", "dev", "eth0"}, {"-n", far, "addr", "add", "10.9.8.3/24", "dev", "eth0"},
		{"-n", far, "route", "add", "10.9.0.0/24", "via", "10.9.8.1"},
		{"route", "add", "10.9.8.0/24", "via", "10.9.0.1"},
		{"netns", "exec", near, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
	} {
		ip(t, x...)
	}
	router := startFRR(t, far, frrHead+`
 neighbor 10.9.0.2 remote-as 64512
 neighbor 10.9.0.2 ebgp-multihop 2
 neighbor 10.9.0.2 passive
 neighbor 10.9.0.3 remote-as 64512
 neighbor 10.9.0.3 ttl-security hops 2
 neighbor 10.9.0.3 passive
`+activate("10.9.0.2", "10.9.0.3"), "")
	s, _ := startSessions(t)
	hops, guarded, strict, direct := peer("hops", "10.9.8.2"), peer("guarded", "10.9.8.3"), peer("strict", "10.9.8.3"), peer("direct", "10.9.8.2")
	hops.MultiHopTTL = 255
	guarded.MinTTL, strict.MinTTL = 254, 255
	guarded.SourceAddr, strict.SourceAddr = netip.MustParseAddr("10.9.0.3"), netip.MustParseAddr("10.9.0.3")
	s.Set([]announce.Peering{{Peer: hops, Routes: routes("198.51.100.1/32")}, {Peer: guarded, Routes: routes("198.51.100.2/32")}})
	router.path(t, "ipv4", "198.51.100.1/32")
	router.path(t, "ipv4", "198.51.100.2/32")
	s.Set([]announce.Peering{{Peer: direct}, {Peer: strict}})
	fails(t, s, "direct", "10.9.8.2 is unreachable", "ebgpMultiHop")
	fails(t, s, "strict", "no answer from 10.9.8.3")
}
