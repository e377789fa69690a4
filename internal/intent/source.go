package intent

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/source"
)

// onThisMachine are the endpoints that need no encryption.
var onThisMachine = regexp.MustCompile(`^(unix:///.*|(localhost|127([.][0-9]{1,3}){3}|\[::1\]):[0-9]+)$`)

// defaultSourceTimeout is that of the schema.
const defaultSourceTimeout = 5 * time.Second

// sourceOf returns the IPAM that chooses addresses of a pool; nil: none does.
func sourceOf(obj *v1beta1.IPAddressPool, secrets map[string]*corev1.Secret) *source.Target {
	in := obj.Spec.Source
	if in == nil || in.External == nil {
		return nil
	}
	x := in.External
	out := &source.Target{Pool: obj.Name, Endpoint: x.Endpoint, Timeout: defaultSourceTimeout, Grace: graceTime(obj.Spec.GraceTime), MovesLost: x.WhenLost == v1beta1.LostMove}
	if d, err := time.ParseDuration(string(x.Timeout)); err == nil && d > 0 {
		out.Timeout = d
	}
	out.Revision = fmt.Sprintf("%q", []string{x.Endpoint, out.Timeout.String(), string(x.WhenLost)})
	if x.TLS == nil {
		if !onThisMachine.MatchString(x.Endpoint) {
			out.FaultReason, out.Fault = v1beta1.ReasonInvalid, "spec.source.external: without tls the endpoint must be a Unix socket or on this machine"
		}
		return out
	}
	out.ServerName = x.TLS.ServerName
	if s := secrets[x.TLS.Secret.Name]; s != nil {
		out.CA, out.Cert, out.Key = s.Data["ca.crt"], s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
		out.Revision += fmt.Sprintf("%q", []string{out.ServerName, s.Name, string(s.UID), s.ResourceVersion})
	}
	out.FaultReason, out.Fault = certificateFault(x.TLS.Secret.Name, secrets)
	return out
}

// certificateFault tells what is wrong with the Secret of spec.source.external.tls; "": nothing.
func certificateFault(name string, secrets map[string]*corev1.Secret) (reason, fault string) {
	const field = "spec.source.external.tls.secret"
	s := secrets[name]
	if s == nil {
		return v1beta1.ReasonNotFound, fmt.Sprintf("%s: there is no Secret %s in Steelyard's namespace", field, printable.Quote(name))
	}
	invalid := func(format string, args ...any) (string, string) {
		return v1beta1.ReasonInvalidSecret, fmt.Sprintf("%s: Secret %q ", field, name) + fmt.Sprintf(format, args...)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(s.Data["ca.crt"]) {
		return invalid("has no certificate (PEM) in its key ca.crt")
	}
	cert, key := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	if len(cert) == 0 && len(key) == 0 {
		return "", ""
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return invalid("has no certificate and its key (PEM) in %s and %s: %s", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, printable.Message(strings.TrimPrefix(err.Error(), "tls: ")))
	}
	return "", ""
}

// sourced enters the IPAMs that choose addresses of pools.
func sourced(pools []Pool, o Objects) {
	targets := map[string]*source.Target{}
	for i := range o.Pools {
		if t := sourceOf(&o.Pools[i], o.Secrets); t != nil {
			targets[t.Pool] = t
		}
	}
	for i := range pools {
		if t := targets[pools[i].Name]; t != nil {
			pools[i].Source, pools[i].IPAM = t, t.Endpoint
		}
	}
}

// Sources returns the IPAMs of all pools.
func (ps Pools) Sources() []*source.Target {
	var out []*source.Target
	for i := range ps {
		if ps[i].Source != nil {
			out = append(out, ps[i].Source)
		}
	}
	return out
}
