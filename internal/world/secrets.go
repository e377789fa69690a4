package world

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// placeholderSecrets returns a Secret for each peer that names one. A Snapshot does
// not hold Secrets. The controller reads them, and reports a faulty one on the peer:
// then there is no placeholder, so that the peer is invalid here too.
func (w *Snapshot) placeholderSecrets() map[string]*corev1.Secret {
	out := map[string]*corev1.Secret{}
	for _, p := range w.Config.Peers {
		if p.Spec.PasswordSecret == nil {
			continue
		}
		refs := meta.FindStatusCondition(p.Status.Conditions, v1beta1.ConditionResolvedRefs)
		if refs != nil && refs.ObservedGeneration == p.Generation && strings.HasPrefix(refs.Message, "spec.passwordSecret") {
			continue
		}
		out[p.Spec.PasswordSecret.Name] = &corev1.Secret{
			Type: corev1.SecretTypeBasicAuth,
			Data: map[string][]byte{corev1.BasicAuthPasswordKey: []byte("assumed")},
		}
	}
	return out
}
