package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// site is one address whose only Pod runs on node3, so that node1 can lose its
// cable, or its speaker, without a loss of the Pod.
const site = `
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: lan}
spec: {addresses: [192.0.2.100]}
---
apiVersion: steelyard.dev/v1beta1
kind: L2Advertisement
metadata: {name: lan}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeSelector: {kubernetes.io/hostname: node3}
  containers: [{name: web, image: agnhost, args: [netexec], ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

const address = "192.0.2.100"

// outages measures how long a client gets no connection when the node that
// answers for an address fails in several ways.
func outages(ctx context.Context, r *lab.Rack, o options) error {
	if err := kubectl(ctx, r, site, "apply", "-f", "-"); err != nil {
		return err
	}
	rows := [][]string{{"outage for a client, layer 2", "least", "median", "most"}}
	for _, f := range []struct {
		name       string
		harm, mend func() error
	}{
		{"the owner's cable is cut", func() error { return r.Cut("node1") }, func() error { return r.Join("node1") }},
		{"its speaker is killed", func() error { return r.Kill("node1", "speaker", syscall.SIGKILL) }, func() error { return r.Start("node1", "speaker") }},
		{"its speaker is stopped", func() error { return r.Kill("node1", "speaker", syscall.SIGTERM) }, func() error { return r.Start("node1", "speaker") }},
		{"nothing happens (the floor)", func() error { return nil }, func() error { return nil }},
	} {
		var times []time.Duration
		for round := range o.rounds {
			fmt.Printf("outage, %s, round %d of %d\n", f.name, round+1, o.rounds)
			if err := owned(ctx, r); err != nil {
				return err
			}
			d, err := outage(ctx, r, f.harm)
			if err := errors.Join(err, f.mend()); err != nil {
				return err
			}
			times = append(times, d)
		}
		slices.Sort(times)
		rows = append(rows, []string{f.name, ms(times[0]), ms(times[len(times)/2]), ms(times[len(times)-1])})
	}
	return table(rows)
}

// owned makes node1 the owner of the address, and returns when it has answered
// through node1 for some seconds.
func owned(ctx context.Context, r *lab.Rack) error {
	want := `{"spec":{"node":"node1"}}`
	var err error
	for range 150 {
		time.Sleep(200 * time.Millisecond)
		if err = kubectl(ctx, r, "", "patch", "l2claim", address, "--type", "merge", "-p", want); err != nil {
			continue
		}
		if err = kubectl(ctx, r, "", "wait", "l2claim", address, "--for", "jsonpath={.status.node}=node1", "--timeout", "2s"); err != nil {
			continue
		}
		if err = r.Command(ctx, "client", "curl", "-sS", "--max-time", "1", "http://"+address+"/hostname").Run(); err == nil {
			time.Sleep(3 * time.Second)
			return nil
		}
	}
	return fmt.Errorf("node1 does not answer for %s: %w", address, err)
}

// outage breaks something while a client connects again and again, and returns
// the longest time without a connection.
func outage(ctx context.Context, r *lab.Rack, breakIt func() error) (time.Duration, error) {
	probe := exec.CommandContext(ctx, filepath.Join(r.Bin, "rack"), "probe", "--name", r.Name, "client", address+":80", "--for", "9s")
	var out strings.Builder
	probe.Stdout, probe.Stderr = &out, &out
	if err := probe.Start(); err != nil {
		return 0, fmt.Errorf("start the probe: %w", err)
	}
	time.Sleep(1500 * time.Millisecond)
	err := breakIt()
	if err := errors.Join(err, probe.Wait()); err != nil {
		return 0, fmt.Errorf("probe: %w: %s", err, out.String())
	}
	found := regexp.MustCompile(`longest time without any: ([0-9.]+)s`).FindStringSubmatch(out.String())
	if found == nil {
		return 0, fmt.Errorf("the probe told nothing: %s", out.String())
	}
	seconds, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		return 0, fmt.Errorf("read the probe's time: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
