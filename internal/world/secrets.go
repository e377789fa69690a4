package world

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// user is an object that names a Secret, what of the Secret it needs, and what the
// controller says of it.
type user struct {
	intent.Ref
	secret, key string
	kind        corev1.SecretType
	faulty      *metav1.Condition // what is wrong with the Secret; nil: nothing
}

// secretUsers returns the objects that name Secrets.
func (w *Snapshot) secretUsers() []user {
	var out []user
	for i := range w.Config.Peers {
		if p := &w.Config.Peers[i]; p.Spec.PasswordSecret != nil {
			out = append(out, user{
				intent.Ref{Kind: "BGPPeer", Name: p.Name}, p.Spec.PasswordSecret.Name, corev1.BasicAuthPasswordKey, corev1.SecretTypeBasicAuth,
				faultySecret(p.Generation, p.Status.Conditions, "spec.passwordSecret"),
			})
		}
	}
	for i := range w.Config.Profiles {
		if p := &w.Config.Profiles[i]; p.Spec.Authentication != nil {
			out = append(out, user{
				intent.Ref{Kind: "BFDProfile", Name: p.Name}, p.Spec.Authentication.KeySecret.Name, strconv.Itoa(int(p.Spec.Authentication.SigningKeyID())),
				corev1.SecretTypeOpaque, faultySecret(p.Generation, p.Status.Conditions, "spec.authentication"),
			})
		}
	}
	return out
}

// placeholderSecrets returns a Secret for each object that names one. A Snapshot does
// not hold Secrets. The controller reads them, and reports a faulty one on the object:
// then there is no placeholder, so that the object is invalid here too.
func (w *Snapshot) placeholderSecrets() map[string]*corev1.Secret {
	out := map[string]*corev1.Secret{}
	for _, u := range w.secretUsers() {
		if u.faulty != nil {
			continue
		}
		s := out[u.secret]
		if s == nil || s.Type != u.kind {
			s = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: u.secret}, Type: u.kind, Data: map[string][]byte{}}
			out[u.secret] = s
		}
		s.Data[u.key] = []byte("assumed")
	}
	return out
}

// faultySecret returns the condition that tells what is wrong with the Secret that a field
// names, or nil.
func faultySecret(generation int64, conditions []metav1.Condition, field string) *metav1.Condition {
	refs := meta.FindStatusCondition(conditions, v1beta1.ConditionResolvedRefs)
	if refs == nil || refs.ObservedGeneration != generation || !strings.HasPrefix(refs.Message, field) {
		return nil
	}
	return refs
}

// quoteSecrets has the validation of an object say of its Secret what the controller says.
func (w *Snapshot) quoteSecrets(of map[intent.Ref]intent.Validation) {
	if w.Config.Secrets != nil {
		return
	}
	for _, u := range w.secretUsers() {
		if v := of[u.Ref]; u.faulty != nil && v.Refs.Reason != "" {
			v.Refs = intent.Finding{Reason: u.faulty.Reason, Message: u.faulty.Message}
			of[u.Ref] = v
		}
	}
}
