// Package ipamv1 is the protocol by which Steelyard's controller asks an IPAM for addresses of
// Services. The rest of it is generated from ipam.proto.
package ipamv1
