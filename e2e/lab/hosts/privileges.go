package hosts

import (
	"fmt"
	"strings"
)

// Privileges are what a process may do. The zero value is an unprivileged
// process of user 0.
type Privileges struct {
	// User is the number of the process's user and of its only group.
	User int64 `json:"user"`
	// Capabilities are the only ones that it has or can ever get, as NET_RAW.
	Capabilities []string `json:"capabilities,omitempty"`
}

// confine returns what goes before a command line so that the program runs with
// these privileges. The program is opened first, by root: that user may not
// be able to reach the folder that it is in.
func (p Privileges) confine() []string {
	only := "-all"
	for _, c := range p.Capabilities {
		only += ",+" + strings.ToLower(c)
	}
	script := fmt.Sprintf(`exec 9<"$0" && exec setpriv --reuid %[1]d --regid %[1]d --clear-groups `+
		`--bounding-set %[2]s --inh-caps %[2]s --ambient-caps %[2]s --no-new-privs -- /proc/self/fd/9 "$@"`, p.User, only)
	return []string{"sh", "-c", script}
}
