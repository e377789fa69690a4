package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	ipamv1 "github.com/steelyard-lb/steelyard/api/ipam/v1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/source"
)

// server is an IPAM that says what a test wants.
type server struct {
	ipamv1.UnimplementedIPAMServer
	allocate func(context.Context, *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error)
	list     []*ipamv1.Allocation
	changes  chan struct{}
}

func (s *server) Allocate(ctx context.Context, in *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
	return s.allocate(ctx, in)
}

func (s *server) List(_ *ipamv1.ListRequest, out grpc.ServerStreamingServer[ipamv1.Allocation]) error {
	for _, x := range s.list {
		if err := out.Send(x); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) Watch(_ *ipamv1.WatchRequest, out grpc.ServerStreamingServer[ipamv1.WatchResponse]) error {
	for {
		select {
		case <-out.Context().Done():
			return nil
		case <-s.changes:
			if err := out.Send(&ipamv1.WatchResponse{}); err != nil {
				return err
			}
		}
	}
}

// rig is a client of a server.
type rig struct {
	*Client
	t       *testing.T
	to      *source.Target
	term    *leader.Term
	end     context.CancelFunc
	answers chan source.Answer
	changed chan string
	health  *health.Server
}

// serve serves s, and returns a client of it.
func serve(t *testing.T, s *server, opts ...grpc.ServerOption) *rig {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &rig{t: t, answers: make(chan source.Answer, 100), changed: make(chan string, 100), health: health.NewServer()}
	g := grpc.NewServer(opts...)
	ipamv1.RegisterIPAMServer(g, s)
	healthv1.RegisterHealthServer(g, x.health)
	x.health.SetServingStatus(ipamv1.IPAM_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	x.to = &source.Target{Pool: "lan", Endpoint: l.Addr().String(), Timeout: 2 * time.Second, Revision: "1"}
	ctx, cancel := context.WithCancel(context.Background())
	x.term, x.end = leader.NewTerm(ctx, func() time.Time { return time.Now().Add(time.Minute) }), cancel
	x.Client = New(Options{Log: slog.New(slog.DiscardHandler), Answered: func(a source.Answer) { x.answers <- a }, Changed: func(endpoint string) { x.changed <- endpoint }})
	t.Cleanup(func() {
		cancel()
		x.Close()
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return x
}

func (x *rig) ask(kind source.Kind) source.Answer {
	x.t.Helper()
	c := source.Call{Kind: kind, To: x.to, Cluster: "c"}
	c.Pool, c.UID, c.Family, c.Service = "lan", "u", ipam.IPv4, ipam.Key{Namespace: "n", Name: "web"}
	x.Send(x.term, []source.Call{c})
	select {
	case a := <-x.answers:
		return a
	case <-time.After(20 * time.Second):
		x.t.Fatalf("no answer to %s", kind)
		return source.Answer{}
	}
}

func says(code codes.Code, text string) func(context.Context, *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
	return func(context.Context, *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
		return nil, status.Error(code, text)
	}
}

func gives(a string) func(context.Context, *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
	return func(_ context.Context, in *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
		return &ipamv1.AllocateResponse{Allocation: &ipamv1.Allocation{Holder: in.GetHolder(), Family: in.GetFamily(), Address: a}}, nil
	}
}

// What an IPAM answers, and what is made of it.
func TestAnswers(t *testing.T) {
	hang := func(ctx context.Context, _ *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for name, x := range map[string]struct {
		allocate func(context.Context, *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error)
		failure  source.Failure
		text     string
		given    string
	}{
		"an address":        {gives("192.0.2.7"), 0, "", "192.0.2.7"},
		"nothing":           {gives(""), source.Refused, `answers "", which is no address`, ""},
		"an address's zone": {gives("fe80::1%eth0"), source.Refused, `answers "fe80::1%eth0", which is no address`, ""},
		"a mapped address":  {gives("::ffff:192.0.2.7"), source.Refused, `answers "::ffff:192.0.2.7", which is no address`, ""},
		"a hostile answer":  {gives("\x1b[2J\u202e"), source.Refused, `answers "\x1b[2J\u202e", which is no address`, ""},
		"exhausted":         {says(codes.ResourceExhausted, "full"), source.Exhausted, "has no address: full", ""},
		"taken":             {says(codes.AlreadyExists, "mail has it"), source.Taken, "answers AlreadyExists: mail has it", ""},
		"a hostile error":   {says(codes.Internal, "a\nb\x1b[2J"), source.Refused, `answers Internal: a\nb\x1b[2J`, ""},
		"unavailable":       {says(codes.Unavailable, "later"), source.Unavailable, "can't be reached: later", ""},
		"nothing in time":   {hang, source.Slow, "did not answer within 300ms", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, &server{allocate: x.allocate, changes: make(chan struct{})})
			if x.failure == source.Slow {
				r.to.Timeout = 300 * time.Millisecond
			}
			a := r.ask(source.Allocate)
			given := ""
			if a.Given.IsValid() {
				given = a.Given.String()
			}
			if a.Failure != x.failure || a.Text != x.text || given != x.given {
				t.Errorf("%d, %q, %q; want %d, %q, %q", a.Failure, a.Text, given, x.failure, x.text, x.given)
			}
		})
	}
	t.Run("a long error", func(t *testing.T) {
		r := serve(t, &server{allocate: says(codes.Internal, strings.Repeat("x", 1<<16)), changes: make(chan struct{})})
		if a := r.ask(source.Allocate); a.Failure != source.Refused || len(a.Text) > 2*mostShown {
			t.Errorf("%d, %d bytes", a.Failure, len(a.Text))
		}
	})
}

// An entry that can't be read does not hide the others.
func TestList(t *testing.T) {
	of := func(uid, a string) *ipamv1.Allocation {
		return &ipamv1.Allocation{Holder: &ipamv1.Holder{Uid: uid}, Address: a}
	}
	r := serve(t, &server{changes: make(chan struct{}), list: []*ipamv1.Allocation{of("u", "192.0.2.7"), of("", "192.0.2.8"), of("v", "x"), of(strings.Repeat("u", 1000), "192.0.2.9"), nil, of("w", "2001:db8::1")}})
	a := r.ask(source.List)
	want := []source.Allocation{{Key: source.Key{UID: "u", Family: ipam.IPv4}, Addr: netip.MustParseAddr("192.0.2.7")}, {Key: source.Key{UID: "w", Family: ipam.IPv6}, Addr: netip.MustParseAddr("2001:db8::1")}}
	if a.Failure != 0 || len(a.Held) != 2 || a.Held[0] != want[0] || a.Held[1] != want[1] {
		t.Errorf("%d %q: %v", a.Failure, a.Text, a.Held)
	}
}

// Changed hears of a change, also of one that comes before the first call is answered.
func TestWatch(t *testing.T) {
	s := &server{changes: make(chan struct{})}
	r := serve(t, s)
	r.ask(source.List)
	s.changes <- struct{}{}
	if of := <-r.changed; of != r.to.Endpoint {
		t.Errorf("a change of %q", of)
	}
}

// An IPAM that says of itself that it does not serve is not asked.
func TestHealth(t *testing.T) {
	r := serve(t, &server{allocate: gives("192.0.2.7"), changes: make(chan struct{})})
	r.health.SetServingStatus(ipamv1.IPAM_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_NOT_SERVING)
	if a := r.ask(source.Allocate); a.Failure != source.Unavailable || !strings.HasPrefix(a.Text, "can't be reached: ") {
		t.Errorf("%d, %q, %s", a.Failure, a.Text, a.Given)
	}
	r.health.SetServingStatus(ipamv1.IPAM_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if a := r.ask(source.Allocate); a.Failure == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("it serves again: %d, %q", a.Failure, a.Text)
		}
	}
}

// When the term ends, a call that is under way counts for nothing.
func TestTheTermEnds(t *testing.T) {
	begun := make(chan struct{})
	r := serve(t, &server{changes: make(chan struct{}), allocate: func(ctx context.Context, _ *ipamv1.AllocateRequest) (*ipamv1.AllocateResponse, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	go func() {
		<-begun
		r.end()
	}()
	if a := r.ask(source.Allocate); a.Failure != source.Unsent {
		t.Errorf("%d, %q", a.Failure, a.Text)
	}
	if a := r.ask(source.Allocate); a.Failure != source.Unsent {
		t.Errorf("after the term: %d, %q", a.Failure, a.Text)
	}
}

// pki makes certificates.
type pki struct {
	ca  *x509.Certificate
	key *ecdsa.PrivateKey
}

func (p *pki) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: p.ca == nil, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := c, k
	if p.ca != nil {
		parent, signer = p.ca, p.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &k.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if p.ca == nil {
		if p.ca, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		p.key = k
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestTLS(t *testing.T) {
	var ours, others pki
	ca, _ := ours.issue(t, "ca")
	otherCA, _ := others.issue(t, "other")
	cert, key := ours.issue(t, "ipam.example.org")
	own, ownKey := ours.issue(t, "controller")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(ca)
	secure := grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}))
	for name, x := range map[string]struct {
		change func(*source.Target)
		text   string
	}{
		"both know each other":      {func(*source.Target) {}, ""},
		"another CA":                {func(to *source.Target) { to.CA = otherCA }, "certificate signed by unknown authority"},
		"another name":              {func(to *source.Target) { to.ServerName = "example.org" }, "certificate is valid for ipam.example.org, not example.org"},
		"no certificate of its own": {func(to *source.Target) { to.Cert, to.Key = nil, nil }, "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, &server{allocate: gives("192.0.2.7"), changes: make(chan struct{})}, secure)
			r.to.CA, r.to.Cert, r.to.Key, r.to.ServerName = ca, own, ownKey, "ipam.example.org"
			x.change(r.to)
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				// TLS 1.3: what the IPAM says of our certificate can come after the connection has broken.
				a := r.ask(source.Allocate)
				if a.Failure == 0 && x.text == "" || a.Failure == source.Unavailable && x.text != "" && strings.Contains(a.Text, x.text) {
					break
				}
				if a.Failure == 0 || time.Now().After(end) {
					t.Fatalf("%d, %q", a.Failure, a.Text)
				}
			}
		})
	}
}
