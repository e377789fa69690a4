// Command ipam-file is the reference IPAM: it serves steelyard.ipam.v1 (api/ipam/v1) to
// Steelyard's controller, from ranges that are given as flags, and keeps in a file who has which
// address. Adapters to other address managements can be made after it; it is also of use where
// none is there. One process serves a file.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	ipamv1 "github.com/steelyard-lb/steelyard/api/ipam/v1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// options are the flags.
type options struct {
	listen    string
	file      string
	pools     map[string][]ipam.Range
	cert, key string
	clientCA  string
	version   bool
}

func main() {
	o := options{pools: map[string][]ipam.Range{}}
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9000", "address to serve on: host:port, or unix:///path")
	flag.StringVar(&o.file, "file", "ipam.json", "file that keeps who has which address; its folder must be writable")
	flag.Func("pool", "ranges of a pool, such as lan=192.0.2.100-192.0.2.109,2001:db8::/120; repeat it for further pools", o.addPool)
	flag.StringVar(&o.cert, "tls-cert", "", "file with the certificate to show, PEM; empty: no encryption")
	flag.StringVar(&o.key, "tls-key", "", "file with its key, PEM")
	flag.StringVar(&o.clientCA, "client-ca", "", "file with the certificates, PEM, that those of clients must be signed by; empty: clients need none")
	flag.BoolVar(&o.version, "version", false, "print the version and exit")
	flag.Parse()
	if o.version {
		fmt.Println(version.String())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, o, flag.Args(), os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ipam-file:", printable.Line(err.Error()))
		os.Exit(1)
	}
}

// addPool reads a flag --pool.
func (o *options) addPool(text string) error {
	name, ranges, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return errors.New("write NAME=RANGE,RANGE")
	}
	for part := range strings.SplitSeq(ranges, ",") {
		r, err := parseRange(part)
		if err != nil {
			return err
		}
		o.pools[name] = append(o.pools[name], r)
	}
	return nil
}

// parseRange reads a CIDR, a range first-last or an address.
func parseRange(text string) (ipam.Range, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return ipam.Range{}, fmt.Errorf("read a range: %w", err)
		}
		return ipam.RangeOf(p.Masked()), nil
	}
	first, last, two := strings.Cut(text, "-")
	if !two {
		last = first
	}
	a, err := netip.ParseAddr(first)
	if err != nil {
		return ipam.Range{}, fmt.Errorf("read a range: %w", err)
	}
	b, err := netip.ParseAddr(last)
	if err != nil {
		return ipam.Range{}, fmt.Errorf("read a range: %w", err)
	}
	if a.BitLen() != b.BitLen() || b.Less(a) {
		return ipam.Range{}, fmt.Errorf("%s is no range", text)
	}
	return ipam.Range{First: a, Last: b}, nil
}

// run serves until ctx ends.
func run(ctx context.Context, o options, args []string, out io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q: see -help", args[0])
	}
	if len(o.pools) == 0 {
		return errors.New("there is no pool: give --pool NAME=RANGES")
	}
	opts, err := o.security()
	if err != nil {
		return err
	}
	s, err := open(o.file, o.pools)
	if err != nil {
		return err
	}
	l, err := listen(o.listen)
	if err != nil {
		return err
	}
	server := grpc.NewServer(opts...)
	ipamv1.RegisterIPAMServer(server, s)
	healthy := health.NewServer()
	healthy.SetServingStatus(ipamv1.IPAM_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(server, healthy)
	context.AfterFunc(ctx, server.Stop) // watches do not end by themselves
	fmt.Fprintf(out, "ipam-file %s serves on %s from %s\n", version.String(), printable.Word(o.listen), printable.Word(o.file))
	if err := server.Serve(l); err != nil && (ctx.Err() == nil || !errors.Is(err, grpc.ErrServerStopped)) { // it may be stopped before it serves
		return fmt.Errorf("serve on %s: %w", o.listen, err)
	}
	return nil
}

// listen makes the socket. A Unix socket that a former process left behind is replaced.
func listen(on string) (net.Listener, error) {
	network, address := "tcp", on
	if path, unix := strings.CutPrefix(on, "unix://"); unix {
		network, address = "unix", path
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("replace the socket %s: %w", path, err)
		}
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// security is how the server encrypts.
func (o options) security() ([]grpc.ServerOption, error) {
	if o.cert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("read --tls-cert and --tls-key: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if o.clientCA != "" {
		pem, err := os.ReadFile(o.clientCA)
		if err != nil {
			return nil, fmt.Errorf("read --client-ca: %w", err)
		}
		if config.ClientCAs = x509.NewCertPool(); !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--client-ca: %s has no certificate", o.clientCA)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(config))}, nil
}
