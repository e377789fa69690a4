package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	ipamv1 "github.com/steelyard-lb/steelyard/api/ipam/v1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/adapter"
	"github.com/steelyard-lb/steelyard/internal/source/contract"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// process is the program, as it runs, and who asks it.
type process struct {
	t    *testing.T
	o    options
	stop func()
	ipamv1.IPAMClient
}

func start(t *testing.T) *process {
	dir := t.TempDir()
	p := &process{t: t, o: options{Options: adapter.Options{Listen: "unix://" + filepath.Join(dir, "s")}, file: filepath.Join(dir, "data", "ipam.json"), pools: contract.Pools()}}
	if err := os.Mkdir(filepath.Dir(p.o.file), 0o755); err != nil {
		t.Fatal(err)
	}
	p.run()
	t.Cleanup(func() { p.stop() })
	return p
}

// run starts the program; stop ends it as a crash does: no call is waited for.
func (p *process) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, p.o, nil, io.Discard) }()
	conn, err := grpc.NewClient(p.o.Listen, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.t.Fatal(err)
	}
	p.IPAMClient = ipamv1.NewIPAMClient(conn)
	p.stop = func() {
		cancel()
		if err := errors.Join(<-done, conn.Close()); err != nil {
			p.t.Error(err)
		}
		p.stop = func() {}
	}
}

func (p *process) again() {
	p.stop()
	p.run()
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return c
}

// Allocate implements contract.IPAM.
func (p *process) Allocate(r ledger.Request) (netip.Addr, error) {
	in := &ipamv1.AllocateRequest{
		Cluster: r.Cluster, Pool: r.Pool, Holder: &ipamv1.Holder{Uid: r.UID, Namespace: r.Namespace, Name: r.Name}, Replaces: r.Replaces,
		Family: map[ipam.Family]ipamv1.Family{ipam.IPv4: ipamv1.Family_FAMILY_IPV4, ipam.IPv6: ipamv1.Family_FAMILY_IPV6}[r.Family],
	}
	if r.Addr.IsValid() {
		in.Address = r.Addr.String()
	}
	out, err := p.IPAMClient.Allocate(ctx(p.t), in, grpc.WaitForReady(true))
	for code, is := range map[codes.Code]error{
		codes.NotFound: ledger.ErrUnknownPool, codes.AlreadyExists: ledger.ErrTaken, codes.FailedPrecondition: ledger.ErrOutside,
		codes.ResourceExhausted: ledger.ErrExhausted, codes.InvalidArgument: ledger.ErrInvalid,
	} {
		if status.Code(err) == code {
			return netip.Addr{}, is
		}
	}
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(out.GetAllocation().GetAddress())
}

// Release implements contract.IPAM.
func (p *process) Release(cluster, uid string, a netip.Addr) error {
	_, err := p.IPAMClient.Release(ctx(p.t), &ipamv1.ReleaseRequest{Cluster: cluster, Uid: uid, Address: a.String()}, grpc.WaitForReady(true))
	return err
}

// List implements contract.IPAM.
func (p *process) List(cluster string) ([]ledger.Allocation, error) {
	stream, err := p.IPAMClient.List(ctx(p.t), &ipamv1.ListRequest{Cluster: cluster}, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	var out []ledger.Allocation
	for {
		x, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		a, err := netip.ParseAddr(x.GetAddress())
		if err != nil {
			return nil, err
		}
		h := x.GetHolder()
		out = append(out, ledger.Allocation{Cluster: cluster, Pool: x.GetPool(), Holder: ledger.Holder{UID: h.GetUid(), Namespace: h.GetNamespace(), Name: h.GetName()}, Addr: a})
	}
}

func TestContract(t *testing.T) {
	contract.Run(t, func(t *testing.T) contract.IPAM { return start(t) })
}

// crashing crashes after each call.
type crashing struct{ *process }

func (c crashing) Allocate(r ledger.Request) (netip.Addr, error) {
	defer c.again()
	return c.process.Allocate(r)
}

func (c crashing) Release(cluster, uid string, a netip.Addr) error {
	defer c.again()
	return c.process.Release(cluster, uid, a)
}

func TestContractAcrossCrashes(t *testing.T) {
	contract.Run(t, func(t *testing.T) contract.IPAM { return crashing{start(t)} })
}

// Watch tells of what others do.
func TestWatch(t *testing.T) {
	p := start(t)
	stream, err := p.Watch(ctx(t), &ipamv1.WatchRequest{Cluster: "c"}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan error, 1)
	go func() {
		_, err := stream.Recv()
		heard <- err
	}()
	for uid := 'a'; ; uid++ { // until the server watches
		r := ledger.Request{Cluster: "c", Pool: "lan", Holder: ledger.Holder{UID: string(uid)}, Family: ipam.IPv4}
		if _, err := p.Allocate(r); err != nil {
			t.Fatal(err)
		}
		if err := p.Release(r.Cluster, r.UID, netip.MustParseAddr("192.0.2.10")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-heard:
			if err != nil {
				t.Error(err)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// What can't be written is not handed out: it would be handed out again after a crash.
func TestWhatCantBeKeptIsNotHandedOut(t *testing.T) {
	p := start(t)
	r := ledger.Request{Cluster: "c", Pool: "lan", Holder: ledger.Holder{UID: "u"}, Family: ipam.IPv4}
	if err := os.RemoveAll(filepath.Dir(p.o.file)); err != nil {
		t.Fatal(err)
	}
	if a, err := p.Allocate(r); status.Code(err) != codes.Internal {
		t.Errorf("it hands out %s, %v", a, err)
	}
	if all, err := p.List(r.Cluster); err != nil || len(all) > 0 {
		t.Errorf("it holds %v, %v", all, err)
	}
}

func TestFlags(t *testing.T) {
	for text, good := range map[string]bool{
		"lan=192.0.2.0/24": true, "lan=192.0.2.1-192.0.2.9,2001:db8::/64": true, "lan=192.0.2.1": true,
		"lan": false, "=192.0.2.1": false, "lan=": false, "lan=192.0.2.9-192.0.2.1": false, "lan=192.0.2.1-2001:db8::1": false, "lan=192.0.2.0/33": false,
	} {
		o := options{pools: map[string][]ipam.Range{}}
		if err := o.addPool(text); (err == nil) != good {
			t.Errorf("--pool %s: %v", text, err)
		}
	}
}
