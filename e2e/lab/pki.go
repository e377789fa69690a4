package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// identity is one user of the API server: <file>.kubeconfig speaks as user,
// who is a member of group if it is not empty.
type identity struct{ file, user, group string }

// The controller manager and the scheduler are masters so that they need not
// wait for the API server to make their roles.
var identities = []identity{
	{"admin", "admin", "system:masters"},
	{"kubelet", "rack:kubelet", "system:masters"},
	{"kube-controller-manager", "system:kube-controller-manager", "system:masters"},
	{"kube-scheduler", "system:kube-scheduler", "system:masters"},
	{"kube-proxy", "system:kube-proxy", ""},
}

// writeIdentities makes a certificate authority, the API server's certificate,
// the key that signs ServiceAccounts' tokens, and a token and kubeconfig for
// each identity. All keys are ECDSA: an RSA key takes a second to find.
func (r *Rack) writeIdentities() error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the authority's key: %w", err)
	}
	ca, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "rack " + r.Name, NotBefore: time.Now().Add(-time.Hour)}, caKey)
	if err != nil {
		return fmt.Errorf("make the authority's certificate: %w", err)
	}
	if err := r.writeCertificate("ca", ca.Raw); err != nil {
		return err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "control"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature, // the API server also shows it to the kubelet
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{ // crypto/x509 knows no netip
			net.ParseIP("127.0.0.1"), net.ParseIP("192.0.2.3"), net.ParseIP("2001:db8:2::3"),
			net.ParseIP("10.96.0.1"), net.ParseIP("fd00:10:96::1"),
		},
	}
	for _, n := range r.controlPlanes() {
		server.IPAddresses = append(server.IPAddresses, net.IP(n.V4.Addr().AsSlice()), net.IP(n.V6.Addr().AsSlice()))
	}
	for _, a := range staticAddresses {
		server.IPAddresses = append(server.IPAddresses, net.ParseIP(a))
	}
	serverKey, err := r.writeKey("server")
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, server, ca, serverKey.Public(), caKey)
	if err != nil {
		return fmt.Errorf("make the server's certificate: %w", err)
	}
	if err := r.writeCertificate("server", der); err != nil {
		return err
	}
	if _, err := r.writeKey("serviceaccounts"); err != nil {
		return err
	}
	var tokens []byte
	for i, id := range identities {
		token := make([]byte, 16)
		_, _ = rand.Read(token) // never fails, by its documentation
		tokens = fmt.Appendf(tokens, "%s,%s,%d,%q\n", hex.EncodeToString(token), id.user, i, id.group)
		if err := r.writeKubeconfig(id.file, apiAddress, hex.EncodeToString(token)); err != nil {
			return err
		}
		if id.file == "admin" && r.ControlPlanes > 0 {
			if err := r.writeKubeconfig("static", net.JoinHostPort(staticAddresses[0], "6443"), hex.EncodeToString(token)); err != nil {
				return err
			}
		}
	}
	return writeFile(r.path("tokens.csv"), tokens)
}

func (r *Rack) writeCertificate(name string, der []byte) error {
	return writeFile(r.path(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der}))
}

func (r *Rack) writeKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	text, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, fmt.Errorf("encode key %s: %w", name, err)
	}
	return key, writeFile(r.path(name+".key"), text)
}

// writeKubeconfig writes a kubeconfig that needs no other file. The API server
// is found at server, an address and a port.
func (r *Rack) writeKubeconfig(name, server, token string) error {
	ca, err := os.ReadFile(r.path("ca.crt"))
	if err != nil {
		return fmt.Errorf("read the authority's certificate: %w", err)
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["rack"] = &clientcmdapi.Cluster{Server: "https://" + server, CertificateAuthorityData: ca}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	c.Contexts["rack"] = &clientcmdapi.Context{Cluster: "rack", AuthInfo: name}
	c.CurrentContext = "rack"
	if err := clientcmd.WriteToFile(*c, r.path(name+".kubeconfig")); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return nil
}
