package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// everywhere announces all pools by layer 2.
const everywhere = `
apiVersion: steelyard.dev/v1beta1
kind: L2Advertisement
metadata: {name: everywhere}
`

const (
	// announcing is how long the speakers may take to announce all addresses and
	// to write that down.
	announcing = 15 * time.Minute
	// resting is how long they are watched at rest: each address is announced
	// once more in that time.
	resting = time.Minute
)

// holding measures what it costs the speakers of three nodes to hold
// addresses for layer 2, when nothing happens.
func holding(ctx context.Context, r *lab.Rack, o options) error {
	b, err := newBench(ctx, r, o)
	if err != nil {
		return err
	}
	nodes := make([]string, r.Nodes)
	for i := range nodes {
		nodes[i] = fmt.Sprintf("node%d", i+1)
		// It has no part in this, and would be busy with the Services for long.
		if err := r.Kill(nodes[i], "kube-proxy", syscall.SIGKILL); err != nil {
			return err
		}
	}
	if err := kubectl(ctx, r, everywhere, "apply", "-f", "-"); err != nil {
		return err
	}
	rows := [][]string{{"speaker at rest", "addresses held", "resident", "at most so far", "of one core"}}
	for _, n := range []int{0, b.scaled(full)} {
		start := time.Now()
		if err := b.hold(ctx, n); err != nil {
			return err
		}
		if err := b.announced(ctx, nodes, n); err != nil {
			return err
		}
		fmt.Printf("  %d addresses are announced after %s\n", n, time.Since(start).Round(time.Second))
		if err := b.settle(ctx); err != nil {
			return err
		}
		more, err := b.speakersAtRest(ctx, nodes)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	return table(rows)
}

// announced waits until the nodes announce n addresses together, and have said
// so in as many L2Claims.
func (b *bench) announced(ctx context.Context, nodes []string, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, announcing, fmt.Errorf("the speakers do not announce %d addresses after %s", n, announcing))
	defer cancel()
	for {
		sum := 0
		for _, node := range nodes {
			have, err := b.holds(ctx, node)
			if err != nil {
				return err
			}
			sum += have
		}
		if sum == n {
			return b.written(ctx, n)
		}
		fmt.Printf("  %d of %d addresses announced\n", sum, n)
		if err := pause(ctx, 5*time.Second); err != nil {
			return err
		}
	}
}

// holds returns how many addresses a node's speaker announces.
func (b *bench) holds(ctx context.Context, node string) (int, error) {
	out, err := b.rack.Command(ctx, node, "curl", "-sS", "http://127.0.0.1:7474/metrics").Output()
	if err != nil {
		return 0, fmt.Errorf("read the metrics of the speaker on %s: %w", node, err)
	}
	found := regexp.MustCompile(`steelyard_layer2_addresses\{state="Announced"\} (\S+)`).FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("the speaker on %s does not count its addresses", node)
	}
	n, err := strconv.ParseFloat(string(found[1]), 64) // 10,000 is written 10000, a million 1e+06
	return int(n), err
}

// written waits until n L2Claims say that their node answers.
func (b *bench) written(ctx context.Context, n int) error {
	counted := regexp.MustCompile(`^(\d+)`)
	for {
		out, err := b.rack.Command(ctx, "control", "sh", "-c", "kubectl get l2claims.steelyard.dev -o 'jsonpath={range .items[*]}{.status.node}{\"\\n\"}{end}' | grep -c . || true").Output()
		if err != nil {
			return fmt.Errorf("list L2Claims: %w", err)
		}
		have := counted.FindSubmatch(out)
		if have == nil {
			return errors.New("list L2Claims: nothing was counted")
		}
		if string(have[1]) == strconv.Itoa(n) {
			return nil
		}
		fmt.Printf("  %s of %d L2Claims written\n", have[1], n)
		if err := pause(ctx, 5*time.Second); err != nil {
			return err
		}
	}
}

// speakersAtRest returns a row for each node.
func (b *bench) speakersAtRest(ctx context.Context, nodes []string) ([][]string, error) {
	pids, before := map[string]int{}, map[string]time.Duration{}
	all, err := b.rack.Processes()
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Name != "speaker" {
			continue
		}
		pids[p.Host] = p.PID
		if before[p.Host], err = used(p.PID); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	if err := pause(ctx, resting); err != nil {
		return nil, err
	}
	took := time.Since(start)
	var rows [][]string
	for _, node := range nodes {
		after, err := used(pids[node])
		if err != nil {
			return nil, err
		}
		now, peak, err := resident(pids[node])
		if err != nil {
			return nil, err
		}
		n, err := b.holds(ctx, node)
		if err != nil {
			return nil, err
		}
		share := 100 * float64(after-before[node]) / float64(took)
		rows = append(rows, []string{node, strconv.Itoa(n), now, peak, fmt.Sprintf("%.1f %%", share)})
	}
	return rows, nil
}
