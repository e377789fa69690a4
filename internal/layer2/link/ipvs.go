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

// KernelAnswers returns the reason for which this node's kernel answers ARP for the
// addresses of Services by itself, as on every node; "": it does not. kube-proxy in
// mode "ipvs" adds the addresses to a link, and without strictARP lets the kernel
// answer for them.
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
	return ipvsAnswers(settings["arp_ignore"], settings["arp_announce"]), nil
}

// ipvsAnswers returns what KernelAnswers does, from the sysctls. strictARP sets them to
// 1 and 2.
func ipvsAnswers(ignore, announce string) string {
	if ignore != "0" && announce == "2" {
		return ""
	}
	return fmt.Sprintf("kube-proxy runs in mode ipvs without strictARP, so that this node answers ARP for every Service's address "+
		"(%s is there, net.ipv4.conf.all.arp_ignore is %s and arp_announce %s): set ipvs.strictARP in kube-proxy's configuration", ipvsLink, ignore, announce)
}
