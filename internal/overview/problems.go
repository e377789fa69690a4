package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// problemsOf lists what needs attention: what is broken before what waits, then
// by kind and name.
func problemsOf(o Objects, now time.Time) table[problem] {
	var out []problem
	if o.Away != "" {
		out = append(out, problem{"Controller", "", bad("Cut off"), "The API server can't be asked, so all that is shown here may be old: " + o.Away})
	}
	for i := range o.Pools {
		out = append(out, judged(Configured{"IPAddressPool", o.Pools[i].Name, o.Pools[i].Status.Conditions})...)
	}
	for _, p := range poolsOf(o.Pools).Rows {
		if p.Fullness == "full" {
			out = append(out, problem{"IPAddressPool", p.Name, wait("Full"), "Every " + p.Family + " address is assigned: the next Service that needs one waits."})
		}
	}
	for _, c := range o.Others {
		out = append(out, judged(c)...)
	}
	for _, svc := range o.Services {
		if p, is := ofService(svc); is {
			out = append(out, p)
		}
	}
	for i := range o.Claims {
		c := &o.Claims[i]
		if x := meta.FindStatusCondition(c.Status.Conditions, v1beta1.ConditionConflict); x != nil && x.Status == metav1.ConditionTrue {
			out = append(out, problem{"L2Claim", string(c.Spec.Address), bad(x.Reason), x.Message})
		}
	}
	for _, s := range o.Sessions {
		if _, silent := o.Silent[s.Status.Node]; s.Status.State != established && !silent {
			out = append(out, problem{"BGPSession", s.Status.Node + " to " + s.Status.Peer, bad(cmp.Or(s.Status.State, "Unknown")),
				cmp.Or(s.Status.LastError, "The session is not up (yet).")})
		}
	}
	for i := range o.Speakers {
		out = append(out, ofSpeaker(&o.Speakers[i], o.Silent, now)...)
	}
	slices.SortStableFunc(out, func(a, b problem) int {
		return cmp.Or(strings.Compare(a.Mark.Class, b.Mark.Class), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return tableOf("events", out)
}

// judged tells what is wrong with a configuration object.
func judged(c Configured) []problem {
	var out []problem
	if x := meta.FindStatusCondition(c.Conditions, v1beta1.ConditionReady); x != nil && x.Status == metav1.ConditionFalse {
		out = append(out, problem{c.Kind, c.Name, bad(x.Reason), x.Message})
	}
	if x := meta.FindStatusCondition(c.Conditions, v1beta1.ConditionInEffect); x != nil && x.Status == metav1.ConditionFalse {
		out = append(out, problem{c.Kind, c.Name, wait(x.Reason), x.Message})
	}
	return out
}

// ofService tells what is wrong with a Service, if anything is.
func ofService(svc *corev1.Service) (problem, bool) {
	p := problem{Kind: "Service", Name: svc.Namespace + "/" + svc.Name}
	c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated)
	switch {
	case c == nil:
		p.Mark, p.Message = wait("Pending"), "The controller has not said anything about it yet."
	case c.Status != metav1.ConditionTrue:
		p.Mark, p.Message = bad(c.Reason), c.Message
	default: // what follows the addresses is a reservation
		_, reservation, has := strings.Cut(c.Message, "; ")
		if !has {
			return problem{}, false
		}
		p.Mark, p.Message = wait("Assigned, but"), reservation
	}
	return p, true
}

// ofSpeaker tells what is wrong with a node's speaker.
func ofSpeaker(s *v1beta1.Speaker, silent map[string]time.Time, now time.Time) []problem {
	m := markOfSpeaker(s, silent)
	if since, lapsed := silent[s.Name]; lapsed && m.Class == "bad" {
		then := metav1.NewTime(since)
		return []problem{{"Speaker", s.Name, m, "It was last heard " + age(now, &then) + " ago. What this page says of its node is from then."}}
	}
	var out []problem
	for _, c := range s.Status.Conditions {
		if c.Status == metav1.ConditionTrue && (c.Type == v1beta1.ConditionIsolated || c.Type == v1beta1.ConditionKernelAnswers) {
			out = append(out, problem{"Speaker", s.Name, bad(c.Reason), c.Message})
		}
	}
	if m.Class == "bad" && len(out) == 0 {
		out = append(out, problem{"Speaker", s.Name, m, "It has stopped, or has not started yet."})
	} else if m.Class == "wait" {
		out = append(out, problem{"Speaker", s.Name, m, "Its node keeps its addresses meanwhile."})
	}
	for _, l := range s.Status.Links {
		if !l.Up {
			out = append(out, problem{"Speaker", s.Name, wait("LinkDown"), fmt.Sprintf("Link %s is down, or has no carrier.", l.Name)})
		}
	}
	return out
}
