package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/version"
	"github.com/steelyard-lb/steelyard/internal/world/collect"
)

// versionsAnswer is the version of each program.
type versionsAnswer struct {
	Plugin     string            `json:"plugin"`
	Controller string            `json:"controller,omitempty"` // of the replica that leads; empty: not known
	Replica    string            `json:"replica,omitempty"`    // that leads
	Speakers   map[string]string `json:"speakers,omitempty"`   // by node
	Unread     []string          `json:"unread,omitempty"`     // what could not be read
}

func versions(t *tool) *cobra.Command {
	return t.command(&cobra.Command{
		Use:   "version",
		Short: "Print the versions of this plugin, of the controller and of the speakers",
		Args:  noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) {
		a := versionsAnswer{Plugin: version.String(), Speakers: map[string]string{}}
		var list v1beta1.SpeakerList
		c, err := t.connect()
		if err == nil {
			err = collect.Read(ctx, c, &list)
		}
		if err == nil {
			err = t.controllerVersion(ctx, c, &a)
		}
		if err != nil {
			return nil, errors.Join(t.print(a), err) // that of the plugin is known
		}
		for _, s := range list.Items {
			a.Speakers[s.Name] = s.Status.Version
		}
		return a, nil
	})
}

// controllerVersion enters the version of the controller, which its Lease tells.
func (t *tool) controllerVersion(ctx context.Context, c client.Reader, a *versionsAnswer) error {
	if _, err := t.findHome(ctx, c); err != nil {
		return err
	}
	var leases coordinationv1.LeaseList
	switch err := cluster.List(ctx, c, &leases, client.InNamespace(t.system)); {
	case apierrors.IsForbidden(err):
		a.Unread = append(a.Unread, "you may not list leases.coordination.k8s.io in namespace "+t.system+", one of which has the controller's version")
		return nil
	case err != nil:
		return err
	}
	o := health.Objects{Leases: leases.Items}
	a.Controller = o.ControllerVersion()
	for i := range leases.Items {
		if leases.Items[i].Name == health.LeaseController {
			a.Replica, _, _ = strings.Cut(intent.LeaseHolder(&leases.Items[i]), "_")
		}
	}
	if a.Controller == "" {
		a.Unread = append(a.Unread, "no Lease in namespace "+t.system+" tells the controller's version: none runs, or one of an older version (--steelyard-namespace names another)")
	}
	return nil
}

func (versionsAnswer) kind() string { return "VersionReport" }

func (a versionsAnswer) clean() bool { return true }

func (a versionsAnswer) draw(p *printer) {
	rows := [][]cell{{plain("plugin"), plain(a.Plugin)}}
	if a.Controller != "" {
		rows = append(rows, []cell{plain("controller"), plain(a.Controller), dimmed(a.Replica)})
	}
	nodes := map[string][]string{}
	for node, v := range a.Speakers {
		nodes[v] = append(nodes[v], node)
	}
	var of []string
	for v, names := range nodes {
		slices.Sort(names)
		of = append(of, v)
	}
	slices.Sort(of)
	for _, v := range of {
		rows = append(rows, []cell{plain("speakers"), plain(v), dimmed(strings.Join(nodes[v], ", "))})
	}
	p.table("", rows...)
	drawList(p, "Not known", a.Unread)
}
