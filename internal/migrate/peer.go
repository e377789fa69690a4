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

// addPeer enters a peer of ours, and mends what any source can say and our API
// refuses or has in another place.
func (d *draft) addPeer(m metav1.ObjectMeta, spec v1beta1.BGPPeerSpec) {
	from := d.from[intent.Ref{Kind: "BGPPeer", Name: m.Name}]
	if spec.EBGPMultiHop && internal(spec) {
		spec.EBGPMultiHop = false
		d.note(Note{Gravity: Unneeded, Object: from, Field: "ebgpMultiHop", Value: "true", Why: "the router is of the nodes' own AS: internal sessions cross several hops without it"})
	}
	if spec.Password != "" {
		if spec.PasswordSecret != nil {
			d.note(Note{Gravity: Breaks, Object: from, Field: "password", Why: "it has a password, and names a Secret with one; the Secret is taken"})
		} else {
			spec.PasswordSecret = d.passwordSecret(m.Name+"-password", spec.Password)
		}
		spec.Password = ""
	}
	d.config.Peers = append(d.config.Peers, v1beta1.BGPPeer{ObjectMeta: m, Spec: spec})
}

// internal reports whether a session is with a router of the nodes' own AS.
func internal(spec v1beta1.BGPPeerSpec) bool {
	own := spec.MyASN
	if spec.LocalASN != 0 {
		own = spec.LocalASN
	}
	return spec.PeerASN == own && own != 0 || spec.DynamicASN == "internal"
}

// theirSecret is a Secret of theirs, and which of its keys holds the password.
type theirSecret struct {
	types.NamespacedName
	key string
}

// secret notes that a Secret of theirs is needed, and returns the name that ours
// must have: its own, unless another one has that.
func (d *draft) secret(theirs theirSecret) *v1beta1.SecretName {
	if theirs.Name == "" {
		return nil
	}
	unique := d.secretName(theirs.Name, func(name string) bool { return d.secrets[name] == theirs })
	if unique != theirs.Name && d.secrets[unique] != theirs {
		d.note(Note{Gravity: Changed, Object: "Secret " + theirs.String(), Why: fmt.Sprintf("another one of this name is needed, too, and ours are all in one namespace: this one becomes %s", unique)})
	}
	d.secrets[unique] = theirs
	return &v1beta1.SecretName{Name: unique}
}

// passwordSecret makes a Secret of a password that stands in an object of theirs.
func (d *draft) passwordSecret(name, password string) *v1beta1.SecretName {
	unique := d.secretName(name, func(string) bool { return false })
	d.passwords[unique] = password
	return &v1beta1.SecretName{Name: unique}
}

// secretName returns a name for a Secret that no other one has; same reports
// whether one that is there will do.
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

// secretObjects are the Secrets that are printed beside the peers.
func (d *draft) secretObjects() []Object {
	var out []Object
	for _, name := range slices.Sorted(maps.Keys(d.passwords)) {
		user := slices.IndexFunc(d.config.Peers, func(p v1beta1.BGPPeer) bool {
			return p.Spec.PasswordSecret != nil && p.Spec.PasswordSecret.Name == name
		})
		out = append(out, Object{From: printable.Message(d.from[intent.Ref{Kind: "BGPPeer", Name: d.config.Peers[user].Name}]), Manifest: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": string(corev1.SecretTypeBasicAuth),
			"metadata": map[string]any{"name": name, "namespace": d.source.Home},
			"data":     map[string]any{corev1.BasicAuthPasswordKey: base64.StdEncoding.EncodeToString([]byte(d.passwords[name]))},
		}})
	}
	return out
}

// allSecrets are those that will be there: copied by the steps, or printed.
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
