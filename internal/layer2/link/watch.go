package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	retryPause = time.Second           // before what failed is tried again
	mergePause = 10 * time.Millisecond // between two listings, so that a burst of changes shares one
)

// Watcher lists the links again whenever the kernel reports a change of links or
// addresses. Make one with NewWatcher.
type Watcher struct {
	log     *slog.Logger
	ignored []string
	named   atomic.Pointer[[]string]
	changed chan struct{} // buffered 1: list again
	devices chan []Device
}

// NewWatcher returns a Watcher that leaves out the links of these names
// (globs). It starts nothing.
func NewWatcher(log *slog.Logger, ignored []string) *Watcher {
	w := &Watcher{log: log, ignored: ignored, changed: make(chan struct{}, 1), devices: make(chan []Device)}
	w.named.Store(new([]string))
	return w
}

// SetNamed sets the names of the links that are listed though they have no address. Others
// count only with one. Links that are left out stay so.
func (w *Watcher) SetNamed(names []string) {
	if slices.Equal(names, *w.named.Load()) {
		return
	}
	w.named.Store(&names)
	wait.Signal(w.changed)
}

// Devices returns the channel that gets all links, sorted by name, at first and
// whenever something may have changed.
func (w *Watcher) Devices() <-chan []Device { return w.devices }

// Run follows the links until ctx ends. It subscribes again when the kernel dropped
// messages (ENOBUFS) or the subscription failed.
func (w *Watcher) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.follow(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("link watch failed, subscribing again", "err", err)
			if !errors.Is(err, unix.ENOBUFS) {
				pause(ctx, retryPause)
			}
		}
	}
}

func (w *Watcher) follow(ctx context.Context) error {
	sub, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV6_NETCONF) // of forwarding
	if err != nil {
		return fmt.Errorf("subscribe to link changes: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer sub.Close() // ends the receiver
	defer cancel(nil)
	wait.Signal(w.changed) // list once, now that no change can be missed
	wg.Go(func() { cancel(receive(sub, w.changed)) })
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.changed:
		}
		devices, err := list(choice{w.ignored, *w.named.Load()})
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			wait.Signal(w.changed)
		} else if err != nil {
			return err
		} else {
			select {
			case w.devices <- devices:
			case <-ctx.Done():
			}
		}
		pause(ctx, mergePause)
	}
}

// receive signals each change.
func receive(sub *nl.NetlinkSocket, changed chan<- struct{}) error {
	for {
		if _, _, err := sub.Receive(); err != nil {
			return fmt.Errorf("receive link changes: %w", err)
		}
		wait.Signal(changed)
	}
}

// list reads links and addresses from the kernel. It returns those that can
// speak layer 2, sorted by name.
func list(c choice) ([]Device, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	links, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	of := map[int]addresses{}
	for _, addr := range addrs {
		a := of[addr.LinkIndex]
		a.add(addr.IPNet, addr.Flags)
		of[addr.LinkIndex] = a
	}
	var devices []Device
	for _, m := range links {
		l, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return nil, fmt.Errorf("read a listed link: %w", err)
		}
		index := l.Attrs().Index
		if link, ok := linkOf(l, of[index], c); ok {
			d := Device{Link: link, Index: index, vrf: l.Attrs().MasterIndex}
			d.readMessage(m)
			devices = append(devices, d)
		}
	}
	slices.SortFunc(devices, func(a, b Device) int { return cmp.Compare(a.Name, b.Name) })
	return devices, nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
