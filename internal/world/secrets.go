package world

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// placeholderSecrets returns a Secret for each peer that names one. A Snapshot does
// not hold Secrets. The controller reads them, and reports a faulty one on the peer:
// then there is no placeholder, so that the peer is invalid here too.
func (w *Snapshot) placeholderSecrets() map[string]*corev1.Secret {
	out := map[string]*corev1.Secret{}
	for i := range w.Config.Peers {
		p := &w.Config.Peers[i]
		if p.Spec.PasswordSecret == nil || faultySecret(p) != nil {
			continue
		}
		out[p.Spec.PasswordSecret.Name] = &corev1.Secret{
			Type: corev1.SecretTypeBasicAuth,
			Data: map[string][]byte{corev1.BasicAuthPasswordKey: []byte("assumed")},
		}
	}
	return out
}

// faultySecret returns the condition that tells what is wrong with the Secret of a peer, or
// nil.
func faultySecret(p *v1beta1.BGPPeer) *metav1.Condition {
	refs := meta.FindStatusCondition(p.Status.Conditions, v1beta1.ConditionResolvedRefs)
	if refs == nil || refs.ObservedGeneration != p.Generation || !strings.HasPrefix(refs.Message, "spec.passwordSecret") {
		return nil
	}
	return refs
}

// quoteSecrets has the validation of a peer say of its Secret what the controller says.
func (w *Snapshot) quoteSecrets(of map[intent.Ref]intent.Validation) {
	for i := range w.Config.Peers {
		p := &w.Config.Peers[i]
		ref := intent.Ref{Kind: "BGPPeer", Name: p.Name}
		if v, refs := of[ref], faultySecret(p); refs != nil && v.Refs.Reason != "" && w.Config.Secrets == nil {
			v.Refs = intent.Finding{Reason: refs.Reason, Message: refs.Message}
			of[ref] = v
		}
	}
}
