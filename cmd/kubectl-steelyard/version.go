package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/version"
	"github.com/steelyard-lb/steelyard/internal/world/collect"
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
		Args:  noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) {
		a := versionsAnswer{Plugin: version.String(), Speakers: map[string]string{}}
		var list v1beta1.SpeakerList
		c, err := t.connect()
		if err == nil {
			err = collect.Read(ctx, c, &list)
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

func (versionsAnswer) kind() string { return "VersionReport" }

func (a versionsAnswer) clean() bool { return true }

func (a versionsAnswer) draw(p *printer) {
	rows := [][]cell{{plain("plugin"), plain(a.Plugin)}}
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
}
