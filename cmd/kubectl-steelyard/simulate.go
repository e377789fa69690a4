package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/schema"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// forecast is the effect that objects would have.
type forecast struct {
	Applied  []string      `json:"applied,omitempty"`
	Deleted  []string      `json:"deleted,omitempty"`
	Ignored  []string      `json:"ignored,omitempty"` // nothing here depends on them
	Services []serviceMove `json:"services"`
	Objects  []string      `json:"objects,omitempty"` // whose conditions would change
	Unread   []string      `json:"unread,omitempty"`  // what could not be read
	total    int           // Services
}

// serviceMove is what would become of a Service.
type serviceMove struct {
	Service string       `json:"service"`
	Effect  world.Effect `json:"effect"`
	Before  string       `json:"before"`
	After   string       `json:"after"`
	Detail  string       `json:"why,omitempty"`
}

func simulate(t *tool) *cobra.Command {
	var files, deleted []string
	c := &cobra.Command{
		Use:   "simulate -f FILE…",
		Short: "Show which Services would change if objects were applied or deleted",
		Long: `Show which Services would gain, lose or change an address or an announcer if
objects were applied or deleted. Nothing is written.

The objects are merged into the cluster as "kubectl apply" does, and what the
controller and the speakers would make of it is compared with what they make of
the cluster as it is. Pools, advertisements, peers, profiles, communities,
Services, Namespaces, Nodes, EndpointSlices and L2Claims count; other objects are
ignored. Secrets are not read: those that peers name are taken for good, unless
the controller says that they are not. Services that are new have no endpoints.
The effect is shown as it is when the pools' grace times (graceTime) have ended.

Exit code 0: no Service changes; 1: the effect is unknown, or the API server would
refuse an object; 2: some Service changes, or an object's conditions do.`,
		Example: `  kubectl steelyard simulate -f pools.yaml
  kubectl steelyard simulate -f new.yaml --delete ipaddresspool/old
  git show origin/main:pools.yaml | kubectl steelyard simulate -f -`,
		Args: noArguments,
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, folder or - (standard input) with objects to apply; may be repeated")
	c.Flags().StringArrayVar(&deleted, "delete", nil, "file with objects to delete, or KIND/NAME; may be repeated")
	return t.command(c, func(ctx context.Context, _ []string) (answer, error) {
		if len(files)+len(deleted) == 0 {
			return nil, errors.New("name objects to apply with -f, or to delete with --delete")
		}
		apply, err := t.documents(files)
		if err != nil {
			return nil, err
		}
		if err := refusals(apply); err != nil {
			return nil, err
		}
		remove, err := t.targets(deleted)
		if err != nil {
			return nil, err
		}
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		w.IgnoreKept = true
		return t.forecastOf(w, apply, remove)
	})
}

// refusals returns what the API server would refuse, as an error.
func refusals(docs []document) error {
	checker, err := schema.New()
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range docs {
		if !checker.Knows(d.GroupVersionKind()) {
			continue
		}
		refused, _ := checker.Check(d.Unstructured)
		for _, e := range refused {
			errs = append(errs, fmt.Errorf("%s: %s %s: %w", d.place(e.Field), d.GetKind(), d.GetName(), e))
		}
	}
	return errors.Join(errs...)
}

// targets returns the objects that are to be deleted.
func (t *tool) targets(names []string) ([]document, error) {
	var out []document
	for _, name := range names {
		kind, object, ok := strings.Cut(name, "/")
		version, full := kindOf(kind)
		if _, err := os.Stat(t.path(name)); err == nil || !ok || full == "" {
			docs, err := t.documents([]string{name})
			if err != nil {
				return nil, err
			}
			out = append(out, docs...)
			continue
		}
		u := &unstructured.Unstructured{}
		u.SetAPIVersion(version)
		u.SetKind(full)
		u.SetName(object)
		out = append(out, document{Unstructured: u, file: name})
	}
	return out, nil
}

// kindOf finds a kind by a name that kubectl knows it by; "": there is none.
func kindOf(name string) (version, kind string) {
	own := v1beta1.GroupVersion().String()
	name = strings.TrimSuffix(name, "."+v1beta1.Group)
	for kind, version := range map[string]string{
		"IPAddressPool": own, "L2Advertisement": own, "BGPAdvertisement": own, "BGPPeer": own, "BFDProfile": own, "L2Claim": own, "AddressReservation": own, "AddressQuota": own,
		"Service": "v1", "Namespace": "v1", "Node": "v1",
	} {
		if lower := strings.ToLower(kind); slices.Contains([]string{lower, lower + "s"}, strings.ToLower(name)) {
			return version, kind
		}
	}
	switch strings.ToLower(name) {
	case "sypool":
		return own, "IPAddressPool"
	case "syres":
		return own, "AddressReservation"
	case "syquota":
		return own, "AddressQuota"
	case "community", "communities":
		return own, "Community"
	case "svc":
		return "v1", "Service"
	case "ns":
		return "v1", "Namespace"
	case "no":
		return "v1", "Node"
	}
	return "", ""
}

func (t *tool) forecastOf(w *world.Snapshot, apply, remove []document) (answer, error) {
	o := forecast{Services: []serviceMove{}, Unread: w.Unread}
	after := w.Clone()
	for _, step := range []struct {
		docs []document
		do   func(*unstructured.Unstructured) (bool, error)
		done *[]string
	}{{apply, after.Apply, &o.Applied}, {remove, after.Delete, &o.Deleted}} {
		for _, d := range step.docs {
			if err := t.settle(d); err != nil {
				return nil, err
			}
			matters, err := step.do(d.Unstructured)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d.place(""), err)
			}
			name := d.GetKind() + " " + d.GetName()
			if matters {
				*step.done = append(*step.done, name)
			} else {
				o.Ignored = append(o.Ignored, name)
			}
		}
	}
	now, then := w.Evaluate(), after.Evaluate()
	for _, d := range now.Compare(then) {
		o.Services = append(o.Services, serviceMove{d.Service.String(), d.Effect, d.Before.Text(), d.After.Text(), d.Reason})
	}
	o.Objects = now.ValidationChanges(then)
	o.total = max(len(now.Served), len(then.Served))
	return o, nil
}

// settle puts an object without a namespace in that of the flags, if its kind
// has namespaces.
func (t *tool) settle(d document) error {
	if d.GetNamespace() != "" || !slices.Contains([]string{"Service", "EndpointSlice"}, d.GetKind()) {
		return nil
	}
	ns, err := t.namespace()
	d.SetNamespace(ns)
	return err
}

func (forecast) kind() string { return "Simulation" }

func (o forecast) clean() bool { return len(o.Services)+len(o.Objects) == 0 }

func (o forecast) draw(p *printer) {
	p.line(bold(o.headline()))
	if len(o.Ignored) > 0 {
		p.line(dimmed("ignored: " + strings.Join(o.Ignored, ", ")))
	}
	if len(o.Services) > 0 {
		rows := [][]cell{header("SERVICE", "EFFECT", "BEFORE", "AFTER", "WHY")}
		for _, s := range o.Services {
			effect := good(string(s.Effect))
			switch s.Effect {
			case world.Loses, world.Withdrawn, world.Vanishes, world.Refused:
				effect.style = badOne
			case world.Changes, world.Moves:
				effect.style = warnOne
			}
			rows = append(rows, []cell{plain(s.Service), effect, plain(s.Before), plain(s.After), plain(s.Detail)})
		}
		p.WriteByte('\n')
		p.table("", withoutEmpty(rows)...)
	}
	drawList(p, "Objects", o.Objects)
	drawList(p, "Not known", o.Unread)
}

func (o forecast) headline() string {
	var did []string
	if n := len(o.Applied); n > 0 {
		did = append(did, counted(n, "object")+" applied")
	}
	if n := len(o.Deleted); n > 0 {
		did = append(did, counted(n, "object")+" deleted")
	}
	text := strings.Join(did, ", ")
	if text == "" {
		text = "nothing of it matters here"
	}
	if len(o.Services) == 0 {
		return text + fmt.Sprintf(": nothing changes for the %s", counted(o.total, "Service"))
	}
	return text + fmt.Sprintf(": something changes for %s of %d", counted(len(o.Services), "Service"), o.total)
}
