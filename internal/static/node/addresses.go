package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// lifetime is for how long the kernel keeps an address that is not renewed: the process was
	// killed, or stands still, and another node has the address by then.
	lifetime = 3 * time.Second
	// restartLifetime is for how long it keeps one after the speaker was stopped: longer than the
	// others wait for the next one (membership.Hold).
	restartLifetime = 15 * time.Second
	// renewInterval is how often addresses are renewed.
	renewInterval = time.Second
)

// Addresses keeps addresses on the loopback interface, from where the kernel delivers what
// arrives for them, and answers neighbor solicitations for none. Each has a lifetime, so that it
// is gone soon after the process. Make one with NewAddresses.
type Addresses struct {
	log    *slog.Logger
	want   atomic.Pointer[wanted]
	wake   chan struct{} // buffered 1
	set    []netip.Addr  // that are on the interface
	failed string
}

// wanted is what Set was called with.
type wanted struct{ all, here []netip.Addr }

// NewAddresses returns Addresses that leave the interface as it is until Set.
func NewAddresses(log *slog.Logger) *Addresses {
	return &Addresses{log: log, wake: make(chan struct{}, 1)}
}

// Set sets which of all addresses are to be here. It returns at once; Run does the work. The same
// again does nothing.
func (a *Addresses) Set(all, here []netip.Addr) {
	w := &wanted{slices.Clone(all), slices.Clone(here)}
	if old := a.want.Swap(w); old == nil || !slices.Equal(old.all, w.all) || !slices.Equal(old.here, w.here) {
		wait.Signal(a.wake)
	}
}

// Run sets and renews addresses until ctx ends. Then they stay for a while: the next speaker goes
// on with them.
func (a *Addresses) Run(ctx context.Context) error {
	tick := time.NewTicker(renewInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			a.apply(restartLifetime)
			return nil
		case <-tick.C:
		case <-a.wake:
		}
		a.apply(lifetime)
	}
}

// apply sets and removes addresses, and logs a failure that is another than the last one. What a
// former process left is removed as well.
func (a *Addresses) apply(valid time.Duration) {
	w, failed := a.want.Load(), ""
	if w == nil {
		return
	}
	lo, err := netlink.LinkByIndex(loopback)
	if err == nil {
		for _, addr := range slices.Concat(a.set, w.all) {
			err = errors.Join(err, set(lo, addr, slices.Contains(w.here, addr), valid))
		}
		a.set = w.here
	}
	if err != nil {
		failed = err.Error()
	}
	if failed != "" && failed != a.failed {
		a.log.Error("clients of an address are not served here", "err", err)
	}
	a.failed = failed
}

// loopback is the index of the loopback interface in every network namespace.
const loopback = 1

func set(lo netlink.Link, addr netip.Addr, here bool, valid time.Duration) error {
	x := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}}
	if addr.Is6() {
		x.Flags = syscall.IFA_F_NODAD
	}
	if !here {
		if err := netlink.AddrDel(lo, x); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return fmt.Errorf("remove %s from the loopback interface: %w", addr, err)
		}
		return nil
	}
	x.ValidLft = int(valid.Seconds()) // deprecated from the start (RFC 4862 section 5.5.4): never the source of a new connection
	if err := netlink.AddrReplace(lo, x); err != nil {
		return fmt.Errorf("add %s to the loopback interface (the speaker needs the capability NET_ADMIN): %w", addr, err)
	}
	return nil
}
