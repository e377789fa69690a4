package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/internal/version"
)

// versionsAnswer tells which programs are of which version.
type versionsAnswer struct {
	Plugin   string            `json:"plugin"`
	Speakers map[string]string `json:"speakers,omitempty"` // by node
}

func versions(t *tool) *cobra.Command {
	return t.command(&cobra.Command{
		Use:   "version",
		Short: "Print the versions of this plugin and of the speakers",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, _ []string) (answer, error) {
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		a := versionsAnswer{Plugin: version.String(), Speakers: map[string]string{}}
		for _, s := range w.Speakers {
			a.Speakers[s.Name] = s.Status.Version
		}
		return a, nil
	})
}

func (a versionsAnswer) clean() bool { return true }

func (a versionsAnswer) draw(p *pen) {
	rows := [][]piece{{plain("plugin"), plain(a.Plugin)}}
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
		rows = append(rows, []piece{plain("speakers"), plain(v), dimmed(strings.Join(nodes[v], ", "))})
	}
	p.table("", rows...)
}
