// Package static is the world of a speaker without an API server: an address for the API
// server itself, announced from the control-plane nodes. It decides what a file of static claims
// says, and what is wrong with it; and, from what the speakers report to one another, the facts
// that otherwise come from Kubernetes: who the owner of an address is (in place of L2Claims), which
// speakers are there (Leases), their links (Speaker objects), and where the API server answers
// (endpoints).
//
// It does not decide which node answers: packages failover and announce do, as for Services.
package static

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Config is what a file of static claims says. The zero Config is not valid.
type Config struct {
	Addrs   []netip.Addr // sorted
	Nodes   []Node       // sorted by name
	Links   []string     // names or globs; empty: all that can speak layer 2
	Health  Health
	Keys    [][]byte        // of the speakers' messages: the first signs
	Routers []announce.Peer // empty: the addresses are announced on the local network
}

// Node is a node on which an API server may run.
type Node struct {
	Name string
	Addr netip.Addr
}

// Health says how to ask the API server on this node whether it is ready.
type Health struct {
	URL        string
	ServerName string // that its certificate must have; "": the host of URL
	CA         string // PEM; "": its certificate is not checked
}

// file is the file itself.
type file struct {
	Addresses  []string `json:"addresses"`
	Nodes      []member `json:"nodes"`
	Interfaces []string `json:"interfaces"`
	Health     health   `json:"health"`
	KeyFile    string   `json:"keyFile"`
	BGP        *bgp     `json:"bgp"`
}

type member struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

type health struct {
	URL        string `json:"url"`
	ServerName string `json:"serverName"`
	CAFile     string `json:"caFile"`
	Insecure   bool   `json:"insecureSkipTLSVerify"`
}

type bgp struct {
	ASN   uint32   `json:"asn"`
	Peers []router `json:"peers"`
}

type router struct {
	Address      string `json:"address"`
	ASN          uint32 `json:"asn"`
	Port         uint16 `json:"port"`
	PasswordFile string `json:"passwordFile"`
	MultiHop     bool   `json:"ebgpMultiHop"`
	BFD          bool   `json:"bfd"`
}

const (
	// maxNodes bounds how many speakers report to one another.
	maxNodes = 32
	// maxAddresses bounds the size of a report, which is one datagram.
	maxAddresses = 16
	// shortestKey is the least length of a key, in octets.
	shortestKey = 32
)

// Parse reads a file of static claims for the node self. read returns the files that it names.
// An error names the field, and what to write there.
func Parse(text []byte, self string, read func(name string) ([]byte, error)) (Config, error) {
	var f file
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		return Config{}, fmt.Errorf("it must be YAML with the fields addresses, nodes, interfaces, health, keyFile and bgp: %w", err)
	}
	var c Config
	for _, take := range []func(file) error{c.takeNodes, c.takeAddresses, c.takeInterfaces} {
		if err := take(f); err != nil {
			return Config{}, err
		}
	}
	if !slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Name == self }) {
		return Config{}, fmt.Errorf("nodes: none has the name %q, which --node-name (or NODE_NAME) gives this node: add it, or correct the name", self)
	}
	err := errors.Join(c.takeHealth(f.Health, read), c.takeKeys(f.KeyFile, read), c.takeRouters(f.BGP, read))
	return c, err
}

func (c *Config) takeNodes(f file) error {
	if len(f.Nodes) == 0 || len(f.Nodes) > maxNodes {
		return fmt.Errorf("nodes has %d entries: list each control-plane node with name and address, 1 to %d of them", len(f.Nodes), maxNodes)
	}
	for i, m := range f.Nodes {
		addr, err := netip.ParseAddr(m.Address)
		switch {
		case m.Name == "":
			return fmt.Errorf("nodes[%d].name is missing: write the name that the node's speaker has as --node-name", i)
		case err != nil || !usable(addr):
			return fmt.Errorf("nodes[%d].address is %q: write the node's own address, at which the others reach it, such as 192.0.2.11", i, m.Address)
		}
		for _, n := range c.Nodes {
			switch {
			case n.Name == m.Name:
				return fmt.Errorf("nodes[%d].name: %q is there twice: name each node once", i, m.Name)
			case n.Addr == addr:
				return fmt.Errorf("nodes[%d].address: %s is also the address of %s: give each node its own", i, addr, n.Name)
			}
		}
		c.Nodes = append(c.Nodes, Node{m.Name, addr})
	}
	slices.SortFunc(c.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

func usable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && a.Zone() == "" && !a.Is4In6()
}

func (c *Config) takeAddresses(f file) error {
	if len(f.Addresses) == 0 || len(f.Addresses) > maxAddresses {
		return fmt.Errorf("addresses has %d entries: list the addresses of the API server, such as 192.0.2.10, 1 to %d of them", len(f.Addresses), maxAddresses)
	}
	for i, text := range f.Addresses {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil || !usable(addr):
			return fmt.Errorf("addresses[%d] is %q: write one address without a prefix length, such as 192.0.2.10", i, text)
		case slices.Contains(c.Addrs, addr):
			return fmt.Errorf("addresses[%d]: %s is there twice: list it once", i, addr)
		}
		for _, n := range c.Nodes {
			if n.Addr == addr {
				return fmt.Errorf("addresses[%d]: %s is the own address of the node %s: use one that no host has", i, addr, n.Name)
			}
		}
		c.Addrs = append(c.Addrs, addr)
	}
	slices.SortFunc(c.Addrs, netip.Addr.Compare)
	return nil
}

func (c *Config) takeInterfaces(f file) error {
	if len(f.Interfaces) > 0 && f.BGP != nil {
		return errors.New("interfaces and bgp exclude each other: an address is announced on the local network or to routers; remove one of the two")
	}
	for i, glob := range f.Interfaces {
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			return fmt.Errorf("interfaces[%d] is %q: write the name of a network interface, such as eth0, or a glob", i, glob)
		}
	}
	c.Links = f.Interfaces
	return nil
}

func (c *Config) takeHealth(h health, read func(string) ([]byte, error)) error {
	c.Health = Health{URL: h.URL, ServerName: h.ServerName}
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("health.url is %q: write where the API server of this node says that it is ready, such as https://127.0.0.1:6443/readyz", h.URL)
	case u.Scheme == "http" || h.Insecure && h.CAFile == "":
		return nil
	case h.Insecure:
		return errors.New("health.caFile and health.insecureSkipTLSVerify exclude each other: remove one of the two")
	case h.CAFile == "":
		return errors.New("health.caFile is missing: name the file of the API server's authority, such as /etc/kubernetes/pki/ca.crt, or set health.insecureSkipTLSVerify")
	}
	ca, err := read(h.CAFile)
	if err != nil {
		return fmt.Errorf("health.caFile: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(ca) {
		return fmt.Errorf("health.caFile: %s has no certificate in PEM: name the API server's authority, such as /etc/kubernetes/pki/ca.crt", h.CAFile)
	}
	c.Health.CA = string(ca)
	return nil
}

func (c *Config) takeKeys(name string, read func(string) ([]byte, error)) error {
	if name == "" {
		return errors.New("keyFile is missing: name a file with a secret that is the same on all nodes, such as openssl rand -base64 32 writes it")
	}
	text, err := read(name)
	if err != nil {
		return fmt.Errorf("keyFile: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if key := strings.TrimSpace(line); len(key) >= shortestKey {
			c.Keys = append(c.Keys, []byte(key))
		} else if key != "" {
			return fmt.Errorf("keyFile: a line of %s has %d characters: write keys of at least %d, as openssl rand -base64 32 makes them, one a line", name, len(key), shortestKey)
		}
	}
	if len(c.Keys) == 0 {
		return fmt.Errorf("keyFile: %s is empty: write a key, as openssl rand -base64 32 makes it", name)
	}
	return nil
}

func (c *Config) takeRouters(b *bgp, read func(string) ([]byte, error)) error {
	if b == nil {
		return nil
	}
	if b.ASN == 0 || len(b.Peers) == 0 {
		return errors.New("bgp needs asn, the AS number of this side, and peers: write both, or remove bgp")
	}
	for i, r := range b.Peers {
		p, err := c.peer(b.ASN, r)
		if err == nil && r.PasswordFile != "" {
			p.Password, err = password(r.PasswordFile, read)
		}
		if err != nil {
			return fmt.Errorf("bgp.peers[%d].%w", i, err)
		}
		c.Routers = append(c.Routers, p)
	}
	return nil
}

// peer returns a router without its password.
func (c *Config) peer(asn uint32, r router) (announce.Peer, error) {
	addr, err := netip.ParseAddr(r.Address)
	switch {
	case err != nil || !usable(addr):
		return announce.Peer{}, fmt.Errorf("address is %q: write the router's address", r.Address)
	case r.ASN == 0:
		return announce.Peer{}, errors.New("asn is missing: write the router's AS number")
	case slices.ContainsFunc(c.Routers, func(p announce.Peer) bool { return p.Addr == addr && cmp.Or(p.Port, 179) == cmp.Or(r.Port, 179) }):
		return announce.Peer{}, fmt.Errorf("address: %s is there twice: list each router once", addr)
	case r.MultiHop && r.ASN == asn:
		return announce.Peer{}, errors.New("ebgpMultiHop: the router is in the same AS, where it has no meaning: remove it")
	}
	p := announce.Peer{
		Name: netip.AddrPortFrom(addr, cmp.Or(r.Port, 179)).String(), Addr: addr, Port: r.Port, LocalASN: asn, PeerASN: r.ASN, HoldTime: holdTime, KeepaliveTime: holdTime / 3, ConnectTime: connectTime,
	}
	if r.MultiHop {
		p.MultiHopTTL = 255
	}
	if r.BFD {
		p.BFD = announce.BFD{Receive: bfdInterval, Transmit: bfdInterval, Multiplier: 3, Hops: announce.HopsByNet}
	}
	return p, nil
}

func password(name string, read func(string) ([]byte, error)) (string, error) {
	text, err := read(name)
	if err != nil {
		return "", fmt.Errorf("passwordFile: %w", err)
	}
	out := strings.TrimSpace(string(text))
	if out == "" || len(out) > 80 {
		return "", fmt.Errorf("passwordFile: %s has %d characters: a password has 1 to 80", name, len(out))
	}
	return out, nil
}

// The timers of sessions. They are shorter than those of a BGPPeer: there is no API server that
// could say otherwise.
const (
	holdTime    = 9 * time.Second
	connectTime = 5 * time.Second
	bfdInterval = 300 * time.Millisecond
)
