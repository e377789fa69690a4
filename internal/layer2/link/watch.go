package layer2

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	retryPause = time.Second           // before what failed is tried again
	mergePause = 10 * time.Millisecond // between two listings, so that a burst of changes shares one
)

// device is a Link with what the kernel knows it by.
type device struct {
	Link
	index int
	epoch uint32 // how often it lost its carrier: tells of cuts too short to be seen
}

// watcher lists the links again whenever the kernel says that something about
// links or addresses changed.
type watcher struct {
	log     *slog.Logger
	devices chan []device // sorted by name
}

func newWatcher(log *slog.Logger) *watcher {
	return &watcher{log: log, devices: make(chan []device)}
}

// run follows the links until ctx ends, and subscribes again when the kernel
// lost messages (ENOBUFS) or the subscription failed.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.follow(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("link watch broke off, subscribing again", "error", err)
			if !errors.Is(err, unix.ENOBUFS) {
				pause(ctx, retryPause)
			}
		}
	}
}

func (w *watcher) follow(ctx context.Context) error {
	sub, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("subscribe to link changes: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer sub.Close() // ends the receiver
	defer cancel(nil)
	news := make(chan struct{}, 1)
	signal(news) // list once, now that no change can be missed
	wg.Go(func() { cancel(receive(sub, news)) })
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-news:
		}
		devices, err := list()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			signal(news)
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
func receive(sub *nl.NetlinkSocket, news chan<- struct{}) error {
	for {
		if _, _, err := sub.Receive(); err != nil {
			return fmt.Errorf("receive link changes: %w", err)
		}
		signal(news)
	}
}

// list reads links and addresses from the kernel. It returns those that can
// speak layer 2, sorted by name.
func list() ([]device, error) {
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
	prefixes := map[int][]netip.Prefix{}
	for _, a := range addrs {
		if p, ok := subnet(a.IPNet); ok {
			prefixes[a.LinkIndex] = append(prefixes[a.LinkIndex], p)
		}
	}
	var devices []device
	for _, m := range links {
		l, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return nil, fmt.Errorf("read a listed link: %w", err)
		}
		attrs := l.Attrs()
		if link, ok := linkOf(attrs, prefixes[attrs.Index]); ok {
			devices = append(devices, device{Link: link, index: attrs.Index, epoch: carrierLosses(m)})
		}
	}
	slices.SortFunc(devices, func(a, b device) int { return cmp.Compare(a.Name, b.Name) })
	return devices, nil
}

// carrierLosses reads how often a link lost its carrier from the kernel's
// message about it; 0 on kernels before 4.16, which don't say.
func carrierLosses(m []byte) uint32 {
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
	if err != nil {
		return 0 // LinkDeserialize read the same without an error
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_CARRIER_DOWN_COUNT && len(a.Value) == 4 {
			return nl.NativeEndian().Uint32(a.Value)
		}
	}
	return 0
}

// linkOf returns the Link for an interface, if it can speak layer 2. A link
// without a subnet has no neighbours that could ask: this leaves out, among
// others, the node's ends of the Pods' veth pairs.
func linkOf(attrs *netlink.LinkAttrs, prefixes []netip.Prefix) (Link, bool) {
	const never = unix.IFF_LOOPBACK | unix.IFF_NOARP | unix.IFF_POINTOPOINT
	ok := len(attrs.HardwareAddr) == 6 && !bytes.Equal(attrs.HardwareAddr, make([]byte, 6)) &&
		attrs.RawFlags&unix.IFF_BROADCAST != 0 && attrs.RawFlags&never == 0 &&
		attrs.MasterIndex == 0 && len(prefixes) > 0
	if !ok {
		return Link{}, false
	}
	running := attrs.OperState == netlink.OperUp ||
		attrs.OperState == netlink.OperUnknown && attrs.RawFlags&unix.IFF_RUNNING != 0
	prefixes = slices.Clone(prefixes)
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	return Link{
		Name:     attrs.Name,
		MAC:      attrs.HardwareAddr,
		Up:       attrs.RawFlags&unix.IFF_UP != 0 && running,
		Prefixes: slices.Compact(prefixes),
	}, true
}

// subnet returns the subnet of an interface address, if it is global and more
// than that one address.
func subnet(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	addr = addr.Unmap()
	if !ok || !addr.IsGlobalUnicast() || bits >= addr.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
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
