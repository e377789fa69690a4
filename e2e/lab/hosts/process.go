package hosts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Table is the processes of a group of hosts, and what they have in common. It
// keeps one file for each process, so every program sees the same table.
type Table struct {
	// Prefix and the name of a host are the name of the host's namespace.
	Prefix string
	// Folder holds the records under processes and the logs under log.
	Folder string
	// Env is the environment of each process; nothing else is inherited.
	Env []string
}

func (t Table) path(parts ...string) string {
	return filepath.Join(append([]string{t.Folder}, parts...)...)
}

// Process is a long-running program on a host. It has no supervisor: once
// killed it stays dead until Start.
type Process struct {
	Host string   `json:"host"`
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	// Env is added to the table's.
	Env []string `json:"env,omitempty"`
	// Privileges are what it may do; nil: whatever root may.
	Privileges *Privileges `json:"privileges,omitempty"`
	// MakesHosts is for a process that makes namespaces itself.
	MakesHosts bool `json:"makesHosts,omitempty"`
	PID        int  `json:"pid"`
	// Started is the kernel's start time of PID, in clock ticks since boot: a
	// later process may get the same PID, but not the same time.
	Started uint64 `json:"started"`
}

// State is "running", "stopped" (by a signal) or "dead".
func (p Process) State() string {
	state, started := procStat(p.PID)
	switch {
	case started != p.Started || over(state):
		return "dead"
	case state == "T":
		return "stopped"
	}
	return "running"
}

// Alive reports whether there is such a process; one that has ended and that its parent has not
// has asked about yet is none.
func Alive(pid int) bool {
	state, _ := procStat(pid)
	return !over(state)
}

// over tells whether a state letter, or none, says that a process has ended.
func over(state string) bool { return state == "" || state == "Z" || state == "X" }

// procStat reads a process's state letter and start time; the time is 0 when
// there is no such process. See proc(5), fields 3 and 22.
func procStat(pid int) (state string, started uint64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	// Field 2, the name, stands in parentheses and may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	started, _ = strconv.ParseUint(fields[19], 10, 64)
	return fields[0], started
}

// Processes lists what was started, by host and name.
func (t Table) Processes() ([]Process, error) {
	files, err := filepath.Glob(t.path("processes", "*.json"))
	if err != nil {
		return nil, fmt.Errorf("find the process records: %w", err)
	}
	var all []Process
	for _, f := range files {
		var p Process
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read a process record: %w", err)
		}
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, fmt.Errorf("decode the process record %s: %w", f, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// Process finds one; an unknown name is answered with all that there are.
func (t Table) Process(host, name string) (Process, error) {
	all, err := t.Processes()
	if err != nil {
		return Process{}, err
	}
	var there []string
	for _, p := range all {
		if p.Host == host && p.Name == name {
			return p, nil
		}
		there = append(there, p.Host+" "+p.Name)
	}
	return Process{}, fmt.Errorf("no process %q on host %q; there are: %s", name, host, strings.Join(there, ", "))
}

// Kill sends a signal to a process. After one that asks a process to end (KILL,
// TERM, INT, QUIT) it returns when the process has ended, or with an error after 10 s.
func (t Table) Kill(host, name string, sig syscall.Signal) error {
	p, err := t.Process(host, name)
	if err != nil {
		return err
	}
	if p.State() == "dead" {
		return fmt.Errorf("process %s on %s is dead already", name, host)
	}
	if err := syscall.Kill(p.PID, sig); err != nil {
		return fmt.Errorf("send signal %s to %s on %s: %w", sig, name, host, err)
	}
	if !slices.Contains([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}, sig) {
		return nil
	}
	for end := time.Now().Add(10 * time.Second); p.State() != "dead"; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %s on %s is still there 10 s after signal %s", name, host, sig)
		}
	}
	return nil
}

// Start starts a dead process again, with the arguments it had.
func (t Table) Start(host, name string) error {
	p, err := t.Process(host, name)
	if err != nil {
		return err
	}
	if p.State() != "dead" {
		return fmt.Errorf("process %s on %s is %s already", name, host, p.State())
	}
	return t.Spawn(p)
}

// SpawnAll starts processes in their order.
func (t Table) SpawnAll(all []Process) error {
	for _, p := range all {
		if err := t.Spawn(p); err != nil {
			return err
		}
	}
	return nil
}

// Spawn starts a process that outlives its parent, and records it.
func (t Table) Spawn(p Process) error {
	// Both execute the program in their own place, so the pid is the program's.
	enter := []string{"ip", "netns", "exec", t.Prefix + p.Host}
	if p.MakesHosts {
		// ip netns exec gives mounts of its own as well, in which the
		// namespaces that it makes would be seen by no other process.
		enter = []string{"nsenter", "--net=" + filepath.Join(folder, t.Prefix+p.Host), "--"}
	}
	if p.Privileges != nil {
		enter = append(enter, p.Privileges.confine()...)
	}
	cmd := exec.Command(enter[0], append(enter[1:], p.Argv...)...)
	cmd.Env = append(t.Env, p.Env...)
	if err := t.Detach(cmd, p.Host, p.Name); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // reaps it, in case it ends before its parent; State tells how it is
	p.PID = cmd.Process.Pid
	_, p.Started = procStat(p.PID)
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encode process %s: %w", p.Name, err)
	}
	if err := os.MkdirAll(t.path("processes"), 0o755); err != nil {
		return fmt.Errorf("make the folder of processes: %w", err)
	}
	file := t.path("processes", p.Host+"."+p.Name+".json")
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return fmt.Errorf("record process %s: %w", p.Name, err)
	}
	return os.Rename(file+".new", file)
}

// Log is the log file of a process.
func (t Table) Log(host, process string) string { return t.path("log", host, process+".log") }

// Detach starts a command in a session of its own, with its output in a log file.
func (t Table) Detach(cmd *exec.Cmd, host, name string) error {
	if err := os.MkdirAll(t.path("log", host), 0o755); err != nil {
		return fmt.Errorf("make the log folder of %s: %w", host, err)
	}
	log, err := os.OpenFile(t.Log(host, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s on %s: %w", name, host, err)
	}
	return nil
}

// Logs returns the log files of a process, of a host (empty process), or of
// all hosts (empty host).
func (t Table) Logs(host, process string) ([]string, error) {
	if host == "" {
		host = "*"
	}
	if process == "" {
		process = "*"
	}
	files, err := filepath.Glob(t.path("log", host, process+".log"))
	if err != nil {
		return nil, fmt.Errorf("find the logs of %s %s: %w", host, process, err)
	}
	if len(files) == 0 {
		all, _ := filepath.Glob(t.path("log", "*", "*.log")) // a constant pattern has no error
		for i, f := range all {
			all[i] = filepath.Base(filepath.Dir(f)) + " " + strings.TrimSuffix(filepath.Base(f), ".log")
		}
		return nil, fmt.Errorf("no log for %q %q; there are: %s", host, process, strings.Join(all, ", "))
	}
	return files, nil
}

// CheckAlive tells which processes have died, with the end of its log.
func (t Table) CheckAlive() error {
	all, err := t.Processes()
	if err != nil {
		return err
	}
	var dead []error
	for _, p := range all {
		if p.State() == "dead" {
			dead = append(dead, fmt.Errorf("%s on %s has died; its last words:\n%s", p.Name, p.Host, tail(t.Log(p.Host, p.Name))))
		}
	}
	return errors.Join(dead...)
}

// tail returns the last lines of a file, as far as they can be read.
func tail(file string) string {
	text, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-8):], "\n  ")
}

// Until polls ready until it has no complaint, for a minute at most; it gives
// up at once when a process dies.
func (t Table) Until(ctx context.Context, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if dead := t.CheckAlive(); dead != nil {
			return fmt.Errorf("wait for %s: %w", what, dead)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
		case <-poll.C:
		}
	}
}
