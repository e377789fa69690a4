package main

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// privilege is a capability (capabilities(7)) that the speaker uses.
type privilege struct {
	name   string
	number uint
	use    string // what can't be done without it
	must   bool   // without it the speaker is of no use
}

// privileges are all that the speaker needs beyond what any user may do. MD5
// signatures, GTSM and binding to a device (the first time) need none.
var privileges = []privilege{
	{"NET_RAW", unix.CAP_NET_RAW, "to speak ARP and NDP, to find unnumbered BGP peers, and to ask hosts on the link for a sign of life", true},
	{"NET_ADMIN", unix.CAP_NET_ADMIN, "to put neighbors back that the kernel forgets when a link bounces, to keep packets from going in circles between router and node, and to queue more BFD packets than an ordinary socket may", false},
}

// checkPrivileges returns an error if the speaker can't work for want of a
// capability, and logs what it has to do without.
func checkPrivileges(log *slog.Logger) error {
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
				"and the image must have kept the capabilities of its file /speaker; where it can't, run the speaker as root (runAsUser 0)", p.name, p.use)
		default:
			log.Warn("the speaker lacks a capability and goes on without", "capability", p.name, "use", p.use)
		}
	}
	return nil
}
