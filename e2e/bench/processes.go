package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of processor time in /proc, on every Linux of today.
const tick = 10 * time.Millisecond

// pid returns the process of a replica of the controller, 0 if it is dead.
func (b *bench) pid(controller string) (int, error) {
	all, err := b.rack.Processes()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if p.Host == "control" && p.Name == controller && p.State() != "dead" {
			return p.PID, nil
		}
	}
	return 0, nil
}

// standbys returns the active replica, for which it waits, and the others that run.
func (b *bench) standbys(ctx context.Context) (active string, others []string, err error) {
	if active, err = b.active(ctx); err != nil {
		return "", nil, err
	}
	for _, name := range b.rack.Controllers() {
		switch pid, err := b.pid(name); {
		case err != nil:
			return "", nil, err
		case pid != 0 && name != active:
			others = append(others, name)
		}
	}
	return active, others, nil
}

// active waits until a replica is active, and returns it.
func (b *bench) active(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		name, err := b.rack.ActiveController(ctx)
		if err == nil {
			return name, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for an active controller: %w", err)
		case <-poll.C:
		}
	}
}

// alone leaves the active replica running, and no other.
func (b *bench) alone(ctx context.Context) error {
	_, others, err := b.standbys(ctx)
	if err != nil {
		return err
	}
	for _, name := range others {
		if err := b.rack.Kill("control", name, syscall.SIGTERM); err != nil {
			return err
		}
	}
	return nil
}

// together starts the replicas that don't run.
func (b *bench) together() error {
	for _, name := range b.rack.Controllers() {
		pid, err := b.pid(name)
		if err != nil {
			return err
		}
		if pid != 0 {
			continue
		}
		if err := b.rack.Start("control", name); err != nil {
			return err
		}
	}
	return nil
}

// used returns the processor time that a process has used since it started; 0
// for one that has ended. See proc(5), fields 14 and 15.
func used(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, nil // it has ended
	}
	// Field 2, the name, stands in parentheses and may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var sum time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("read the processor time of process %d: %w", pid, err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// controllerUsed returns the processor time of all replicas together.
func (b *bench) controllerUsed() (time.Duration, error) {
	var sum time.Duration
	for _, name := range b.rack.Controllers() {
		pid, err := b.pid(name)
		if err != nil {
			return 0, err
		}
		d, err := used(pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// settle returns when no program on the rack has anything left to do: all
// together use less than a quarter of one core for two seconds. (The heartbeats
// of a large cluster take some of it.) A cluster that is still busy after a
// minute is measured as it is, and that is said.
func (b *bench) settle(ctx context.Context) error {
	const window, quiet, attempts = 500 * time.Millisecond, 4, 120
	last, err := b.rackUsed()
	if err != nil {
		return err
	}
	still := 0
	for i := range attempts {
		if err := pause(ctx, window); err != nil {
			return err
		}
		now, err := b.rackUsed()
		if err != nil {
			return err
		}
		busy := now - last
		last = now
		if busy > window/4 {
			still = 0
		} else if still++; still == quiet {
			return b.ledger.fault()
		}
		if i%10 == 9 {
			fmt.Printf("  wait for the cluster to be idle: %d %% of one core is in use\n", 100*busy/window)
		}
	}
	fmt.Println("  the cluster is not idle; going on")
	return b.ledger.fault()
}

// rackUsed returns the processor time of all the rack's processes.
func (b *bench) rackUsed() (time.Duration, error) {
	all, err := b.rack.Processes()
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, p := range all {
		d, err := used(p.PID)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// resident returns a process's memory: what it has now and what it had at most.
func resident(pid int) (now, peak string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", "", fmt.Errorf("read the memory of a process: %w", err)
	}
	field := func(name string) string {
		found := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(text)
		if found == nil {
			err = fmt.Errorf("read the memory of process %d: no %s", pid, name)
			return ""
		}
		kib, _ := strconv.Atoi(string(found[1])) // digits only
		return fmt.Sprintf("%d MiB", kib>>10)
	}
	now, peak = field("VmRSS"), field("VmHWM")
	return now, peak, err
}
