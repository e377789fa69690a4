package adapter

import (
	"context"
	"errors"
	"net/netip"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ipamv1 "github.com/steelyard-lb/steelyard/api/ipam/v1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// IPAM is what an adapter serves, by the rules of steelyard.ipam.v1. Its errors are those of
// package ledger, or have a code of gRPC; any other one is Internal.
type IPAM interface {
	Allocate(context.Context, ledger.Request) (ledger.Allocation, error)
	Release(cluster, uid string, a netip.Addr) error
	List(cluster string) []ledger.Allocation
	// Watch calls changed for each change of what List returns, until ctx ends or changed fails.
	Watch(ctx context.Context, cluster string, changed func() error) error
}

// service speaks the protocol.
type service struct {
	ipamv1.UnimplementedIPAMServer
	ipam IPAM
}

// Allocate implements ipamv1.IPAMServer.
func (s service) Allocate(ctx context.Context, in *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
	r, err := request(in)
	if err != nil {
		return nil, err
	}
	a, err := s.ipam.Allocate(ctx, r)
	if err != nil {
		return nil, coded(err)
	}
	return &ipamv1.AllocateResponse{Allocation: message(a)}, nil
}

// request reads a request.
func request(in *ipamv1.AllocateRequest) (ledger.Request, error) {
	r := ledger.Request{Cluster: in.GetCluster(), Pool: in.GetPool(), Replaces: in.GetReplaces()}
	r.Holder = ledger.Holder{UID: in.GetHolder().GetUid(), Namespace: in.GetHolder().GetNamespace(), Name: in.GetHolder().GetName()}
	switch in.GetFamily() {
	case ipamv1.Family_FAMILY_IPV4:
		r.Family = ipam.IPv4
	case ipamv1.Family_FAMILY_IPV6:
		r.Family = ipam.IPv6
	default:
		return r, status.Error(codes.InvalidArgument, "family is neither IPv4 nor IPv6")
	}
	if text := in.GetAddress(); text != "" {
		var err error
		if r.Addr, err = netip.ParseAddr(text); err != nil {
			return r, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	return r, nil
}

// coded returns an error with its code.
func coded(err error) error {
	if _, is := status.FromError(err); is {
		return err
	}
	for is, code := range map[error]codes.Code{
		ledger.ErrUnknownPool: codes.NotFound, ledger.ErrTaken: codes.AlreadyExists, ledger.ErrOutside: codes.FailedPrecondition,
		ledger.ErrExhausted: codes.ResourceExhausted, ledger.ErrInvalid: codes.InvalidArgument,
	} {
		if errors.Is(err, is) {
			return status.Error(code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

func message(a ledger.Allocation) *ipamv1.Allocation {
	out := &ipamv1.Allocation{Holder: &ipamv1.Holder{Uid: a.UID, Namespace: a.Namespace, Name: a.Name}, Family: ipamv1.Family_FAMILY_IPV4, Address: a.Addr.String(), Pool: a.Pool}
	if a.Addr.Is6() {
		out.Family = ipamv1.Family_FAMILY_IPV6
	}
	return out
}

// Release implements ipamv1.IPAMServer.
func (s service) Release(_ context.Context, in *ipamv1.ReleaseRequest) (*ipamv1.ReleaseResponse, error) {
	a, err := netip.ParseAddr(in.GetAddress())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := s.ipam.Release(in.GetCluster(), in.GetUid(), a); err != nil {
		return nil, coded(err)
	}
	return &ipamv1.ReleaseResponse{}, nil
}

// List implements ipamv1.IPAMServer.
func (s service) List(in *ipamv1.ListRequest, out grpc.ServerStreamingServer[ipamv1.Allocation]) error {
	for _, a := range s.ipam.List(in.GetCluster()) {
		if err := out.Send(message(a)); err != nil {
			return err
		}
	}
	return nil
}

// Watch implements ipamv1.IPAMServer.
func (s service) Watch(in *ipamv1.WatchRequest, out grpc.ServerStreamingServer[ipamv1.WatchResponse]) error {
	return s.ipam.Watch(out.Context(), in.GetCluster(), func() error { return out.Send(&ipamv1.WatchResponse{}) })
}
