package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// export is what Services have, as AddressReservations.
type export struct {
	Objects []manifest `json:"objects"`
	Left    []string   `json:"left"` // addresses that no object has, and why, in words
}

// manifest is an AddressReservation as a user writes it.
type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec v1beta1.AddressReservationSpec `json:"spec"`
}

func (export) kind() string { return "Export" }

func (x export) clean() bool { return len(x.Left) == 0 }

func (x export) draw(p *printer) {
	p.line(plain("# What Services have, as AddressReservations: apply them before the IPAddressPools of the new cluster."))
	for _, text := range x.Left {
		p.line(plain("# left out: " + text))
	}
	for _, o := range x.Objects {
		p.WriteString("---\n" + o.document())
	}
}

// document is the object as YAML; where YAML has no words for it, as JSON, which is YAML as well.
func (m manifest) document() string {
	text, err := yaml.Marshal(m)
	if err != nil {
		text, _ = json.Marshal(m) // strings and times alone: it does not fail
		text = append(text, '\n')
	}
	return string(text)
}

func exports(t *tool) *cobra.Command {
	var r reserving
	c := t.command(&cobra.Command{
		Use:   "export",
		Short: "Print the addresses that Services have as AddressReservations, for a backup",
		Long: `Print the addresses that Services have as AddressReservations, ready to apply.
Where they are applied before the pools, each Service gets its old address, in
whatever order the Services are restored, and although a backup has no statuses.

It writes nothing to the cluster. An address that an AddressReservation has for
its Services already is left to that one. Exit code 2 says that addresses were
left out that would not come back: the comments tell which.`,
		Example: `  kubectl steelyard export > reservations.yaml
  kubectl steelyard export --expires 720h > reservations.yaml`,
		Args: noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) {
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		out := exportOf(w.Evaluate())
		for i := range out.Objects {
			out.Objects[i].Spec.Expires = r.until(t.now())
		}
		return out, nil
	})
	c.Flags().DurationVar(&r.expires, "expires", 0, "how long the reservations hold, such as 720h (default: for ever)")
	return c
}

// exportOf returns what Services have. Addresses that the same Services have are one object.
func exportOf(t *world.Evaluation) export {
	holders, addrs := map[netip.Addr][]int{}, []netip.Addr{}
	for i, svc := range t.Served {
		for _, a := range intent.Holds(svc) {
			if holders[a] == nil {
				addrs = append(addrs, a)
			}
			holders[a] = append(holders[a], i)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	out := export{Objects: []manifest{}, Left: []string{}}
	taken, of := map[string]bool{}, map[string]int{} // names, and the objects' places by their Services
	for _, o := range t.Config.Reservations {
		taken[o.Name] = true
	}
	for _, a := range addrs {
		left, covered := leftOut(t, a, holders[a])
		if left != "" {
			out.Left = append(out.Left, left)
		}
		if left != "" || covered || t.Checked.OfFormerPrefix(a) {
			continue
		}
		by := reservedFor(t, holders[a])
		key := textFor(by)
		if _, there := of[key]; !there {
			of[key] = len(out.Objects)
			m := manifest{APIVersion: v1beta1.GroupVersion().String(), Kind: "AddressReservation"}
			m.Metadata.Name = unused(taken, reservationName(by[0].Namespace, by[0].Services[0]))
			m.Spec = v1beta1.AddressReservationSpec{Namespace: by[0].Namespace, Services: by[0].Services, AlsoFor: by[1:]}
			out.Objects = append(out.Objects, m)
		}
		spec := &out.Objects[of[key]].Spec
		spec.Addresses = append(spec.Addresses, v1beta1.AddressRange(t.Checked.Lasting([]netip.Addr{a})[0].String()))
	}
	slices.SortFunc(out.Objects, func(x, y manifest) int { return strings.Compare(x.Metadata.Name, y.Metadata.Name) })
	return out
}

// leftOut tells why no object is made for a, which Services have, given by their places: in words, if it may not come
// back to all of them; else it is covered by an AddressReservation.
func leftOut(t *world.Evaluation, a netip.Addr, holders []int) (left string, covered bool) {
	by, _ := t.Occupied.Of(a)
	covers := by.Reserved != "" && !t.Checked.ChosenBy(by.Reserved)
	for _, i := range holders {
		svc, reserved := t.Served[i], t.Requests[i].Reserved
		other := slices.IndexFunc(reserved, func(b netip.Addr) bool {
			return ipam.FamilyOf(b) == ipam.FamilyOf(a) && !slices.Contains(intent.Holds(svc), b)
		})
		switch {
		case by.Reserved != "" && !slices.Contains(reserved, a):
			return fmt.Sprintf("Service %s has %s, which AddressReservation %q has for others: name the Service in it", intent.KeyOf(svc), a, by.Reserved), false
		case other >= 0:
			return fmt.Sprintf("Service %s has %s, and could get %s, which is reserved for it as well: have it ask for its address (annotation %s)",
				intent.KeyOf(svc), a, reserved[other], v1beta1.AnnotationLoadBalancerIPs), covers
		}
	}
	return "", covers
}

// reservedFor names Services, given by their places: by namespace, each sorted.
func reservedFor(t *world.Evaluation, of []int) (out []v1beta1.ReservedFor) {
	keys := make([]ipam.Key, len(of))
	for i, place := range of {
		keys[i] = intent.KeyOf(t.Served[place])
	}
	slices.SortFunc(keys, ipam.Key.Compare)
	for _, k := range keys {
		if n := len(out); n == 0 || out[n-1].Namespace != k.Namespace {
			out = append(out, v1beta1.ReservedFor{Namespace: k.Namespace})
		}
		last := &out[len(out)-1]
		last.Services = append(last.Services, k.Name)
	}
	return out
}

// unused returns name, or name with a number that no object has, and takes it.
func unused(taken map[string]bool, name string) string {
	out := name
	for n := 2; taken[out]; n++ {
		out = fmt.Sprintf("%s-%d", name, n)
	}
	taken[out] = true
	return out
}
