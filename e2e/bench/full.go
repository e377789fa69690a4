package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fill measures how long a session takes from being up to all routes.
func (b *routing) fill(ctx context.Context, rounds int) error {
	var collected, learned []time.Duration
	for range rounds {
		for _, p := range b.peers {
			ended, err := p.again()
			if err != nil {
				return fmt.Errorf("end a session: %w", err)
			}
			took, err := p.whole(ctx, b.made, ended)
			if err != nil {
				return err
			}
			collected = append(collected, took)
		}
		took, err := b.learn(ctx)
		if err != nil {
			return err
		}
		learned = append(learned, took)
	}
	b.add(fmt.Sprintf("%d routes from session up, to a bare receiver", b.made), collected)
	b.add("    to the router's table", learned)
	return nil
}

// learn ends the router's session and measures from when it was last seen not to
// be up to when the router counts all routes: at most one question too long.
func (b *routing) learn(ctx context.Context) (time.Duration, error) {
	restart := []string{"birdc", "-s", filepath.Join("/run/steelyard-rack", b.rack.Name, "bird.ctl"), "restart", "node1_v4"}
	if b.rack.Router == "frr" {
		restart = []string{"vtysh", "-N", b.rack.Name + "-router", "-c", "clear bgp 192.0.2.11"}
	}
	if out, err := b.rack.Command(ctx, "router", restart...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("restart the router's session: %w: %s", err, out)
	}
	var down time.Time
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); {
		asked := time.Now()
		established, n, err := b.learned(ctx)
		switch {
		case err != nil:
			return 0, err
		case !established:
			down = asked
		case !down.IsZero() && n == b.made:
			return time.Since(down), nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("wait for the router to have %d routes: not within 5 minutes", b.made)
}

// learned asks the router for its session and how many routes came in it.
func (b *routing) learned(ctx context.Context) (established bool, routes int, err error) {
	if b.rack.Router == "frr" {
		out, err := b.rack.Command(ctx, "router", "vtysh", "-N", b.rack.Name+"-router", "-c", "show bgp ipv4 unicast summary json").Output()
		if err != nil {
			return false, 0, fmt.Errorf("ask FRR: %w", err)
		}
		var answer struct {
			Peers map[string]struct {
				State  string
				PfxRcd int
			}
		}
		if err := json.Unmarshal(out, &answer); err != nil {
			return false, 0, fmt.Errorf("read FRR's answer: %w", err)
		}
		p := answer.Peers["192.0.2.11"]
		return p.State == "Established", p.PfxRcd, nil
	}
	out, err := b.rack.Command(ctx, "router", "birdc", "-s", filepath.Join("/run/steelyard-rack", b.rack.Name, "bird.ctl"), "show", "protocols", "all", "node1_v4").Output()
	if err != nil {
		return false, 0, fmt.Errorf("ask BIRD: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "Routes:" {
			if _, err := fmt.Sscan(f[1], &routes); err != nil {
				return false, 0, fmt.Errorf("read BIRD's answer: %w", err)
			}
		}
	}
	return strings.Contains(string(out), "Established"), routes, nil
}

// sizes tells the memory of the speaker with its peers, and with more; how long
// sessions took to come up; and how large the programs are.
func (b *routing) sizes(ctx context.Context) error {
	if err := b.memory(); err != nil {
		return err
	}
	if err := b.collect(ctx, more); err != nil {
		return err
	}
	for _, p := range b.peers {
		if _, err := p.whole(ctx, b.made, time.Time{}); err != nil {
			return err
		}
	}
	if err := pause(ctx, 5*time.Second); err != nil { // the cluster comes to rest
		return err
	}
	if err := b.memory(); err != nil {
		return err
	}
	var dials []time.Duration
	for _, p := range b.peers {
		p.mu.Lock()
		dials = append(dials, p.dials...)
		p.mu.Unlock()
	}
	b.add(fmt.Sprintf("a session comes up, from the connection on, at a bare receiver, %d times", len(dials)), dials)
	for _, program := range []string{"speaker", "controller"} {
		info, err := os.Stat(filepath.Join(b.rack.Bin, program))
		if err != nil {
			return fmt.Errorf("measure a program: %w", err)
		}
		b.rows = append(b.rows, []string{"size of " + program, fmt.Sprintf("%.1f MB", float64(info.Size())/1e6)})
	}
	return nil
}

// memory tells that of the speaker.
func (b *routing) memory() error {
	all, err := b.rack.Processes()
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Name != "speaker" {
			continue
		}
		now, peak, err := resident(p.PID)
		if err != nil {
			return err
		}
		b.rows = append(b.rows, []string{fmt.Sprintf("memory of the speaker, %d routes, %d peers", b.made, len(b.peers)+1), now, "", peak})
	}
	return nil
}
