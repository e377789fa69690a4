package doctor

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
)

// wireChecks returns the checks of what gets through the network.
func wireChecks() []check {
	return []check{
		{"membership", "Do the speakers hear one another (UDP 7480 and 7481)?", (*cluster).membership, nil},
		{"bgp-sessions", "Is every BGP session up (TCP 179)?", (*cluster).sessions, nil},
		{"bgp-programs", "Do other programs of the nodes keep BGP sessions from coming up (TCP 179)?", (*cluster).bgpPrograms, nil},
		{"bfd", "Does BFD work where it is asked for (UDP 3784 or 4784)?", (*cluster).bfd, nil},
		{"address-conflicts", "Does a foreign host, or another node's own link, answer for an address of a Service?", (*cluster).conflicts, nil},
	}
}

func (p *cluster) membership() outcome {
	var evidence []string
	result, reporting := Warning, 0
	for i := range p.Speakers {
		s := &p.Speakers[i]
		if c := meta.FindStatusCondition(s.Status.Conditions, v1beta1.ConditionIsolated); c != nil && c.Status == metav1.ConditionTrue {
			evidence, result = append(evidence, s.Name+": "+c.Message), Fault
		}
		if s.Status.Host == nil {
			continue
		}
		reporting++
		unreachable := slices.DeleteFunc(slices.Clone(s.Status.Host.UnreachableSpeakers), func(node string) bool { return p.Absent(node) != "" })
		if len(unreachable) > 0 {
			evidence = append(evidence, fmt.Sprintf("%s has never heard %s", s.Name, joined(unreachable)))
		}
		down := slices.DeleteFunc(slices.Clone(s.Status.Host.SessionsDown), func(session string) bool {
			node, _, _ := strings.Cut(session, " on ")
			return p.Absent(node) != ""
		})
		if len(down) > 0 {
			evidence = append(evidence, fmt.Sprintf("%s has no BFD session with %s", s.Name, joined(down)))
		}
	}
	if len(evidence) == 0 && reporting == 0 {
		return outcome{Unknown, []string{"no speaker tells whom it hears"}, "see the check speakers, and whether they are of this version"}
	}
	return found(result, evidence, "open UDP 7480 and 7481 (--membership-port) between the nodes, in firewalls on the nodes and between them, 7480 also on each further subnet that speakers report, and see that each node has the InternalIP that its Node reports: without it a failed node is noticed in seconds instead of half a second")
}

// problems returns those of package health that objects of one kind have, for a reason; "":
// for any.
func (p *cluster) problems(kind, reason string) []health.Problem {
	return slices.DeleteFunc(p.Problems(), func(x health.Problem) bool { return x.Kind != kind || reason != "" && x.Reason != reason })
}

func (p *cluster) sessions() outcome {
	var evidence []string
	up, blocked := 0, false
	for i := range p.Sessions {
		if p.Up(&p.Sessions[i].Status) {
			up++
		}
	}
	for _, x := range p.problems("BGPPeer", v1beta1.ReasonSessionsDown) {
		evidence = append(evidence, fmt.Sprintf("BGPPeer %s: down %s", x.Name, x.Message))
		for _, word := range []string{"timeout", "timed out", "refused", "no route", "unreachable"} {
			blocked = blocked || strings.Contains(x.Message, word)
		}
	}
	remedy := "compare AS numbers, addresses and password with the router's; kubectl steelyard sessions tells the last error"
	if blocked {
		remedy = "see that the router listens, is configured for the node's address, and that no firewall stops TCP 179 (spec.peerPort) on the way"
	}
	v := found(Fault, evidence, remedy)
	if v.result == "" && up > 0 {
		v.evidence = []string{plural(up, "session") + " up"}
	}
	return v
}

// bgpPrograms tells which other programs of nodes speak BGP. One is in the way where this node
// holds no session to its router.
func (p *cluster) bgpPrograms() outcome {
	var all, clashes []string
	for i := range p.Speakers {
		s := &p.Speakers[i]
		if s.Status.Host == nil {
			continue
		}
		for _, other := range s.Status.Host.BGPPrograms {
			text := fmt.Sprintf("%s: another program of this node listens for BGP sessions: %s", s.Name, other.Program)
			if other.Router != "" {
				text = fmt.Sprintf("%s: another program of this node has a BGP session with %s from %s: %s", s.Name, other.Router, other.Address, other.Program)
			}
			all = append(all, text)
			if p.inTheWay(s.Name, other) {
				clashes = append(clashes, text)
			}
		}
	}
	if len(clashes) == 0 {
		return outcome{evidence: all}
	}
	return outcome{Fault, clashes, "give the node's session an address of its own (sourceAddressFrom, sourcePrefix or sourceInterface of the BGPPeer), take another router, or let the other program announce the addresses; see the how-to \"BGP beside a network plugin\""}
}

// inTheWay reports whether a node holds no session to the router of another program.
func (p *cluster) inTheWay(node string, other v1beta1.BGPProgram) bool {
	if other.Router == "" || p.Absent(node) != "" {
		return false
	}
	for i := range p.Sessions {
		s := &p.Sessions[i].Status
		if s.Node == node && !p.Up(s) && strings.Contains(s.LastError, fmt.Sprintf("a BGP session with %s from %s", other.Router, other.Address)) {
			return true
		}
	}
	return false
}

func (p *cluster) bfd() outcome {
	var evidence []string
	for _, x := range p.problems("BGPPeer", health.BFDDown) {
		evidence = append(evidence, fmt.Sprintf("BGPPeer %s: %s", x.Name, x.Message))
	}
	return found(Warning, evidence, "see that the router runs BFD for the node, in the same hop mode (spec.hopMode of the BFDProfile), and that no firewall stops UDP 3784 (4784 over several hops)")
}

func (p *cluster) conflicts() outcome {
	var evidence []string
	for _, x := range p.problems("L2Claim", "") {
		evidence = append(evidence, x.Name+": "+x.Message)
	}
	return found(Fault, evidence, "find that machine (see its MAC, or its node and link) and give it another address, or take this one out of the pool; where a router answers for every address (proxy ARP), set spec.conflictPolicy of the L2Advertisement to Ignore")
}
