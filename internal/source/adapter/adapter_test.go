package adapter

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// renewed writes a certificate that signs itself, for server and client, as docs/how-to/external-ipam.md
// makes it, and returns what a client with it has.
func renewed(t *testing.T, o Options) *tls.Config {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"ipam.example.org"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	if err := errors.Join(os.WriteFile(o.Cert, cert, 0o600), os.WriteFile(o.Key, private, 0o600)); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, private)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{ServerName: "ipam.example.org", RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// healthy asks over a new connection whether the adapter is well.
func healthy(t *testing.T, listen string, config *tls.Config) error {
	t.Helper()
	conn, err := grpc.NewClient(listen, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

// A certificate that is renewed counts for the next connection, on both sides.
func TestRenewedCertificates(t *testing.T) {
	dir := t.TempDir()
	cert := filepath.Join(dir, "tls.crt")
	o := Options{Listen: "unix://" + filepath.Join(dir, "s"), Cert: cert, Key: filepath.Join(dir, "tls.key"), ClientCA: cert}
	first := renewed(t, o)
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- Serve(ctx, o, nil, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("it does not serve: %v", err)
	}
	if err := healthy(t, o.Listen, first); err != nil {
		t.Errorf("with the first certificate: %v", err)
	}
	second := renewed(t, o)
	if err := healthy(t, o.Listen, second); err != nil {
		t.Errorf("with the second certificate: %v", err)
	}
	if err := healthy(t, o.Listen, first); err == nil {
		t.Error("it takes the first certificate when there is a second")
	}
	second.Certificates = nil
	if err := healthy(t, o.Listen, second); err == nil {
		t.Error("it takes clients without a certificate")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEncryptionWantsItsFiles(t *testing.T) {
	o := Options{Listen: "127.0.0.1:0", Cert: "/none", Key: "/none"}
	if err := Serve(t.Context(), o, nil, func() { t.Error("it serves without encryption") }); err == nil {
		t.Error("it serves without encryption")
	}
}
