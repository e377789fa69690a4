package migrate

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// addPeer adds a peer, and adapts what all products can say and our API rejects or
// has elsewhere.
func (d *draft) addPeer(m metav1.ObjectMeta, spec v1beta1.BGPPeerSpec) {
	from := d.from[intent.Ref{Kind: "BGPPeer", Name: m.Name}]
	if spec.EBGPMultiHop && internal(spec) {
		spec.EBGPMultiHop = false
		d.note(Note{Severity: Unneeded, Object: from, Field: "ebgpMultiHop", Value: "true", Reason: "the router is of the nodes' own AS: internal sessions cross several hops without it"})
	}
	if spec.Password != "" {
		if spec.PasswordSecret != nil {
			d.note(Note{Severity: Blocking, Object: from, Field: "password", Reason: "it has a password, and names a Secret with one; the Secret is taken"})
		} else {
			spec.PasswordSecret = d.passwordSecret(m.Name+"-password", spec.Password)
		}
		spec.Password = ""
	}
	d.config.Peers = append(d.config.Peers, v1beta1.BGPPeer{ObjectMeta: m, Spec: spec})
}

// internal reports whether the router is in the nodes' own AS.
func internal(spec v1beta1.BGPPeerSpec) bool {
	own := spec.MyASN
	if spec.LocalASN != 0 {
		own = spec.LocalASN
	}
	return spec.PeerASN == own && own != 0 || spec.DynamicASN == "internal"
}

// theirSecret is one of their Secrets, and its key that holds the password.
type theirSecret struct {
	types.NamespacedName
	key string
}

// secret records that one of their Secrets is needed, and returns the name of ours:
// the same one, unless another Secret has it.
func (d *draft) secret(theirs theirSecret) *v1beta1.SecretName {
	if theirs.Name == "" {
		return nil
	}
	unique := d.secretName(theirs.Name, func(name string) bool { return d.secrets[name] == theirs })
	if unique != theirs.Name && d.secrets[unique] != theirs {
		d.note(Note{Severity: Changed, Object: "Secret " + theirs.String(), Reason: fmt.Sprintf("another one of this name is needed as well, and ours are all in one namespace: this one becomes %s", unique)})
	}
	d.secrets[unique] = theirs
	return &v1beta1.SecretName{Name: unique}
}

// passwordSecret creates a Secret for a password in one of their objects.
func (d *draft) passwordSecret(name, password string) *v1beta1.SecretName {
	unique := d.secretName(name, func(string) bool { return false })
	d.passwords[unique] = password
	return &v1beta1.SecretName{Name: unique}
}

// secretName returns a unique name for a Secret; same reports whether an existing one
// can be used.
func (d *draft) secretName(name string, same func(string) bool) string {
	unique := name
	for n := 2; ; n++ {
		_, copied := d.secrets[unique]
		_, made := d.passwords[unique]
		if !copied && !made || same(unique) {
			return unique
		}
		unique = fmt.Sprintf("%s-%d", name, n)
	}
}

// secretObjects returns the Secrets that are printed beside the peers.
func (d *draft) secretObjects() []Object {
	var out []Object
	for _, name := range slices.Sorted(maps.Keys(d.passwords)) {
		user := slices.IndexFunc(d.config.Peers, func(p v1beta1.BGPPeer) bool {
			return p.Spec.PasswordSecret != nil && p.Spec.PasswordSecret.Name == name
		})
		out = append(out, Object{From: printable.Message(d.from[intent.Ref{Kind: "BGPPeer", Name: d.config.Peers[user].Name}]), Manifest: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": string(corev1.SecretTypeBasicAuth),
			"metadata": map[string]any{"name": name, "namespace": d.source.Namespace},
			"data":     map[string]any{corev1.BasicAuthPasswordKey: base64.StdEncoding.EncodeToString([]byte(d.passwords[name]))},
		}})
	}
	return out
}

// allSecrets returns the Secrets that will exist: copied by the steps, or printed.
func (d *draft) allSecrets() map[string]*corev1.Secret {
	out := map[string]*corev1.Secret{}
	of := func(password string) *corev1.Secret {
		return &corev1.Secret{Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{corev1.BasicAuthPasswordKey: []byte(password)}}
	}
	for name := range d.secrets {
		out[name] = of("unknown")
	}
	for name, password := range d.passwords {
		out[name] = of(password)
	}
	return out
}
