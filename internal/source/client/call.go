package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // the client heeds what an IPAM says of its health
	"google.golang.org/grpc/status"

	ipamv1 "github.com/steelyard-lb/steelyard/api/ipam/v1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/source"
)

const (
	// mostListed is how many allocations a list may have.
	mostListed = 1 << 18
	// longestUID is how long a UID may be.
	longestUID = 128
	// mostShown is how many bytes of what an IPAM says are shown.
	mostShown = 300
)

// service has the client ask for the health of the IPAM: calls fail at once while it does not serve.
const service = `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": "steelyard.ipam.v1.IPAM"}}`

// dial prepares a connection. It does not wait for one.
func dial(to *source.Target) (*grpc.ClientConn, error) {
	safe := insecure.NewCredentials()
	if to.CA != nil {
		config := &tls.Config{ServerName: to.ServerName, RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		if !config.RootCAs.AppendCertsFromPEM(to.CA) {
			return nil, errors.New("ca.crt has no certificate")
		}
		if len(to.Cert) > 0 {
			own, err := tls.X509KeyPair(to.Cert, to.Key)
			if err != nil {
				return nil, fmt.Errorf("read tls.crt and tls.key: %w", err)
			}
			config.Certificates = []tls.Certificate{own}
		}
		safe = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(to.Endpoint, grpc.WithTransportCredentials(safe), grpc.WithNoProxy(), grpc.WithDefaultServiceConfig(service), grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}, MinConnectTimeout: to.Timeout}))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to.Endpoint, err)
	}
	return conn, nil
}

// ask makes a call.
func ask(ctx context.Context, conn *connection, call source.Call) source.Answer {
	out, stub := source.Answer{Call: call}, ipamv1.NewIPAMClient(conn)
	var err error
	switch call.Kind {
	case source.List:
		out.Held, err = list(ctx, stub, call.Cluster)
	case source.Allocate:
		out.Given, out.Of, err = allocate(ctx, stub, call)
	case source.Release:
		_, err = stub.Release(ctx, &ipamv1.ReleaseRequest{Cluster: call.Cluster, Uid: call.UID, Address: call.Addr.String()})
	}
	if err != nil {
		out.Failure, out.Text = failure(err, call)
	}
	return out
}

func family(f ipam.Family) ipamv1.Family {
	if f == ipam.IPv6 {
		return ipamv1.Family_FAMILY_IPV6
	}
	return ipamv1.Family_FAMILY_IPV4
}

func allocate(ctx context.Context, stub ipamv1.IPAMClient, call source.Call) (a netip.Addr, pool string, err error) {
	in := &ipamv1.AllocateRequest{
		Cluster: call.Cluster, Pool: call.Pool, Family: family(call.Family), Replaces: call.Replaces,
		Holder: &ipamv1.Holder{Uid: call.UID, Namespace: call.Service.Namespace, Name: call.Service.Name},
	}
	if call.Addr.IsValid() {
		in.Address = call.Addr.String()
	}
	answer, err := stub.Allocate(ctx, in)
	if err != nil {
		return netip.Addr{}, "", err
	}
	a, err = address(answer.GetAllocation().GetAddress())
	return a, answer.GetAllocation().GetPool(), err
}

// unreadable is what an IPAM has said that means nothing.
type unreadable string

func (u unreadable) Error() string { return string(u) }

func address(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, unreadable("answers " + printable.Quote(text) + ", which is no address")
	}
	return a, nil
}

// list returns what an IPAM holds. One entry that can't be read does not hide the others: it is
// left out, and stays the IPAM's.
func list(ctx context.Context, stub ipamv1.IPAMClient, cluster string) ([]source.Allocation, error) {
	stream, err := stub.List(ctx, &ipamv1.ListRequest{Cluster: cluster})
	if err != nil {
		return nil, err
	}
	var out []source.Allocation
	for {
		x, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(out) == mostListed {
			return nil, unreadable(fmt.Sprintf("lists more than %d allocations", mostListed))
		}
		a, err := address(x.GetAddress())
		if uid := x.GetHolder().GetUid(); err == nil && uid != "" && len(uid) <= longestUID {
			out = append(out, source.Allocation{Key: source.Key{UID: uid, Family: ipam.FamilyOf(a)}, Pool: x.GetPool(), Addr: a})
		}
	}
}

// watch calls changed for each change until the stream ends, and reports whether the IPAM knows Watch.
func watch(ctx context.Context, conn *connection, call source.Call, changed func()) (known bool) {
	stream, err := ipamv1.NewIPAMClient(conn).Watch(ctx, &ipamv1.WatchRequest{Cluster: call.Cluster})
	for err == nil {
		if _, err = stream.Recv(); err == nil {
			changed()
		}
	}
	return status.Code(err) != codes.Unimplemented
}

// failure tells what became of a call by its error.
func failure(err error, call source.Call) (source.Failure, string) {
	var none unreadable
	if errors.As(err, &none) {
		return source.Refused, string(none)
	}
	switch code := status.Code(err); code {
	case codes.DeadlineExceeded:
		return source.Slow, fmt.Sprintf("did not answer within %s", call.To.Timeout)
	case codes.Unavailable, codes.Canceled:
		return source.Unavailable, "can't be reached: " + shown(err)
	case codes.ResourceExhausted:
		return source.Exhausted, "has no address: " + shown(err)
	case codes.AlreadyExists:
		return source.Taken, fmt.Sprintf("answers %s: %s", code, shown(err))
	default:
		return source.Refused, fmt.Sprintf("answers %s: %s", code, shown(err))
	}
}

// shown returns the text of an error, safe to show.
func shown(err error) string {
	if s, is := status.FromError(err); is {
		return printable.Within(mostShown, s.Message())
	}
	return printable.Within(mostShown, err.Error())
}
