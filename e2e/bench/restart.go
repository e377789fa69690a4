package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// restart kills the only controller, makes a Service, and starts it again. How
// long it waits for its own old Lease is not counted. The floor is a client that
// lists all Services and patches one.
func (b *bench) restart(ctx context.Context) error {
	if err := b.ready(ctx, b.scaled(full)); err != nil {
		return err
	}
	written := b.ledger.rewrites(b.held)
	var ours, floors []time.Duration
	for round := range b.rounds {
		fmt.Printf("  restart, round %d of %d\n", round+1, b.rounds)
		d, err := b.restartOnce(ctx)
		if err != nil {
			return err
		}
		ours = append(ours, d)
		if err := b.settle(ctx); err != nil {
			return err
		}
		if d, err = b.coldFloor(ctx); err != nil {
			return err
		}
		floors = append(floors, d)
	}
	what := fmt.Sprintf("restart, %d Services, %d rounds", len(b.held), b.rounds)
	return table([][]string{
		{what, "median", "most", "other Services written"},
		{"a bare client lists all and patches one", ms(at(floors, 0.5)), ms(at(floors, 1)), ""},
		{"from the Lease to a new Service served", ms(at(ours, 0.5)), ms(at(ours, 1)), fmt.Sprint(b.ledger.rewrites(b.held) - written)},
		{"ratio", times([]float64{ratio(at(ours, 0.5), at(floors, 0.5))}), "", ""},
	})
}

func (b *bench) restartOnce(ctx context.Context) (time.Duration, error) {
	active, err := b.active(ctx)
	if err != nil {
		return 0, err
	}
	if err := b.rack.Kill("control", active, syscall.SIGKILL); err != nil {
		return 0, err
	}
	of := b.begin(1)
	if err := b.create(ctx, of, spec{}, 1); err != nil {
		return 0, err
	}
	taken, err := b.taken(ctx, func() error { return b.rack.Start("control", active) })
	if err != nil {
		return 0, err
	}
	if err := b.ledger.await(ctx, "new Service served", 1, func() int { return len(of.served) }); err != nil {
		return 0, err
	}
	return of.entries[0].served.Sub(taken), b.remove(ctx, of.entries)
}

// taken runs do and returns when the watch has shown that the controller's
// Lease has another holder than before, or the same that took it again.
func (b *bench) taken(ctx context.Context, do func() error) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	leases := b.client.CoordinationV1().Leases("steelyard-system")
	before, err := leases.Get(ctx, "steelyard-controller", metav1.GetOptions{})
	if err != nil {
		return time.Time{}, fmt.Errorf("read the controller's Lease: %w", err)
	}
	w, err := leases.Watch(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion, FieldSelector: "metadata.name=" + before.Name})
	if err != nil {
		return time.Time{}, fmt.Errorf("watch the controller's Lease: %w", err)
	}
	defer w.Stop()
	if err := do(); err != nil {
		return time.Time{}, err
	}
	for e := range w.ResultChan() {
		l, ok := e.Object.(*coordinationv1.Lease)
		if ok && e.Type == watch.Modified && holder(l) != "" && (holder(l) != holder(before) || !l.Spec.AcquireTime.Equal(before.Spec.AcquireTime)) {
			return time.Now(), nil
		}
	}
	return time.Time{}, errors.New("no replica has taken the controller's Lease for a minute")
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// coldFloor is the least that a controller must do that has just started: it
// lists all Services and patches the one that lacks an address.
func (b *bench) coldFloor(ctx context.Context) (time.Duration, error) {
	of := b.begin(1)
	if err := b.create(ctx, of, spec{class: floorClass}, 1); err != nil {
		return 0, err
	}
	start := time.Now()
	all, err := b.client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0", FieldSelector: "spec.type=LoadBalancer"})
	if err != nil {
		return 0, fmt.Errorf("list Services: %w", err)
	}
	for i := range all.Items {
		if all.Items[i].Name == of.entries[0].name {
			err = b.patchFloor(ctx, b.client, all.Items[i].Name)
		}
	}
	if err != nil {
		return 0, err
	}
	if err := b.ledger.await(ctx, "new Service served", 1, func() int { return len(of.served) }); err != nil {
		return 0, err
	}
	return of.entries[0].served.Sub(start), b.remove(ctx, of.entries)
}

// leader ends the active one of two replicas, makes a Service, and measures from
// the signal until that is served. The floor is the same without an end.
func (b *bench) leader(ctx context.Context) error {
	if err := b.ready(ctx, b.scaled(full)); err != nil {
		return err
	}
	if err := b.together(); err != nil {
		return err
	}
	written := b.ledger.rewrites(b.held)
	rows := [][]string{{fmt.Sprintf("a new Service, %d Services, %d rounds", len(b.held), b.rounds), "median", "most", "other Services written"}}
	for _, c := range []struct {
		what string
		sig  syscall.Signal
	}{
		{"nothing happens (the floor)", 0}, // signal 0 only checks: see kill(2)
		{"the active controller is stopped", syscall.SIGTERM},
		{"the active controller is killed", syscall.SIGKILL},
	} {
		var all []time.Duration
		for round := range b.rounds {
			fmt.Printf("  %s, round %d of %d\n", c.what, round+1, b.rounds)
			d, err := b.handOver(ctx, c.sig)
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		now := b.ledger.rewrites(b.held)
		rows = append(rows, []string{c.what, ms(at(all, 0.5)), ms(at(all, 1)), fmt.Sprint(now - written)})
		written = now
	}
	if err := b.alone(ctx); err != nil {
		return err
	}
	return table(rows)
}

// handOver signals the active controller and returns how long from then a
// Service waits that is made when it has ended. All replicas run before and after.
func (b *bench) handOver(ctx context.Context, sig syscall.Signal) (time.Duration, error) {
	active, err := b.active(ctx)
	if err != nil {
		return 0, err
	}
	if err := b.settle(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := b.rack.Kill("control", active, sig); err != nil {
		return 0, err
	}
	of, err := b.serve(ctx, 1, spec{})
	if err != nil {
		return 0, err
	}
	d := of.entries[0].served.Sub(start)
	if err := b.together(); err != nil {
		return 0, err
	}
	if err := b.remove(ctx, of.entries); err != nil {
		return 0, err
	}
	return d, b.settle(ctx)
}
