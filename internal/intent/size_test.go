package intent_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/growth"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

func TestSize(t *testing.T)      { growth.Test(t, sizes()) }
func BenchmarkSize(b *testing.B) { growth.Benchmark(b, sizes()) }

// sizes are configurations of which everything must cost as much for each object
// as of a tenth of them.
func sizes() []growth.Work {
	parsed := func(name string, items int, of func(n int) intent.Objects) growth.Work {
		return growth.Work{Name: name, Items: items, Prepare: func(n int) func() {
			o := of(n)
			return func() { intent.Parse(o) }
		}}
	}
	return []growth.Work{
		parsed("10,000 pools", 10000, func(n int) intent.Objects { return intent.Objects{Pools: apart(n, 1)} }),
		parsed("100 pools of 256 ranges", 100, func(n int) intent.Objects { return intent.Objects{Pools: apart(n, 256)} }),
		parsed("100 pools of 256 ranges that all overlap", 100, func(n int) intent.Objects {
			pools := apart(n, 256)
			for i := range pools {
				pools[i].Spec.Addresses[0] = "10.0.0.0/8"
			}
			return intent.Objects{Pools: pools}
		}),
		parsed("10,000 pools in one that is older", 10000, func(n int) intent.Objects {
			pools := apart(n, 1)
			pools[0].Spec.Addresses[0] = "10.0.0.0/8"
			return intent.Objects{Pools: pools}
		}),
		parsed("100 pools that exclude 256 ranges of 256", 100, func(n int) intent.Objects {
			pools := apart(n, 256)
			for i := range pools {
				pools[i].Spec.Exclude = pools[i].Spec.Addresses
				pools[i].Spec.Addresses = apart(n, 256)[i].Spec.Addresses
			}
			return intent.Objects{Pools: pools}
		}),
		parsed("10,000 pools, each with advertisements of its own", 10000, advertised),
		parsed("3,000 peers of one router, on one node each", 3000, func(n int) intent.Objects {
			var o intent.Objects
			for i := range n {
				p := v1beta1.BGPPeer{ObjectMeta: meta(i), Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: 64513, PeerAddress: "192.0.2.1"}}
				p.Spec.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"node": p.Name}}}
				o.Peers = append(o.Peers, p)
			}
			return o
		}),
		{Name: "addresses of 10,000 pools", Items: 10000, Prepare: func(n int) func() {
			pools := apart(n, 1)
			config := intent.Parse(intent.Objects{Pools: pools})
			return func() {
				for i := range pools {
					if have := config.PoolOf(address(2 * i)); have != pools[i].Name {
						panic(fmt.Sprintf("%s is of %q", address(2*i), have))
					}
				}
			}
		}},
		{Name: "addresses of 10,000 pools, each announced by itself", Items: 10000, Prepare: func(n int) func() {
			o := intent.Objects{Pools: apart(n, 1)}
			for i := range n {
				o.BGP = append(o.BGP, v1beta1.BGPAdvertisement{ObjectMeta: meta(i), Spec: v1beta1.BGPAdvertisementSpec{Selection: v1beta1.Selection{IPAddressPools: []string{o.Pools[i].Name}}}})
			}
			config := intent.Parse(o)
			return func() {
				for i := range n {
					if have := config.AddressOf(&corev1.Service{}, address(2*i)); have.Pool != o.Pools[i].Name {
						panic(fmt.Sprintf("%+v", have))
					}
				}
			}
		}},
	}
}

func meta(i int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: fmt.Sprintf("x%05d", i), CreationTimestamp: metav1.NewTime(time.Unix(int64(i), 0))}
}

// address returns the nth address of 10.0.0.0/8.
func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// apart returns n pools of so many single addresses, no two of which touch.
func apart(n, ranges int) []v1beta1.IPAddressPool {
	out := make([]v1beta1.IPAddressPool, n)
	for i := range out {
		out[i].ObjectMeta = meta(i)
		for j := range ranges {
			out[i].Spec.Addresses = append(out[i].Spec.Addresses, v1beta1.AddressRange(address(2*(i*ranges+j)).String()))
		}
	}
	return out
}

// advertised returns n pools, and two advertisements for each, which differ.
func advertised(n int) intent.Objects {
	o := intent.Objects{Pools: apart(n, 1)}
	for i, pool := range o.Pools {
		selection := v1beta1.Selection{IPAddressPools: []string{pool.Name}}
		o.L2 = append(o.L2, v1beta1.L2Advertisement{ObjectMeta: meta(i), Spec: v1beta1.L2AdvertisementSpec{Selection: selection}})
		o.BGP = append(o.BGP, v1beta1.BGPAdvertisement{ObjectMeta: meta(i), Spec: v1beta1.BGPAdvertisementSpec{Selection: selection}})
	}
	return o
}
