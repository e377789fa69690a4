package intent

import (
	"cmp"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
)

// profiles returns the BFD profiles, by name.
func (p *parser) profiles(in []v1beta1.BFDProfile) map[string]v1beta1.BFDProfileSpec {
	out := map[string]v1beta1.BFDProfileSpec{}
	for _, obj := range in {
		var none []string
		if obj.Spec.EchoMode {
			none = append(none, "spec.echoMode")
		}
		if obj.Spec.EchoInterval != 0 {
			none = append(none, "spec.echoInterval")
		}
		p.accept(Ref{"BFDProfile", obj.Name}, none...)
		out[obj.Name] = obj.Spec
	}
	return out
}

// watching returns how to watch the router of peer.
func watching(spec v1beta1.BFDProfileSpec, peer announce.Peer) announce.BFD {
	return announce.BFD{
		Receive:    milliseconds(spec.ReceiveInterval),
		Transmit:   milliseconds(spec.TransmitInterval),
		Multiplier: uint8(cmp.Or(spec.DetectMultiplier, 3)),
		Passive:    spec.PassiveMode,
		Hops:       hops(spec.HopMode, peer),
		MinTTL:     uint8(cmp.Or(spec.MinimumTTL, 254)),
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
