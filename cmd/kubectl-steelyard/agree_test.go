package main

import (
	"fmt"
	"html"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/doctor"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	pages "github.com/steelyard-lb/steelyard/internal/overview"
	"github.com/steelyard-lb/steelyard/internal/planner"
	"github.com/steelyard-lb/steelyard/internal/world"
	"github.com/steelyard-lb/steelyard/internal/world/collect"
)

// noon is when the clusters of testdata are read.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// rackWorld is the cluster of rack.yaml.
func rackWorld(t *testing.T) *world.Snapshot {
	t.Helper()
	text, err := os.ReadFile("testdata/clusters/rack.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(string(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCluster(objects...)
	if err != nil {
		t.Fatal(err)
	}
	w, err := collect.Snapshot(t.Context(), c, "steelyard-system")
	if err != nil {
		t.Fatal(err)
	}
	w.Now = noon()
	return w
}

// settled has the speakers that are heard of report who answers for what.
func settled(w *world.Snapshot) {
	e := w.Evaluate()
	said := e.Announcements(e.Shown())
	for i := range w.Claims {
		c := &w.Claims[i]
		conflict := meta.IsStatusConditionTrue(c.Status.Conditions, v1beta1.ConditionConflict)
		for _, of := range said.Of {
			owner, is := of.Owner[netip.MustParseAddr(string(c.Spec.Address))]
			switch {
			case !is || conflict || w.Absent(c.Spec.Node) != "" && w.Presence(c.Spec.Node).State != health.Isolated:
			case owner == "":
				c.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionFalse, Reason: "NotOwner"}}
			default:
				c.Spec.Node, c.Status.Node = owner, owner
			}
		}
	}
}

// written lets the controller write the conditions of w: of Services and configuration.
func written(w *world.Snapshot) {
	e := w.Evaluate()
	for i, svc := range e.Served {
		allocated := metav1.Condition{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAssigned}
		if g := e.Grants[i]; len(g.Addrs) == 0 {
			allocated.Status, allocated.Reason, allocated.Message = metav1.ConditionFalse, string(g.Reason), g.Message
			svc.Status.LoadBalancer.Ingress = nil
		}
		meta.SetStatusCondition(&svc.Status.Conditions, allocated)
	}
	e = w.Evaluate()
	for _, svc := range e.Served {
		if len(intent.Holds(svc)) > 0 {
			meta.SetStatusCondition(&svc.Status.Conditions, e.Reported(intent.KeyOf(svc)).Condition())
		}
	}
	reports := planner.Reports{Sessions: w.Sessions, Nodes: map[string]map[string]string{}}
	for i := range w.Nodes {
		reports.Nodes[w.Nodes[i].Name] = w.Nodes[i].Labels
	}
	for _, change := range planner.Statuses(intent.Configured{Objects: w.Config, Config: &e.Checked}, reports, &planner.Summary{}) {
		switch after := change.After.(type) {
		case *v1beta1.IPAddressPool:
			put(w.Config.Pools, *after)
		case *v1beta1.BGPPeer:
			put(w.Config.Peers, *after)
		case *v1beta1.L2Advertisement:
			put(w.Config.L2, *after)
		case *v1beta1.BGPAdvertisement:
			put(w.Config.BGP, *after)
		}
	}
}

// put puts an object in the place of that of its name.
func put[T any](all []T, after T) {
	name := func(o T) string { return any(&o).(metav1.Object).GetName() }
	i := slices.IndexFunc(all, func(o T) bool { return name(o) == name(after) })
	all[i] = after
}

var pageRow = regexp.MustCompile(`<span class="kind">(\w+)</span> ([^<]*)</th><td role="cell" data-label="State"><span class="mark \w+"><span aria-hidden="true">.</span> ([^<]*)</span></td>`)

// onPage returns what the page says needs attention, as kind, name and reason.
func onPage(t *testing.T, w *world.Snapshot) []string {
	t.Helper()
	o := pages.Objects{Pools: w.Config.Pools, Objects: w.Objects}
	o.Excluded = w.Exclusion.Reasons(w.Nodes)
	for _, x := range w.Config.Described() {
		if x.Kind != "IPAddressPool" {
			o.Others = append(o.Others, pages.Configured{Kind: x.Kind, Name: x.Name, Conditions: x.Conditions})
		}
	}
	for i := range w.Services {
		if intent.Ours(&w.Services[i], w.Class) {
			o.Services = append(o.Services, &w.Services[i])
		}
	}
	renderer, err := pages.NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	text, err := renderer.Render(o, pages.Scene{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range pageRow.FindAllStringSubmatch(string(text), -1) {
		out = append(out, html.UnescapeString(strings.TrimSpace(m[1]+" "+m[2])+" "+m[3]))
	}
	slices.Sort(out)
	return out
}

// TestAllPlacesAgree has status, services, explain, doctor, simulate and the controller's page
// look at the same worlds, in each of which one thing is wrong, after the controller has written
// its conditions. All must name the same Services and objects, with the same reasons.
func TestAllPlacesAgree(t *testing.T) {
	for name, harm := range worlds() {
		t.Run(name, func(t *testing.T) {
			w := rackWorld(t)
			harm(w)
			settled(w)
			written(w)
			o := overviewOf(w)
			var status []string
			for _, p := range o.Services.Problems {
				status = append(status, "Service "+p.Object+" "+p.Reason)
			}
			for _, p := range o.Problems {
				status = append(status, p.Object+" "+p.Reason)
			}
			slices.Sort(status)
			if d := cmp.Diff(status, onPage(t, w)); d != "" {
				t.Errorf("of status -, on the page +:\n%s", d)
			}
			findings := doctor.Examine(w, doctor.Environment{System: "steelyard-system", Policy: true})
			text := fmt.Sprint(findings)
			for _, s := range servicesOf(w.Evaluate()) {
				who := s.Namespace + "/" + s.Name
				want := "Service " + who + " " + s.Reason
				if slices.Contains(status, want) != (s.Reason != "") {
					t.Errorf("services says %q, status %v", want, status)
				}
				if e := explanationOf(w, ipam.Key{Namespace: s.Namespace, Name: s.Name}); e.Reason != s.Reason {
					t.Errorf("%s: explain says %q, services %q", who, e.Reason, s.Reason)
				}
				if s.Reason != "" && !strings.Contains(text, who) {
					t.Errorf("%s is %s, of which doctor says nothing", who, s.Reason)
				}
			}
			wrong := slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Result == doctor.Fault || f.Result == doctor.Warning })
			if !wrong && !o.clean() {
				t.Errorf("doctor finds nothing, status %v", status)
			}
			if moves := w.Evaluate().Compare(w.Clone().Evaluate()); len(moves) > 0 {
				t.Errorf("simulate says that something changes if nothing does: %v", moves)
			}
		})
	}
}

// worlds are ways to be wrong, each of which changes rack.yaml.
func worlds() map[string]func(*world.Snapshot) {
	silence := func(w *world.Snapshot, node string) {
		for i := range w.Leases {
			if w.Leases[i].Name == intent.LeaseName(node) {
				at := metav1.NewMicroTime(noon().Add(-30 * time.Second))
				w.Leases[i].Spec.RenewTime = &at
			}
		}
	}
	return map[string]func(*world.Snapshot){
		"as it is": func(*world.Snapshot) {},
		"all nodes are excluded": func(w *world.Snapshot) {
			for i := range w.Nodes {
				w.Nodes[i].Labels = map[string]string{v1beta1.LabelExcludeNode: ""}
			}
		},
		"no node":               func(w *world.Snapshot) { w.Nodes, w.Speakers, w.Sessions = nil, nil, nil },
		"one speaker is silent": func(w *world.Snapshot) { silence(w, "node2") },
		"all speakers are silent": func(w *world.Snapshot) {
			for _, node := range []string{"node1", "node2", "node3"} {
				silence(w, node)
			}
		},
		"no controller": func(w *world.Snapshot) {
			w.Leases = slices.DeleteFunc(w.Leases, func(l coordinationv1.Lease) bool { return l.Name == health.LeaseController })
		},
		"no advertisement": func(w *world.Snapshot) { w.Config.L2, w.Config.BGP = nil, nil },
		"no peer":          func(w *world.Snapshot) { w.Config.Peers, w.Sessions = nil, nil },
		"no pool":          func(w *world.Snapshot) { w.Config.Pools = nil },
		"an advertisement that names a pool that is not there": func(w *world.Snapshot) { w.Config.L2[0].Spec.IPAddressPools = []string{"none"} },
		"no link": func(w *world.Snapshot) {
			for i := range w.Speakers {
				w.Speakers[i].Status.Links = nil
			}
		},
		"links are down": func(w *world.Snapshot) {
			for i := range w.Speakers {
				w.Speakers[i].Status.Links[0].Up = false
			}
		},
		"another subnet": func(w *world.Snapshot) {
			for i := range w.Speakers {
				w.Speakers[i].Status.Links[0].Prefixes = []string{"203.0.113.0/24"}
			}
		},
		"all sessions are down": func(w *world.Snapshot) {
			for i := range w.Sessions {
				w.Sessions[i].Status.State, w.Sessions[i].Status.LastError = "Active", "connection refused"
			}
		},
		"BFD is down": func(w *world.Snapshot) { w.Sessions[0].Status.BFD = "Down" },
		"a foreign host has an address": func(w *world.Snapshot) {
			w.Claims[0].Status.Conditions = []metav1.Condition{
				{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonAddressConflict, Message: "02:00:00:00:00:99 has it"},
				{Type: v1beta1.ConditionConflict, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAddressConflict, Message: "02:00:00:00:00:99 has it"},
			}
		},
		"another controller writes": func(w *world.Snapshot) {
			web(w).Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionContested, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonStatusOverwritten, Message: "other writes"}}
		},
		"a Secret that can't be used": func(w *world.Snapshot) {
			name := v1beta1.SecretName{Name: "locked"}
			w.Config.Peers[0].Spec.PasswordSecret = &name
			w.Config.Peers[0].Status.Conditions = []metav1.Condition{{
				Type: v1beta1.ConditionResolvedRefs, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonInvalidSecret, Message: "spec.passwordSecret: it is empty"}}
		},
		"a speaker is isolated": func(w *world.Snapshot) {
			w.Speakers[1].Status.Conditions = append(w.Speakers[1].Status.Conditions, metav1.Condition{Type: v1beta1.ConditionIsolated, Status: metav1.ConditionTrue, Reason: "Isolated", Message: "it hears no other"})
		},
		"a kernel answers": func(w *world.Snapshot) {
			w.Speakers[1].Status.Conditions = append(w.Speakers[1].Status.Conditions, metav1.Condition{Type: v1beta1.ConditionKernelAnswers, Status: metav1.ConditionTrue, Reason: "NoStrictARP", Message: "it does"})
		},
	}
}

func web(w *world.Snapshot) *corev1.Service {
	i := slices.IndexFunc(w.Services, func(s corev1.Service) bool { return s.Name == "web" })
	return &w.Services[i]
}
