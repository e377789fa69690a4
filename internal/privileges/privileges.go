// Package privileges checks that the speaker has the capabilities (capabilities(7)) that it
// needs. It gives up none, and asks for none.
package privileges

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// privilege is a capability (capabilities(7)) that the speaker uses.
type privilege struct {
	name   string
	number uint
	use    string // what the speaker needs it for
	must   bool   // the speaker cannot work without it
}

// privileges are the capabilities that the speaker uses. MD5 signatures, GTSM and binding a
// socket to a device for the first time need none.
var privileges = []privilege{
	{"NET_RAW", unix.CAP_NET_RAW, "to send and receive ARP and NDP frames, to find unnumbered BGP peers, and to probe hosts on the link", true},
	{"NET_ADMIN", unix.CAP_NET_ADMIN, "to restore neighbor entries that the kernel drops when a link goes down, to prevent routing loops between router and node, and to queue more BFD packets than an ordinary socket may", false},
}

// Check returns an error if the speaker lacks a capability without which it cannot
// work, and logs the others that it lacks.
func Check(log *slog.Logger) error {
	var sets [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read the process's capabilities: %w", err)
	}
	for _, p := range privileges {
		switch {
		case sets[p.number/32].Effective&(1<<(p.number%32)) != 0:
		case p.must:
			return fmt.Errorf("the speaker lacks the capability %s, which it needs %s: "+
				"its securityContext must add it, and should not set allowPrivilegeEscalation to false, "+
				"and the image must keep the file capabilities of /speaker; if it cannot, run the speaker as root (runAsUser 0)", p.name, p.use)
		default:
			log.Warn("the speaker lacks a capability and continues without it", "capability", p.name, "use", p.use)
		}
	}
	return nil
}
