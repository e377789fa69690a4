package main

import (
	"context"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
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
		a := versionsAnswer{Plugin: "unknown", Speakers: map[string]string{}}
		if info, ok := debug.ReadBuildInfo(); ok {
			a.Plugin = info.Main.Version
		}
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
	for node, version := range a.Speakers {
		nodes[version] = append(nodes[version], node)
	}
	var of []string
	for version, names := range nodes {
		slices.Sort(names)
		of = append(of, version)
	}
	slices.Sort(of)
	for _, version := range of {
		rows = append(rows, []piece{plain("speakers"), plain(version), dimmed(strings.Join(nodes[version], ", "))})
	}
	p.table("", rows...)
}
