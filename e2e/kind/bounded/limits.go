package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// capabilities are the kernel's, in the order of their numbers.
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// limits are what a process can pass on.
type limits struct {
	// bounding is the capability bounding set, one bit for each number.
	bounding uint64
	// oom is the least oom_score_adj that it can set: its own, unless it has
	// SYS_RESOURCE.
	oom int64
}

// ownLimits reads the limits of this process.
func ownLimits() (limits, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return limits{}, err
	}
	oom, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return limits{}, err
	}
	return parseLimits(string(status), string(oom))
}

// parseLimits reads the two files of /proc.
func parseLimits(status, oom string) (limits, error) {
	_, rest, _ := strings.Cut(status, "\nCapBnd:")
	line, _, _ := strings.Cut(rest, "\n")
	bounding, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return limits{}, fmt.Errorf("read the bounding set: %w", err)
	}
	l := limits{bounding: bounding, oom: -1000}
	if !l.has("CAP_SYS_RESOURCE") {
		if l.oom, err = strconv.ParseInt(strings.TrimSpace(oom), 10, 64); err != nil {
			return limits{}, fmt.Errorf("read oom_score_adj: %w", err)
		}
	}
	return l, nil
}

// has tells whether the bounding set has a capability. runc refuses by itself a
// name that it doesn't know.
func (l limits) has(name string) bool {
	i := slices.Index(capabilities, strings.TrimPrefix(name, "CAP_"))
	return i < 0 || l.bounding&(1<<i) != 0
}

// rewrite takes out of a file what can't be given; at is the member that
// describes the process, or empty if the whole file does.
func (l limits) rewrite(file, at string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	fitted, err := l.fit(text, at)
	if err != nil {
		return fmt.Errorf("fit %s: %w", file, err)
	}
	if err := os.WriteFile(file+".bounded", fitted, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".bounded", filepath.Clean(file))
}

func (l limits) fit(text []byte, at string) ([]byte, error) {
	var whole map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // 64 bits stay 64 bits
	if err := decoder.Decode(&whole); err != nil {
		return nil, err
	}
	process := whole
	if at != "" {
		process, _ = whole[at].(map[string]any)
	}
	sets, _ := process["capabilities"].(map[string]any)
	for name, set := range sets {
		all, _ := set.([]any)
		sets[name] = slices.DeleteFunc(all, func(c any) bool { s, _ := c.(string); return !l.has(s) })
	}
	if adjust, ok := process["oomScoreAdj"].(json.Number); ok {
		if n, err := adjust.Int64(); err == nil && n < l.oom {
			process["oomScoreAdj"] = l.oom
		}
	}
	return json.Marshal(whole)
}
