package cluster

import (
	"net"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/e2e/kind/engine"
)

func TestHostsAreTheContainersOfKindAndOurs(t *testing.T) {
	c := Cluster{Options: Options{Workers: 3}}
	want := []string{"steelyard-router", "steelyard-client", "steelyard-outside", "steelyard-control-plane", "steelyard-worker", "steelyard-worker2", "steelyard-worker3"}
	var got []string
	for _, h := range c.Hosts()[1:] {
		got = append(got, container(h))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestKindIsToldOfCgroupsOnlyWhereItMust(t *testing.T) {
	for _, v1 := range []bool{true, false} {
		c := Cluster{Options: Options{Workers: 2, Proxy: "iptables"}, Engine: &engine.Engine{Address: "127.0.0.1", CgroupV1: v1}}
		var config struct {
			Networking           struct{ IPFamily, KubeProxyMode, APIServerAddress string }
			Nodes                []struct{ Role string }
			KubeadmConfigPatches []string
		}
		if err := yaml.UnmarshalStrict([]byte(strings.Replace(strings.Replace(c.kindConfig(), "kind: Cluster\n", "", 1), "apiVersion: kind.x-k8s.io/v1alpha4\n", "", 1)), &config); err != nil {
			t.Fatal(err)
		}
		if len(config.Nodes) != 3 || config.Nodes[0].Role != "control-plane" || config.Networking.IPFamily != "dual" ||
			config.Networking.KubeProxyMode != "iptables" || (len(config.KubeadmConfigPatches) == 1) != v1 {
			t.Errorf("%+v", config)
		}
	}
}

func TestAMachineInTheClustersNetworkIsNoticed(t *testing.T) {
	for address, want := range map[string]bool{
		"192.0.2.2/24": true, "192.0.2.2/32": true, "2001:db8:51::9/64": true, "192.0.0.1/16": true,
		"10.0.0.1/8": false, "fd00::2/64": false, "127.0.0.1/8": false,
	} {
		ip, network, err := net.ParseCIDR(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := meets(&net.IPNet{IP: ip, Mask: network.Mask}); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

func TestOptionsAreCheckedAndFilledIn(t *testing.T) {
	o := Options{}
	if err := o.complete(); err != nil || o.Workers != 2 || o.Proxy != "nftables" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range []Options{{Workers: 5}, {Workers: -1}, {Images: "mine"}, {Proxy: "ipvs"}} {
		if err := bad.complete(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
