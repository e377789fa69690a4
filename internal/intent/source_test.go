package intent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// certificate returns a certificate and its key, PEM.
func certificate(t *testing.T) (cert, key []byte) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// The IPAM of a pool, and what is wrong with its Secret.
func TestSources(t *testing.T) {
	cert, key := certificate(t)
	_, other := certificate(t)
	for name, x := range map[string]struct {
		endpoint      string
		secret        map[string][]byte // nil: there is none
		plain         bool
		reason, fault string
	}{
		"a Unix socket":                    {endpoint: "unix:///run/s", plain: true},
		"loopback":                         {endpoint: "[::1]:9000", plain: true},
		"elsewhere, in plain text":         {endpoint: "ipam.example.org:9000", plain: true, reason: v1beta1.ReasonInvalid, fault: "without tls the endpoint must be"},
		"a name like loopback":             {endpoint: "127.0.0.1.example.org:9000", plain: true, reason: v1beta1.ReasonInvalid, fault: "without tls the endpoint must be"},
		"no Secret":                        {endpoint: "ipam:9000", reason: v1beta1.ReasonNotFound, fault: `there is no Secret "ipam" in Steelyard's namespace`},
		"no CA":                            {endpoint: "ipam:9000", secret: map[string][]byte{"tls.crt": cert, "tls.key": key}, reason: v1beta1.ReasonInvalidSecret, fault: "has no certificate (PEM) in its key ca.crt"},
		"a CA alone":                       {endpoint: "ipam:9000", secret: map[string][]byte{"ca.crt": cert}},
		"a certificate of its own":         {endpoint: "ipam:9000", secret: map[string][]byte{"ca.crt": cert, "tls.crt": cert, "tls.key": key}},
		"a certificate with another's key": {endpoint: "ipam:9000", secret: map[string][]byte{"ca.crt": cert, "tls.crt": cert, "tls.key": other}, reason: v1beta1.ReasonInvalidSecret, fault: "private key does not match public key"},
		"a key alone":                      {endpoint: "ipam:9000", secret: map[string][]byte{"ca.crt": cert, "tls.key": key}, reason: v1beta1.ReasonInvalidSecret, fault: "has no certificate and its key (PEM) in tls.crt and tls.key"},
	} {
		t.Run(name, func(t *testing.T) {
			pool := v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: v1beta1.IPAddressPoolSpec{
				Addresses: []v1beta1.AddressRange{"192.0.2.0/28"}, GraceTime: "7s",
				Source: &v1beta1.PoolSource{Type: v1beta1.SourceExternal, External: &v1beta1.ExternalSource{Endpoint: x.endpoint, Timeout: "300ms"}},
			}}
			if !x.plain {
				pool.Spec.Source.External.TLS = &v1beta1.ExternalTLS{Secret: v1beta1.SecretName{Name: "ipam"}, ServerName: "ipam.example.org"}
			}
			o := Objects{Pools: []v1beta1.IPAddressPool{pool}, Secrets: map[string]*corev1.Secret{}}
			if x.secret != nil {
				o.Secrets["ipam"] = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ipam", ResourceVersion: "1"}, Data: x.secret}
			}
			p := Parse(o).Pools[0]
			s := p.Source
			if p.IPAM != x.endpoint || s.Pool != "lan" || s.Timeout != 300*time.Millisecond || s.Grace != 7*time.Second || (s.CA == nil) != (x.plain || x.secret["ca.crt"] == nil) {
				t.Errorf("%+v", s)
			}
			if s.FaultReason != x.reason || !strings.Contains(s.Fault, x.fault) || (s.Fault == "") != (x.reason == "") {
				t.Errorf("%s: %q", s.FaultReason, s.Fault)
			}
			if o.Secrets["ipam"] != nil {
				o.Secrets["ipam"].ResourceVersion = "2"
				if again := Parse(o).Pools[0].Source; again.Revision == s.Revision {
					t.Error("a renewed Secret makes no difference")
				}
			}
		})
	}
	if p := Parse(Objects{Pools: []v1beta1.IPAddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: v1beta1.IPAddressPoolSpec{Source: &v1beta1.PoolSource{Type: v1beta1.SourceStatic}}}}}).Pools[0]; p.IPAM != "" || p.Source != nil {
		t.Errorf("Static: %+v", p)
	}
}
