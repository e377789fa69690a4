package cluster

import (
	"time"

	"golang.org/x/sys/unix"
)

// Used returns the processor time that this process has used, for Loop.
func Used() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil { // never: the arguments are right
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
