package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestTheCNIConfigurationHasARangeAndARouteOfEachFamily(t *testing.T) {
	file := filepath.Join(t.TempDir(), "podnet.conflist")
	if err := writeConfig(file, []string{"10.244.1.0/24", "fd00:10:244:1::/64"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Plugins []struct {
			Type string
			IPAM struct {
				Ranges [][]struct{ Subnet string }
				Routes []struct{ Dst string }
			}
		}
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	ptp := config.Plugins[0]
	if len(config.Plugins) != 2 || ptp.Type != "ptp" || len(ptp.IPAM.Ranges) != 2 || ptp.IPAM.Ranges[1][0].Subnet != "fd00:10:244:1::/64" ||
		len(ptp.IPAM.Routes) != 2 || ptp.IPAM.Routes[0].Dst != "0.0.0.0/0" || ptp.IPAM.Routes[1].Dst != "::/0" {
		t.Errorf("%+v", config)
	}
}

func TestANodeWithoutPodCIDRsGetsNoConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "podnet.conflist")
	if err := writeConfig(file, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("there is one: %v", err)
	}
}

func TestANodesAddressIsItsInternalOneOfTheFamily(t *testing.T) {
	n := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "node1"}, {Type: corev1.NodeExternalIP, Address: "198.51.100.7"},
		{Type: corev1.NodeInternalIP, Address: "192.0.2.11"},
	}}}
	if a, ok := address(n, true); !ok || a != netip.MustParseAddr("192.0.2.11") {
		t.Errorf("%v, %v", a, ok)
	}
	if a, ok := address(n, false); ok {
		t.Errorf("%v, and it has none of IPv6", a)
	}
}
