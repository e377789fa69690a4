package intent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// profile is a BFDProfile and the keys of its Secret.
type profile struct {
	v1beta1.BFDProfileSpec
	keys     []announce.BFDKey
	unusable bool // the keys are not as they should be
}

// profiles returns the BFD profiles, by name.
func (p *parser) profiles(in []v1beta1.BFDProfile, secrets map[string]*corev1.Secret) map[string]profile {
	out := map[string]profile{}
	for _, obj := range in {
		var none []string
		if obj.Spec.EchoMode {
			none = append(none, "spec.echoMode")
		}
		if obj.Spec.EchoInterval != 0 {
			none = append(none, "spec.echoInterval")
		}
		ref := Ref{"BFDProfile", obj.Name}
		p.accept(ref, none...)
		keys, reason, err := bfdKeys(obj.Spec.Authentication, secrets)
		if err != nil {
			p.unresolved(ref, reason, "spec.authentication.%v; sessions are held without BFD", err)
		}
		out[obj.Name] = profile{obj.Spec, keys, err != nil}
	}
	return out
}

// bfdKeys returns the keys of a profile, the one that signs first. A wrong or missing Secret
// is an error, never no authentication.
func bfdKeys(a *v1beta1.BFDAuthentication, secrets map[string]*corev1.Secret) (keys []announce.BFDKey, reason string, err error) {
	if a == nil {
		return nil, "", nil
	}
	name, signs := a.KeySecret.Name, a.SigningKeyID()
	s := secrets[name]
	switch {
	case s == nil:
		return nil, v1beta1.ReasonNotFound, fmt.Errorf("keySecret: there is no Secret %s in Steelyard's namespace", printable.Quote(name))
	case cmp.Or(s.Type, corev1.SecretTypeOpaque) != corev1.SecretTypeOpaque:
		return nil, v1beta1.ReasonInvalidSecret, fmt.Errorf("keySecret: Secret %q is of type %s, not %q", name, printable.Quote(string(s.Type)), corev1.SecretTypeOpaque)
	}
	for _, text := range slices.Sorted(maps.Keys(s.Data)) {
		id, err := strconv.ParseUint(text, 10, 8)
		if err != nil || strconv.FormatUint(id, 10) != text {
			return nil, v1beta1.ReasonInvalidSecret, fmt.Errorf("keySecret: key %s of Secret %q is no key ID from 0 to 255", printable.Quote(text), name)
		}
		value, err := secretValue(s.Data, name, text, 20)
		if err != nil {
			return nil, v1beta1.ReasonInvalidSecret, fmt.Errorf("keySecret: %w", err)
		}
		keys = append(keys, announce.BFDKey{ID: uint8(id), Secret: value, Meticulous: a.Type != v1beta1.BFDKeyedSHA1})
	}
	slices.SortFunc(keys, func(x, y announce.BFDKey) int {
		return cmp.Or(ipam.CompareBool(int32(y.ID) == signs, int32(x.ID) == signs), cmp.Compare(x.ID, y.ID))
	})
	if len(keys) == 0 || int32(keys[0].ID) != signs {
		return nil, v1beta1.ReasonInvalidSecret, fmt.Errorf("keyID: Secret %q has no key \"%d\" to sign with", name, signs)
	}
	return keys, "", nil
}

// profileOf returns the profile of a peer, of that name; nil: none that can be used.
func (p *parser) profileOf(peer Ref, name string, profiles map[string]profile) *profile {
	of, there := profiles[name]
	switch {
	case name == "":
	case !there:
		p.unresolved(peer, v1beta1.ReasonNotFound, "spec.bfdProfile: there is no BFDProfile %s; the session is held without", printable.Quote(name))
	case of.unusable:
		p.unresolved(peer, v1beta1.ReasonInvalidSecret, "spec.bfdProfile: the keys of BFDProfile %q can't be used, as its condition ResolvedRefs says; the session is held without BFD", name)
	default:
		return &of
	}
	return nil
}

// watching returns how to watch the router of peer.
func watching(of profile, peer announce.Peer) announce.BFD {
	return announce.BFD{
		Receive:    milliseconds(of.ReceiveInterval),
		Transmit:   milliseconds(of.TransmitInterval),
		Multiplier: uint8(cmp.Or(of.DetectMultiplier, 3)),
		Passive:    of.PassiveMode,
		Hops:       hops(of.HopMode, peer),
		MinTTL:     uint8(cmp.Or(of.MinimumTTL, 254)),
		Keys:       of.keys,
	}
}

// hops resolves a hop mode; auto does as FRR.
func hops(mode v1beta1.HopMode, p announce.Peer) announce.Hops {
	switch {
	case mode == v1beta1.HopModeSingle:
		return announce.SingleHop
	case mode == v1beta1.HopModeMulti:
		return announce.MultiHop
	case p.Interface != "":
		return announce.SingleHop
	case p.MultiHopTTL != 0 || p.MinTTL != 0:
		return announce.MultiHop
	case p.PeerASN == p.LocalASN || p.ASN == announce.InternalASN:
		return announce.HopsByNet
	}
	return announce.SingleHop
}

// milliseconds reads an interval of a BFDProfile; unset: 300 ms.
func milliseconds(n int32) time.Duration { return time.Duration(cmp.Or(n, 300)) * time.Millisecond }
