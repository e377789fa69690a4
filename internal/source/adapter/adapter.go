// Package adapter serves an IPAM to Steelyard's controller: flags, socket, encryption, health, and
// the messages of steelyard.ipam.v1 (api/ipam/v1). It decides nothing about addresses: what it
// serves does.
package adapter

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
	"os"
	"os/signal"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	ipamv1 "github.com/steelyard-lb/steelyard/api/ipam/v1"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// Options are where an adapter serves, and how it encrypts. The zero Options serve nowhere.
type Options struct {
	Listen    string // host:port, or unix:///path
	Cert, Key string // files, PEM; empty: no encryption
	ClientCA  string // file, PEM; empty: clients need no certificate
}

// Main runs an adapter of that name, whose further flags are defined: it reads the flags, and calls run
// until a signal comes. It prints a failure in one line.
func (o *Options) Main(name string, run func(ctx context.Context, args []string, out io.Writer) error) {
	o.flags(flag.CommandLine)
	only := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *only {
		fmt.Println(version.String())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, flag.Args(), os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, printable.Line(err.Error()))
		os.Exit(1)
	}
}

// flags adds the options to the flags of a program.
func (o *Options) flags(f *flag.FlagSet) {
	f.StringVar(&o.Listen, "listen", "127.0.0.1:9000", "address to serve on: host:port, or unix:///path")
	f.StringVar(&o.Cert, "tls-cert", "", "file with the certificate to show, PEM; empty: no encryption")
	f.StringVar(&o.Key, "tls-key", "", "file with its key, PEM")
	f.StringVar(&o.ClientCA, "client-ca", "", "file with the certificates, PEM, that those of clients must be signed by; empty: clients need none")
}

// Serve serves an IPAM until ctx ends. It calls ready when the socket is there.
func Serve(ctx context.Context, o Options, ipam IPAM, ready func()) error {
	opts, err := o.security()
	if err != nil {
		return err
	}
	l, err := listen(o.Listen)
	if err != nil {
		return err
	}
	server := grpc.NewServer(opts...)
	ipamv1.RegisterIPAMServer(server, service{ipam: ipam})
	healthy := health.NewServer()
	healthy.SetServingStatus(ipamv1.IPAM_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(server, healthy)
	context.AfterFunc(ctx, server.Stop) // watches do not end by themselves
	ready()
	if err := server.Serve(l); err != nil && (ctx.Err() == nil || !errors.Is(err, grpc.ErrServerStopped)) { // it may be stopped before it serves
		return fmt.Errorf("serve on %s: %w", o.Listen, err)
	}
	return nil
}

// listen makes the socket. A Unix socket that a former process left behind is replaced; the group of
// this process may connect to it.
func listen(on string) (net.Listener, error) {
	network, address := "tcp", on
	path, unix := strings.CutPrefix(on, "unix://")
	if unix {
		network, address = "unix", path
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("replace the socket %s: %w", path, err)
		}
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if unix {
		if err := os.Chmod(path, 0o660); err != nil {
			return nil, errors.Join(fmt.Errorf("let the group connect to %s: %w", path, err), l.Close())
		}
	}
	return l, nil
}

// security is how the server encrypts. The files are read again for each connection, since certificates
// are renewed.
func (o Options) security() ([]grpc.ServerOption, error) {
	if o.Cert == "" {
		return nil, nil
	}
	if _, err := o.encryption(); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return o.encryption() }}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(config))}, nil
}

// encryption reads the files.
func (o Options) encryption() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("read --tls-cert and --tls-key: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}} // gRPC wants HTTP/2
	if o.ClientCA != "" {
		pem, err := os.ReadFile(o.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("read --client-ca: %w", err)
		}
		if config.ClientCAs = x509.NewCertPool(); !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--client-ca: %s has no certificate", o.ClientCA)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
