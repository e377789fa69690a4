package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ipamv1 "github.com/steelyard-lb/steelyard/api/ipam/v1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// server serves a ledger that a file keeps. What was answered is in the file.
type server struct {
	ipamv1.UnimplementedIPAMServer
	file  string
	pools map[string][]ipam.Range

	mu      sync.Mutex
	ledger  *ledger.Ledger
	changed chan struct{} // closed with the next change
}

// open reads the file; one that is not there is empty.
func open(file string, pools map[string][]ipam.Range) (*server, error) {
	s := &server{file: file, pools: pools, changed: make(chan struct{})}
	var held []ledger.Allocation
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &held)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	s.ledger = ledger.New(pools, held)
	return s, nil
}

// keep writes the file, and tells those who watch. If that fails the ledger is again what the file has.
func (s *server) keep(before []ledger.Allocation) error {
	data, err := json.MarshalIndent(s.ledger.All(), "", "  ")
	if err == nil {
		err = replace(s.file, data)
	}
	if err != nil {
		s.ledger = ledger.New(s.pools, before)
		return status.Errorf(codes.Internal, "write the file: %v", err)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// replace writes a file so that a crash leaves the old or the new one.
func replace(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is there only if something failed
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// Allocate implements ipamv1.IPAMServer.
func (s *server) Allocate(_ context.Context, in *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
	r := ledger.Request{Cluster: in.GetCluster(), Pool: in.GetPool(), Replaces: in.GetReplaces()}
	r.Holder = ledger.Holder{UID: in.GetHolder().GetUid(), Namespace: in.GetHolder().GetNamespace(), Name: in.GetHolder().GetName()}
	switch in.GetFamily() {
	case ipamv1.Family_FAMILY_IPV4:
		r.Family = ipam.IPv4
	case ipamv1.Family_FAMILY_IPV6:
		r.Family = ipam.IPv6
	default:
		return nil, status.Error(codes.InvalidArgument, "family is neither IPv4 nor IPv6")
	}
	if text := in.GetAddress(); text != "" {
		var err error
		if r.Addr, err = netip.ParseAddr(text); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.ledger.All()
	a, changed, err := s.ledger.Allocate(r)
	if err != nil {
		return nil, status.Error(codeOf(err), err.Error())
	}
	if changed {
		if err := s.keep(before); err != nil {
			return nil, err
		}
	}
	return &ipamv1.AllocateResponse{Allocation: message(a)}, nil
}

func codeOf(err error) codes.Code {
	for is, code := range map[error]codes.Code{
		ledger.ErrUnknownPool: codes.NotFound, ledger.ErrTaken: codes.AlreadyExists, ledger.ErrOutside: codes.FailedPrecondition,
		ledger.ErrExhausted: codes.ResourceExhausted, ledger.ErrInvalid: codes.InvalidArgument,
	} {
		if errors.Is(err, is) {
			return code
		}
	}
	return codes.Internal
}

func message(a ledger.Allocation) *ipamv1.Allocation {
	out := &ipamv1.Allocation{Holder: &ipamv1.Holder{Uid: a.UID, Namespace: a.Namespace, Name: a.Name}, Family: ipamv1.Family_FAMILY_IPV4, Address: a.Addr.String(), Pool: a.Pool}
	if a.Addr.Is6() {
		out.Family = ipamv1.Family_FAMILY_IPV6
	}
	return out
}

// Release implements ipamv1.IPAMServer.
func (s *server) Release(_ context.Context, in *ipamv1.ReleaseRequest) (*ipamv1.ReleaseResponse, error) {
	a, err := netip.ParseAddr(in.GetAddress())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.ledger.All()
	if s.ledger.Release(in.GetCluster(), in.GetUid(), a) {
		if err := s.keep(before); err != nil {
			return nil, err
		}
	}
	return &ipamv1.ReleaseResponse{}, nil
}

// List implements ipamv1.IPAMServer.
func (s *server) List(in *ipamv1.ListRequest, out grpc.ServerStreamingServer[ipamv1.Allocation]) error {
	s.mu.Lock()
	all := s.ledger.List(in.GetCluster())
	s.mu.Unlock()
	for _, a := range all {
		if err := out.Send(message(a)); err != nil {
			return err
		}
	}
	return nil
}

// Watch implements ipamv1.IPAMServer.
func (s *server) Watch(_ *ipamv1.WatchRequest, out grpc.ServerStreamingServer[ipamv1.WatchResponse]) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-out.Context().Done():
			return nil
		case <-changed:
		}
		if err := out.Send(&ipamv1.WatchResponse{}); err != nil {
			return err
		}
	}
}
