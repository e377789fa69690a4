package doctor

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// wireChecks look at what does and does not get through.
func wireChecks() []check {
	return []check{
		{"membership", "Do the speakers hear one another (UDP 7480 and 7481)?", (*patient).membership, nil},
		{"bgp-sessions", "Is every BGP session up (TCP 179)?", (*patient).sessions, nil},
		{"bfd", "Does BFD work where it is asked for (UDP 3784 or 4784)?", (*patient).bfd, nil},
		{"strangers", "Does another machine answer for an address of a Service?", (*patient).strangers, nil},
	}
}

func (p *patient) membership() verdict {
	var evidence []string
	result, told := Warning, 0
	for i := range p.Speakers {
		s := &p.Speakers[i]
		if c := meta.FindStatusCondition(s.Status.Conditions, v1beta1.ConditionIsolated); c != nil && c.Status == metav1.ConditionTrue {
			evidence, result = append(evidence, s.Name+": "+c.Message), Fault
		}
		if s.Status.Host == nil {
			continue
		}
		told++
		unheard := slices.DeleteFunc(slices.Clone(s.Status.Host.Unheard), func(node string) bool { return p.Absent(node) != "" })
		if len(unheard) > 0 {
			evidence = append(evidence, fmt.Sprintf("%s has never heard %s", s.Name, joined(unheard)))
		}
	}
	if len(evidence) == 0 && told == 0 {
		return verdict{Unknown, []string{"no speaker tells whom it hears"}, "see the check speakers, and whether they are of this version"}
	}
	return found(result, evidence, "open UDP 7480 and 7481 (--membership-port) between the nodes, in firewalls on the nodes and between them: without it a failed node is noticed in seconds instead of half a second")
}

func (p *patient) sessions() verdict {
	var evidence []string
	up, blocked := 0, false
	for i := range p.Sessions {
		s := &p.Sessions[i].Status
		if s.State == established {
			up++
			continue
		}
		evidence = append(evidence, strings.TrimRight(fmt.Sprintf("node %s to %s is %s: %s", s.Node, s.Peer, s.State, s.LastError), ": "))
		for _, word := range []string{"timeout", "timed out", "refused", "no route", "unreachable"} {
			blocked = blocked || strings.Contains(s.LastError, word)
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

// established is how BGP calls a session that is up (RFC 4271 section 8.2.2).
const established = "Established"

func (p *patient) bfd() verdict {
	var evidence []string
	for i := range p.Sessions {
		if s := &p.Sessions[i].Status; s.State == established && s.BFD != "" && s.BFD != "Up" {
			evidence = append(evidence, fmt.Sprintf("node %s to %s: %s", s.Node, s.Peer, s.BFD))
		}
	}
	return found(Warning, evidence, "see that the router runs BFD for the node, in the same hop mode (spec.hopMode of the BFDProfile), and that no firewall stops UDP 3784 (4784 over several hops)")
}

func (p *patient) strangers() verdict {
	var evidence []string
	for i := range p.Claims {
		c := &p.Claims[i]
		if x := meta.FindStatusCondition(c.Status.Conditions, v1beta1.ConditionConflict); x != nil && x.Status == metav1.ConditionTrue {
			evidence = append(evidence, string(c.Spec.Address)+": "+x.Message)
		}
	}
	return found(Fault, evidence, "find that machine (its MAC is told) and give it another address, or take this one out of the pool")
}
