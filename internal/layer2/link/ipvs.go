package link

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// ipvsLink is where kube-proxy, in its mode "ipvs", puts the address of each
// Service.
const ipvsLink = "kube-ipvs0"

// KernelAnswers says why this node's kernel answers ARP for the addresses of
// Services by itself, on every node at once, "" if it does not: kube-proxy in
// its mode "ipvs" gives it those addresses, and without strictARP does not tell
// it to keep quiet about them.
func KernelAnswers() (string, error) {
	if _, err := netlink.LinkByName(ipvsLink); errors.As(err, new(netlink.LinkNotFoundError)) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("look for %s: %w", ipvsLink, err)
	}
	settings := map[string]string{}
	for _, name := range []string{"arp_ignore", "arp_announce"} {
		b, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/" + name)
		if err != nil {
			return "", fmt.Errorf("read net.ipv4.conf.all.%s: %w", name, err)
		}
		settings[name] = strings.TrimSpace(string(b))
	}
	return loud(settings["arp_ignore"], settings["arp_announce"]), nil
}

// loud judges the settings: strictARP makes them 1 and 2.
func loud(ignore, announce string) string {
	if ignore != "0" && announce == "2" {
		return ""
	}
	return fmt.Sprintf("kube-proxy runs in mode ipvs without strictARP, so that this node answers ARP for every Service's address "+
		"(%s is there, net.ipv4.conf.all.arp_ignore is %s and arp_announce %s): set ipvs.strictARP in kube-proxy's configuration", ipvsLink, ignore, announce)
}
