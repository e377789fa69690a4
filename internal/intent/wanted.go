package intent

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// maxRequest is how many bytes a request for addresses may have. All addresses that a Service may
// have, with spaces around, need less.
const maxRequest = 1024

// contradiction is the error of two requests that can't both be met.
type contradiction string

func (c contradiction) Error() string { return string(c) }

// wanted returns the addresses that svc asks for by annotation and, deprecated, by
// field, and how many it asks for; 0: that is not said. They are compared as addresses: the two may
// both be set if they agree.
func (d AnnotationPrefixes) wanted(svc *corev1.Service) (_ []netip.Addr, count int, _ error) {
	name, text := d.find(svc, v1beta1.AnnotationLoadBalancerIPs)
	out, err := addressList("annotation "+name, text)
	if err != nil {
		return nil, 0, err
	}
	field, err := addressList("spec.loadBalancerIP", svc.Spec.LoadBalancerIP)
	if err != nil {
		return nil, 0, err
	}
	for _, a := range field {
		i := slices.IndexFunc(out, func(b netip.Addr) bool { return a.Is4() == b.Is4() })
		switch {
		case i < 0:
			out = append(out, a)
		case !slices.Contains(out, a):
			return nil, 0, contradiction(fmt.Sprintf("spec.loadBalancerIP is %q and annotation %s has %q: remove one of them", a.String(), name, out[i].String()))
		}
	}
	if text, ok := svc.Annotations[v1beta1.AnnotationAddressCount]; ok {
		if count, err = addressCount(text, out); err != nil {
			return nil, 0, err
		}
	}
	return out, count, nil
}

// addressCount reads how many addresses of each family a Service asks for, which asks for some by address.
func addressCount(text string, asked []netip.Addr) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 1 || n > v1beta1.MaxAddresses {
		return 0, fmt.Errorf("annotation %s is %s: it must be a number from 1 to %d", v1beta1.AnnotationAddressCount, printable.Quote(text), v1beta1.MaxAddresses)
	}
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		of := slices.DeleteFunc(slices.Clone(asked), func(a netip.Addr) bool { return ipam.FamilyOf(a) != f })
		if len(of) > n {
			return 0, contradiction(fmt.Sprintf("annotation %s is %d, and the Service asks for %d %s addresses: %s", v1beta1.AnnotationAddressCount, n, len(of), f, Join(of)))
		}
	}
	return n, nil
}

// addressList reads a comma-separated list of addresses.
func addressList(field, text string) ([]netip.Addr, error) {
	if len(text) > maxRequest {
		return nil, fmt.Errorf("%s is %d bytes long; at most %d are read", field, len(text), maxRequest)
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var out []netip.Addr
	for part := range strings.SplitSeq(text, ",") {
		a, err := parseAddr(part)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		if slices.Contains(out, a) {
			return nil, fmt.Errorf("%s has %s twice", field, a)
		}
		if out = append(out, a); numberLike(out, a) > v1beta1.MaxAddresses {
			return nil, fmt.Errorf("%s has more than %d addresses of one family, which is as many as a Service may have", field, v1beta1.MaxAddresses)
		}
	}
	return out, nil
}

// numberLike is how many of addrs are of the family of a.
func numberLike(addrs []netip.Addr, a netip.Addr) (n int) {
	for _, b := range addrs {
		if a.Is4() == b.Is4() {
			n++
		}
	}
	return n
}
