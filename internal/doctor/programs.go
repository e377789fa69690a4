package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// programChecks returns the checks of Steelyard itself.
func programChecks() []check {
	return []check{
		{"controller", "Does a controller hold the Lease, and renew it?", (*cluster).controller, []string{leases}},
		{"speakers", "Does a speaker run on every node?", (*cluster).speakers, []string{leases}},
		{"versions", "Are controller, speakers and kinds of one version?", (*cluster).versions, []string{deployments, daemonSets, kinds}},
		{"clocks", "Do the nodes' clocks agree with the API server's?", (*cluster).clocks, []string{leases}},
		{"speaker-policy", "Can the holder of a speaker's token write only what bears that node's name?", (*cluster).speakerPolicy, []string{policies, bindings}},
		{"configuration", "Is every configuration object accepted?", (*cluster).configuration, nil},
	}
}

func (p *cluster) lease(name string) *coordinationv1.Lease {
	for i := range p.Leases {
		if p.Leases[i].Name == name {
			return &p.Leases[i]
		}
	}
	return nil
}

func (p *cluster) controller() outcome {
	if p.Leases == nil {
		return outcome{}
	}
	refused, remedy := p.refused(imageController)
	remedy = cmp.Or(remedy, "see kubectl get pods -n "+p.System+", and the controller's log; without it no Service gets an address")
	fault := func(text string) outcome { return outcome{Fault, append(refused, text), remedy} }
	l := p.lease(health.LeaseController)
	switch {
	case l == nil:
		return fault("there is no Lease " + health.LeaseController + " in namespace " + p.System + ": no controller has ever run")
	case intent.LeaseHolder(l) == "" || l.Spec.RenewTime == nil:
		return fault("the Lease " + health.LeaseController + " was released: no controller is active")
	}
	if _, absent := p.Controller(); absent != "" {
		return fault(fmt.Sprintf("%s holds the Lease; %s", intent.LeaseHolder(l), absent))
	}
	if len(refused) > 0 { // of several replicas
		return outcome{Warning, refused, remedy}
	}
	return outcome{evidence: []string{intent.LeaseHolder(l) + " is active"}}
}

func (p *cluster) speakers() outcome {
	var missing []string
	for i := range p.Nodes {
		name := p.Nodes[i].Name
		if reason := p.Absent(name); reason != "" {
			missing = append(missing, name+": "+reason)
		}
	}
	refused, remedy := p.refused(imageSpeaker)
	nodes := len(missing)
	missing = append(missing, refused...)
	remedy = cmp.Or(remedy, "see kubectl get pods -n "+p.System+" -o wide, whether the DaemonSet tolerates the nodes' taints, and whether the node reaches the API server; a speaker that lost only that goes on with what it knew last (on the node: curl 127.0.0.1:7476/debug/announcements)")
	if len(p.Nodes) > 0 && nodes == len(p.Nodes) {
		return outcome{Fault, missing, remedy}
	}
	v := found(Warning, missing, remedy)
	if v.result == "" {
		v.evidence = []string{"on " + plural(len(p.Nodes), "node")}
	}
	return v
}

// refused finds workloads of a program that have fewer Pods than they should have. The remedy
// is "" where it is not known.
func (p *cluster) refused(image string) (evidence []string, remedy string) {
	for _, w := range p.Workloads {
		if w.Current >= w.Replicas || !slices.ContainsFunc(w.of(p.System), func(i programImage) bool { return i.name == image }) {
			continue
		}
		text := fmt.Sprintf("%s has %d of %s", w, w.Current, plural(int(w.Replicas), "Pod"))
		unread := slices.IndexFunc(p.Forbidden, func(g Gap) bool { return g.Resource == events })
		switch {
		case w.Refused != "":
			text += ": FailedCreate: " + printable.Message(w.Refused)
		case unread >= 0:
			text += "; " + p.Forbidden[unread].String() + ", which tell why"
		}
		evidence = append(evidence, text)
		if strings.Contains(w.Refused, "PodSecurity") {
			remedy = "let the namespace have Pods that use the nodes' network: kubectl label namespace " + p.System + " pod-security.kubernetes.io/enforce=privileged"
		}
	}
	if len(evidence) > 0 {
		remedy = cmp.Or(remedy, "see kubectl describe on it: quotas, webhooks and Pod security can refuse Pods")
	}
	return evidence, remedy
}

// The images of Steelyard's programs.
const (
	imageController = "steelyard-controller"
	imageSpeaker    = "steelyard-speaker"
)

// programImage is the image of one of Steelyard's programs, without registry and digest.
type programImage struct{ name, tag string }

// of returns the images of Steelyard's programs in a workload of its namespace.
func (w Workload) of(system string) []programImage {
	var out []programImage
	for _, image := range w.Images {
		named, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], "@") // a digest is another one for each program
		name, tag, _ := strings.Cut(named, ":")
		if w.Namespace == system && (name == imageController || name == imageSpeaker) {
			out = append(out, programImage{name, tag})
		}
	}
	return out
}

// differing returns the versions of the running programs, if they are not of one.
func (p *cluster) differing() []string {
	nodes := map[string][]string{}
	controller, differ := p.ControllerVersion(), false
	for i := range p.Speakers {
		s := &p.Speakers[i]
		nodes[s.Status.Version] = append(nodes[s.Status.Version], s.Name)
		differ = differ || controller != "" && version.Label(s.Status.Version) != controller
	}
	if len(nodes) <= 1 && !differ {
		return nil
	}
	var out []string
	for _, v := range slices.Sorted(maps.Keys(nodes)) {
		out = append(out, fmt.Sprintf("speakers of version %q run on %s", v, joined(nodes[v])))
	}
	if controller != "" {
		out = append(out, fmt.Sprintf("the controller is of version %q", controller))
	}
	return out
}

func (p *cluster) versions() outcome {
	evidence := p.differing()
	images := map[string]string{} // the tag by program
	for _, w := range p.Workloads {
		for _, i := range w.of(p.System) {
			images[i.name] = i.tag
		}
	}
	if c, s := images[imageController], images[imageSpeaker]; c != "" && s != "" && c != s {
		evidence = append(evidence, fmt.Sprintf("the controller's image is %s, the speakers' %s", c, s))
	}
	for _, k := range p.OldKinds {
		evidence = append(evidence, "the kind "+k+": it is of an older version than this program")
	}
	return found(Warning, evidence, "finish the upgrade: the kinds (CRDs) first, then both programs, to one version")
}

// skew is how far a clock may be off before it is reported. The API server records
// writes by the second.
const skew = 5 * time.Second

// clocks compares the time at which a speaker renewed its Lease by its own clock with
// the time of that write by the API server's.
func (p *cluster) clocks() outcome {
	var off []string
	reporting := 0
	for i := range p.Leases {
		l := &p.Leases[i]
		if l.Spec.RenewTime == nil {
			continue
		}
		var written time.Time
		for _, m := range l.ManagedFields {
			if m.Time != nil && m.Time.After(written) {
				written = m.Time.Time
			}
		}
		if written.IsZero() {
			continue
		}
		reporting++
		if by := l.Spec.RenewTime.Sub(written); by > skew || by < -skew {
			off = append(off, fmt.Sprintf("the clock of %s is off by %s", intent.LeaseHolder(l), by.Truncate(time.Second)))
		}
	}
	if reporting == 0 {
		return outcome{Unknown, []string{"no Lease shows when it was written"}, "look at the clocks by hand: date -u on each node"}
	}
	return found(Warning, off, "set the clock by NTP; who took over what is decided by Leases when the wire does not tell")
}

func (p *cluster) speakerPolicy() outcome {
	var evidence []string
	for i := range p.Speakers {
		if h := p.Speakers[i].Status.Host; h != nil && h.TokenError != "" {
			evidence = append(evidence, p.Speakers[i].Name+": "+h.TokenError)
		}
	}
	read := !slices.ContainsFunc(p.Forbidden, func(g Gap) bool { return g.Resource == policies || g.Resource == bindings })
	if read && !p.Policy {
		evidence = append(evidence, "the ValidatingAdmissionPolicy steelyard-speaker is not in force for namespace "+p.System)
	}
	return found(Warning, evidence, "install the policy with the programs (speaker.admissionPolicy in the chart, config/rbac), and let speakers run as Pods of the DaemonSet, whose tokens tell the node; without, a stolen node may write what other speakers tell of themselves, and the controller's Lease")
}

func (p *cluster) configuration() outcome {
	var faults []string
	for ref, v := range p.Checked.Validations {
		for _, f := range v.Faults() {
			faults = append(faults, fmt.Sprintf("%s %s: %s: %s", ref.Kind, ref.Name, f.Reason, f.Message))
		}
	}
	return found(Fault, faults, "mend the object; until then it is left out, and the others go on")
}
