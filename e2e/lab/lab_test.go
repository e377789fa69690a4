package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOptions(t *testing.T) {
	cases := []struct {
		name    string
		in      Options
		want    Options
		refused string // part of the error; empty: accepted
	}{
		{name: "nothing said is three nodes with BIRD and nftables", want: Options{Name: "rack", Nodes: 3, Router: "bird", Proxy: "nftables", Controllers: 1, NodePorts: "20000-32767"}},
		{name: "what is said stays", in: Options{Name: "b2", Nodes: 89, Router: "none", Proxy: "iptables", Controllers: 9, NodePorts: "30000-30099"},
			want: Options{Name: "b2", Nodes: 89, Router: "none", Proxy: "iptables", Controllers: 9, NodePorts: "30000-30099"}},
		{name: "a dash would make prefixes ambiguous", in: Options{Name: "a-b"}, refused: "rack name"},
		{name: "nine characters are too many", in: Options{Name: "abcdefghi"}, refused: "rack name"},
		{name: "the ninetieth node would be in the pool of addresses", in: Options{Nodes: 90}, refused: "1 to 89"},
		{name: "an unknown router is answered with the known ones", in: Options{Router: "quagga"}, refused: "bird, frr or none"},
		{name: "an unknown proxy is answered with the known ones", in: Options{Proxy: "ipvs"}, refused: "nftables, iptables or other"},
		{name: "ten controllers are too many", in: Options{Controllers: 10}, refused: "1 to 9"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.in.complete()
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("error %v does not say %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// The plan is written down in test stories too, so it must not move.
func TestPlan(t *testing.T) {
	r := &Rack{Options: Options{Name: "r", Nodes: 2}}
	golden(t, "plan.txt", func() string {
		var b strings.Builder
		for _, h := range r.Hosts() {
			b.WriteString("# " + h.Name + "\n" + r.addresses(h))
		}
		return "# cables\n" + r.cables() + b.String()
	}())
}

// Others scrape these ports and kill these processes.
func TestControllers(t *testing.T) {
	r := &Rack{Options: Options{Name: "r", Controllers: 2, ControllerFlags: []string{"--log-level", "DEBUG"}}}
	got := map[string][]string{}
	for _, p := range r.controllers() {
		if p.Host != "control" {
			t.Errorf("%s is on %s", p.Name, p.Host)
		}
		got[p.Name] = p.Argv[5:]
	}
	want := map[string][]string{
		"controller":   {"--metrics-bind-address", "127.0.0.1:7472", "--log-level", "DEBUG"},
		"controller-2": {"--metrics-bind-address", "127.0.0.1:7473", "--log-level", "DEBUG"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := r.MetricsAddress("speaker"); got != "" {
		t.Errorf("the speaker is a controller, at %s", got)
	}
}

func TestRouterConfiguration(t *testing.T) {
	o := Options{Nodes: 1}
	golden(t, "bird.conf", o.birdConfig())
	golden(t, "bgpd.conf", o.frrConfig())
	golden(t, "peers.yaml", o.Peers())
}

// golden compares with a file of testdata; UPDATE=1 rewrites the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (UPDATE=1 accepts it):\n%s", name, d)
	}
}

// All racks have one address plan, and kubectl tells clusters apart by address.
func TestKubectlRemembersEachRackApart(t *testing.T) {
	cache := func(name string) string {
		r := &Rack{Options: Options{Name: name}}
		for _, v := range r.Command(t.Context(), "control", "kubectl").Env {
			if dir, ok := strings.CutPrefix(v, "KUBECACHEDIR="); ok && strings.HasPrefix(dir, r.path()+"/") {
				return dir
			}
		}
		t.Fatalf("rack %s: no folder of its own for what kubectl remembers", name)
		return ""
	}
	if a, b := cache("a"), cache("b"); a == b {
		t.Errorf("both in %s", a)
	}
}
