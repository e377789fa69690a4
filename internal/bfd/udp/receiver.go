package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/bfd"
)

const (
	// batch limits how many datagrams are delivered together.
	batch = 64
	// largest is longer than any BFD packet. A longer datagram is truncated; then its
	// length field is refused, or the rest is ignored.
	largest = 256
	// queued is how many octets may wait in the kernel: the packets of a thousand
	// sessions for several detection times.
	queued = 4 << 20
	// drained limits how many datagrams Drain delivers: more than fit into the queue.
	// During a flood there are always more.
	drained = 12_000
)

// receiver is a listening socket.
type receiver struct {
	key  key
	file *os.File
	raw  syscall.RawConn
	used []netip.Addr // the peers of the ports; guarded by the wire's lock

	mu        sync.Mutex // held from reading until delivery, so that drain returns after both
	datagrams [batch]bfd.Datagram
	buffers   [batch][largest]byte
	control   [256]byte
}

// join has packets of a peer for k received.
func (w *Wire) join(k key, peer netip.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.receivers[k]
	if r == nil {
		var err error
		if r, err = w.listen(k); err != nil {
			return err
		}
		if err := r.accept([]netip.Addr{peer}, w.Authenticated); err != nil {
			return errors.Join(err, r.file.Close())
		}
		w.receivers[k] = r
		if w.receive != nil {
			w.start(r)
		}
		return nil
	}
	return r.accept(append(slices.Clone(r.used), peer), w.Authenticated)
}

// leave reverses one join.
func (w *Wire) leave(k key, peer netip.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.receivers[k]
	if r == nil { // all are closed
		return nil
	}
	remaining := slices.Clone(r.used)
	if i := slices.Index(remaining, peer); i >= 0 {
		remaining = slices.Delete(remaining, i, i+1)
	}
	if len(remaining) > 0 {
		return r.accept(remaining, w.Authenticated)
	}
	delete(w.receivers, k)
	return r.file.Close()
}

// accept has the receiver read only what may come from these peers. The wire's lock is held.
func (r *receiver) accept(peers []netip.Addr, auth bool) error {
	if err := setFilter(r.raw, peers, auth); err != nil {
		return fmt.Errorf("filter BFD packets on port %d: %w", r.key.port, err)
	}
	r.used = peers
	return nil
}

// listen opens the socket of k. The lock is held.
func (w *Wire) listen(k key) (*receiver, error) {
	address := netip.IPv4Unspecified()
	options := []option{{unix.IPPROTO_IP, unix.IP_RECVTTL, 1}, {unix.IPPROTO_IP, unix.IP_PKTINFO, 1}}
	if k.ipv6 {
		address = netip.IPv6Unspecified()
		options = []option{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}, {unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1}, {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}}
	}
	fd, err := socket(k.ipv6)
	if err != nil {
		return nil, fmt.Errorf("listen for BFD packets: %w", err)
	}
	file := os.NewFile(uintptr(fd), fmt.Sprintf("bfd-%d", k.port))
	err = errors.Join(set(fd, options), bind(fd, k.device), w.claim(fd, k, sockaddr(address, k.port)))
	if err == nil && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queued) != nil {
		err = set(fd, []option{{unix.SOL_SOCKET, unix.SO_RCVBUF, queued}}) // as far as an unprivileged process may
	}
	var raw syscall.RawConn
	if err == nil {
		raw, err = file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for BFD packets on port %d: %w", k.port, err), file.Close())
	}
	return &receiver{key: k, file: file, raw: raw}, nil
}

// claim binds the socket to its port. Other receivers of this process, for other devices,
// may share the port; other processes may not.
func (w *Wire) claim(fd int, k key, address unix.Sockaddr) error {
	var siblings []*receiver
	for other, r := range w.receivers {
		if other.port == k.port && other.ipv6 == k.ipv6 {
			siblings = append(siblings, r)
		}
	}
	// Linux lets two sockets share a port if both allow it at the time of the
	// second one's bind.
	share := func(value int) error {
		allow := func(fd int) error { return set(fd, []option{{unix.SOL_SOCKET, unix.SO_REUSEADDR, value}}) }
		if len(siblings) == 0 {
			return nil
		}
		err := allow(fd)
		for _, r := range siblings {
			err = errors.Join(err, control(r.raw, allow))
		}
		return err
	}
	if err := share(1); err != nil {
		return err
	}
	err := unix.Bind(fd, address)
	if errors.Is(err, unix.EADDRINUSE) {
		err = fmt.Errorf("%w: another program on this host runs BFD, FRR's bfdd or BIRD perhaps; stop its BFD or give this session another port", err)
	}
	return errors.Join(err, share(0))
}

// run delivers what arrives until the socket is closed.
func (r *receiver) run(receive func([]bfd.Datagram)) {
	for {
		err := r.raw.Read(func(uintptr) bool {
			r.drain(receive, math.MaxInt)
			return false // wait for more
		})
		if err != nil {
			return // os.ErrClosed: nothing else comes from a wait
		}
	}
}

// drain delivers what waits in the socket, up to most datagrams. Its reads don't block.
func (r *receiver) drain(receive func([]bfd.Datagram), most int) {
	for more := receive != nil; more && most > 0; most -= batch {
		more = r.deliver(receive)
	}
}

// deliver delivers one batch, and reports whether there may be more. It releases the lock
// between batches, so that Drain does not wait for a flood to end.
func (r *receiver) deliver(receive func([]bfd.Datagram)) (more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	more = true
	// Control, unlike Read, does not wait for another goroutine's Read.
	err := r.raw.Control(func(fd uintptr) {
		for more && n < batch {
			if more = r.read(int(fd), n); more {
				n++
			}
		}
	})
	if n > 0 {
		receive(r.datagrams[:n])
	}
	return more && err == nil // else it is closed
}

// read reads one datagram into place i and reports whether there was one.
func (r *receiver) read(fd, i int) bool {
	for {
		n, controls, _, from, err := unix.Recvmsg(fd, r.buffers[i][:], r.control[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false
		}
		d := &r.datagrams[i]
		*d = bfd.Datagram{Port: r.key.port, Device: r.key.device, Payload: r.buffers[i][:n]}
		switch a := from.(type) {
		case *unix.SockaddrInet4:
			d.From = netip.AddrFrom4(a.Addr)
		case *unix.SockaddrInet6:
			d.From = netip.AddrFrom16(a.Addr)
			if a.ZoneId != 0 {
				d.From = d.From.WithZone(strconv.Itoa(int(a.ZoneId)))
			}
		}
		about(d, r.control[:controls])
		return true
	}
}

// about sets d's TTL and destination from control messages.
func about(d *bfd.Datagram, controls []byte) {
	for len(controls) >= unix.CmsgLen(0) {
		header, data, rest, err := unix.ParseOneSocketControlMessage(controls)
		if err != nil {
			return
		}
		controls = rest
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_TTL && len(data) >= 4,
			header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			d.TTL = uint8(binary.NativeEndian.Uint32(data))
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			d.To = netip.AddrFrom4([4]byte(data[8:12])) // ipi_addr; ipi_spec_dst is the host's own choice
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			d.To = netip.AddrFrom16([16]byte(data[:16]))
		}
	}
}
