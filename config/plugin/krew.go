package main

// manifest is what krew reads of a plugin (its API v1alpha2).
type manifest struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
}

type metadata struct {
	Name string `json:"name"`
}

type spec struct {
	Version          string  `json:"version"`
	Homepage         string  `json:"homepage"`
	ShortDescription string  `json:"shortDescription"` // one line, of few words
	Description      string  `json:"description"`
	Caveats          string  `json:"caveats,omitempty"` // shown when it is installed
	Platforms        []build `json:"platforms"`
}

// build is the plugin for one platform.
type build struct {
	Selector selector `json:"selector"`
	URI      string   `json:"uri"`
	SHA256   string   `json:"sha256"`
	Bin      string   `json:"bin"` // in the archive
}

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"` // os and arch
}

// manifest returns what does not depend on the platform.
func (o options) manifest() manifest {
	return manifest{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2",
		Kind:       "Plugin",
		Metadata:   metadata{name},
		Spec: spec{
			Version:          o.tag,
			Homepage:         o.homepage,
			ShortDescription: "See and operate the Steelyard load balancer",
			Description: `Steelyard gives Services of type LoadBalancer addresses on bare metal, and
announces them by ARP, NDP and BGP. This plugin shows its state, explains why a
Service has its address and who announces it, simulates changes, moves and
rebalances addresses, drains nodes, examines the cluster, and migrates from
MetalLB, PureLB, OpenELB, Cilium and kube-vip.
`,
			Caveats: `To have kubectl complete its commands, put kubectl_complete-steelyard, which is
beside the plugin in krew's folder "store", into your PATH.
`,
		},
	}
}
