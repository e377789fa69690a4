package static

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

const key = "0123456789abcdef0123456789abcdef"

func read(files map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
}

// good is a file that is valid, line by line.
const good = `addresses: ["192.0.2.10", "2001:db8::10"]
nodes: [{name: b, address: 192.0.2.12}, {name: a, address: 192.0.2.11}]
health: {url: "https://127.0.0.1:6443/readyz", insecureSkipTLSVerify: true}
keyFile: /key
`

func TestParse(t *testing.T) {
	files := read(map[string]string{"/key": key + "\n\n" + key + "2\n", "/password": "secret\n"})
	got, err := Parse([]byte(good+"bgp: {asn: 64512, peers: [{address: 192.0.2.1, asn: 64601, port: 1179, passwordFile: /password, ebgpMultiHop: true, bfd: true}]}"), "a", files)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Addrs:  []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")},
		Nodes:  []Node{{"a", netip.MustParseAddr("192.0.2.11")}, {"b", netip.MustParseAddr("192.0.2.12")}},
		Health: Health{URL: "https://127.0.0.1:6443/readyz"}, Keys: [][]byte{[]byte(key), []byte(key + "2")},
		Routers: []announce.Peer{{
			Name: "192.0.2.1:1179", Addr: netip.MustParseAddr("192.0.2.1"), Port: 1179, LocalASN: 64512, PeerASN: 64601, Password: "secret", MultiHopTTL: 255,
			HoldTime: holdTime, KeepaliveTime: holdTime / 3, ConnectTime: connectTime, BFD: announce.BFD{Receive: bfdInterval, Transmit: bfdInterval, Multiplier: 3, Hops: announce.HopsByNet},
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

// Each error names the field, and what to write there.
func TestParseRefuses(t *testing.T) {
	files := read(map[string]string{"/key": key, "/short": "secret", "/empty": "\n", "/ca": authority(t), "/no": "no certificate"})
	health := "health: {url: \"https://127.0.0.1:6443/readyz\", insecureSkipTLSVerify: true}\n"
	for name, c := range map[string]struct{ old, new, want string }{
		"an unknown field":            {"keyFile", "keyfiles", `unknown field "keyfiles"`},
		"no addresses":                {`["192.0.2.10", "2001:db8::10"]`, "[]", "addresses has 0 entries: list"},
		"a prefix":                    {"192.0.2.10", "192.0.2.10/32", `addresses[0] is "192.0.2.10/32": write one address without a prefix length`},
		"an address twice":            {"2001:db8::10", "192.0.2.10", "addresses[1]: 192.0.2.10 is there twice"},
		"an address of no host":       {"192.0.2.10", "224.0.0.1", "addresses[0] is"},
		"an address of a node":        {"192.0.2.10", "192.0.2.12", "addresses[0]: 192.0.2.12 is the own address of the node b: use one that no host has"},
		"no nodes":                    {"[{name: b, address: 192.0.2.12}, {name: a, address: 192.0.2.11}]", "[]", "nodes has 0 entries: list each"},
		"a node without a name":       {"name: b, ", "", "nodes[0].name is missing: write"},
		"a node without an address":   {", address: 192.0.2.12", "", "nodes[0].address is \"\": write"},
		"a node twice":                {"name: b", "name: a", `nodes[1].name: "a" is there twice`},
		"two nodes with one address":  {"192.0.2.12", "192.0.2.11", "nodes[1].address: 192.0.2.11 is also the address of b"},
		"this node is missing":        {"name: a", "name: c", `nodes: none has the name "a", which --node-name (or NODE_NAME) gives this node: add it`},
		"a bad glob":                  {"keyFile", "interfaces: ['eth[']\nkeyFile", `interfaces[0] is "eth[": write the name`},
		"links and routers":           {"keyFile", "interfaces: [eth0]\nbgp: {asn: 1, peers: [{address: 192.0.2.1, asn: 2}]}\nkeyFile", "interfaces and bgp exclude each other"},
		"no URL":                      {health, "", `health.url is "": write where`},
		"neither authority nor trust": {", insecureSkipTLSVerify: true", "", "health.caFile is missing: name the file"},
		"authority and trust":         {"insecureSkip", "caFile: /ca, insecureSkip", "health.caFile and health.insecureSkipTLSVerify exclude"},
		"an authority that is absent": {"insecureSkipTLSVerify: true", "caFile: /absent", "health.caFile: open /absent"},
		"an authority without PEM":    {"insecureSkipTLSVerify: true", "caFile: /no", "health.caFile: /no has no certificate in PEM"},
		"no key":                      {"keyFile: /key\n", "", "keyFile is missing: name a file"},
		"a key that is absent":        {"/key", "/absent", "keyFile: open /absent"},
		"a short key":                 {"/key", "/short", "keyFile: a line of /short has 6 characters: write keys of at least 32"},
		"an empty key":                {"/key", "/empty", "keyFile: /empty is empty: write a key"},
		"routers without an AS":       {"keyFile", "bgp: {peers: [{address: 192.0.2.1, asn: 2}]}\nkeyFile", "bgp needs asn"},
		"a router without an AS":      {"keyFile", "bgp: {asn: 1, peers: [{address: 192.0.2.1}]}\nkeyFile", "bgp.peers[0].asn is missing"},
		"a router without address":    {"keyFile", "bgp: {asn: 1, peers: [{asn: 2}]}\nkeyFile", `bgp.peers[0].address is "": write`},
		"a router twice":              {"keyFile", "bgp: {asn: 1, peers: [{address: 192.0.2.1, asn: 2}, {address: 192.0.2.1, asn: 2}]}\nkeyFile", "bgp.peers[1].address: 192.0.2.1 is there twice"},
		"hops within an AS":           {"keyFile", "bgp: {asn: 1, peers: [{address: 192.0.2.1, asn: 1, ebgpMultiHop: true}]}\nkeyFile", "bgp.peers[0].ebgpMultiHop"},
		"an empty password":           {"keyFile", "bgp: {asn: 1, peers: [{address: 192.0.2.1, asn: 2, passwordFile: /empty}]}\nkeyFile", "bgp.peers[0].passwordFile: /empty has 0 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatalf("%q is not in the file", c.old)
			}
			_, err := Parse([]byte(text), "a", files)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.Contains(c.want, "open /") && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v hides that the file does not exist", err)
			}
		})
	}
}

// The file that the how-to shows is one that a speaker takes.
func TestTheFileOfTheDocuments(t *testing.T) {
	page, err := os.ReadFile("../../docs/how-to/control-plane.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(page), "\n```yaml")[1:] {
		_, block, _ := strings.Cut(part, "\n")
		block, _, _ = strings.Cut(block, "\n```")
		blocks = append(blocks, block)
	}
	at := func(start string) string {
		i := slices.IndexFunc(blocks, func(b string) bool { return strings.HasPrefix(b, start) })
		if i < 0 {
			t.Fatalf("no block starts with %q", start)
		}
		return blocks[i]
	}
	files := read(map[string]string{"/etc/steelyard/control-plane.key": key, "/etc/kubernetes/pki/ca.crt": authority(t)})
	local := at("addresses:")
	c, err := Parse([]byte(local), "cp1", files)
	if err != nil || len(c.Nodes) != 3 || c.Health.ServerName != "kubernetes" {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = Parse([]byte(strings.Replace(local, "interfaces: [eth0]\n", at("bgp:")+"\n", 1)), "cp2", files)
	if err != nil || len(c.Routers) != 1 || c.Routers[0].BFD.Multiplier == 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// authority returns a certificate in PEM.
func authority(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
