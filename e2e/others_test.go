package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// other is a kind of another product that kubectl could take for one of ours.
type other struct {
	group, version, plural, kind string
	namespaced                   bool
	short                        []string
}

// others are those that a reader's cluster may have.
func others() []other {
	return []other{
		{group: "crd.projectcalico.org", version: "v1", plural: "bgppeers", kind: "BGPPeer"},
		{group: "crd.projectcalico.org", version: "v1", plural: "ippools", kind: "IPPool"},
		{group: "projectcalico.org", version: "v3", plural: "bgppeers", kind: "BGPPeer"},
		{group: "projectcalico.org", version: "v3", plural: "ippools", kind: "IPPool"},
		{group: "cilium.io", version: "v2", plural: "ciliumbgpadvertisements", kind: "CiliumBGPAdvertisement", short: []string{"cbgpadvert", "ippools", "ippool"}}, // the latter are of its pools, which doctor reports
		{group: "metallb.io", version: "v1beta1", plural: "ipaddresspools", kind: "IPAddressPool", namespaced: true},
		{group: "metallb.io", version: "v1beta1", plural: "l2advertisements", kind: "L2Advertisement", namespaced: true},
		{group: "metallb.io", version: "v1beta1", plural: "bgpadvertisements", kind: "BGPAdvertisement", namespaced: true},
		{group: "metallb.io", version: "v1beta2", plural: "bgppeers", kind: "BGPPeer", namespaced: true},
		{group: "metallb.io", version: "v1beta1", plural: "bfdprofiles", kind: "BFDProfile", namespaced: true},
		{group: "metallb.io", version: "v1beta1", plural: "communities", kind: "Community", namespaced: true},
		{group: "network.kubesphere.io", version: "v1alpha2", plural: "bgppeers", kind: "BgpPeer"},
		{group: "whereabouts.cni.cncf.io", version: "v1alpha1", plural: "ippools", kind: "IPPool", namespaced: true},
		// No host is known to have these, but one may.
		{group: "example.org", version: "v1", plural: "speakers", kind: "Speaker"},
		{group: "example.org", version: "v1", plural: "l2claims", kind: "L2Claim"},
		{group: "example.org", version: "v1", plural: "bgpsessions", kind: "BGPSession"},
	}
}

// installOthers gives a rack the kinds of other products.
func installOthers(t *testing.T, rack string) {
	t.Helper()
	var all []any
	wait := []string{"wait", "--for=condition=Established", "--timeout=60s", "crd"}
	for _, o := range others() {
		scope := "Cluster"
		if o.namespaced {
			scope = "Namespaced"
		}
		name := o.plural + "." + o.group
		all = append(all, map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
			"metadata": map[string]any{"name": name},
			"spec": map[string]any{
				"group": o.group, "scope": scope,
				"names": map[string]any{"plural": o.plural, "singular": strings.ToLower(o.kind), "kind": o.kind, "shortNames": o.short},
				"versions": []any{map[string]any{"name": o.version, "served": true, "storage": true,
					"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
			},
		})
		wait = append(wait, name)
	}
	for _, args := range [][]string{{"apply", "-f", "-"}, wait} {
		if out, err := kubectl(t, rack, listOf(t, all), args...); err != nil {
			t.Fatalf("the kinds of other products: %v %s", err, out)
		}
	}
}

// makeOthers makes an object of each of these kinds, in the namespace if it is in one.
func makeOthers(t *testing.T, rack, namespace string) {
	t.Helper()
	var all []any
	for _, o := range others() {
		all = append(all, map[string]any{"apiVersion": o.group + "/" + o.version, "kind": o.kind, "metadata": map[string]any{"name": "other"}})
	}
	if out, err := kubectl(t, rack, listOf(t, all), "apply", "--namespace", namespace, "-f", "-"); err != nil {
		t.Fatalf("objects of other products: %v %s", err, out)
	}
}

// checkOthers fails if one of these objects has gone, or been changed.
func checkOthers(t *testing.T, rack, namespace string) {
	t.Helper()
	for _, o := range others() {
		out, err := kubectl(t, rack, "", "get", o.plural+"."+o.group, "other", "--namespace", namespace, "-o", "jsonpath={.metadata.generation}{.metadata.deletionTimestamp}{.metadata.labels}{.spec}")
		if err != nil || strings.TrimSpace(out) != "1" {
			t.Errorf("this page did harm to %s of %s: %v %s", o.plural, o.group, err, out)
		}
	}
}

func listOf(t *testing.T, items []any) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
