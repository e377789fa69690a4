package world

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// assumed returns a Secret for every peer that names one, for they are not read:
// the controller, which does, says on the peer if one is at fault. Then there is
// none here either. One of a peer of which it has said nothing is taken for good.
func (w *World) assumed() map[string]*corev1.Secret {
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
