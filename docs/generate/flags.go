package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	aFlag    = regexp.MustCompile(`^  -([\w-]+)(?: (\w+))?$`)
	aDefault = regexp.MustCompile(` \(default (.*)\)$`)
)

// flagsPage is the page of the flags of programs in folder bin.
func flagsPage(bin string, programs []string) (string, error) {
	var b strings.Builder
	b.WriteString(`# Flags of the programs

Made by "make generate" from the programs' own -help; don't edit it. Set flags in the ` + "`args`" + ` of the Deployment and the
DaemonSet. Each may be written with one dash or two.
`)
	for _, p := range programs {
		cmd := exec.Command(filepath.Join(bin, p), "-help")
		cmd.Env = []string{} // a default must not come from the environment
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) { // -help may end with a status
			return "", fmt.Errorf("ask %s for its flags (\"make build\" first): %w", p, err)
		}
		rows, err := flagRows(string(out))
		if err != nil {
			return "", fmt.Errorf("flags of %s: %w", p, err)
		}
		fmt.Fprintf(&b, "\n## %s\n\n| flag | default | meaning |\n|---|---|---|\n%s", p, rows)
	}
	return b.String(), nil
}

// flagRows turns what package flag prints into rows of a table.
func flagRows(help string) (string, error) {
	var b strings.Builder
	name := ""
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		usage, isUsage := strings.CutPrefix(line, "    \t")
		m := aFlag.FindStringSubmatch(line)
		switch {
		case m != nil:
			name = m[1]
		case isUsage && name != "":
			value := ""
			if d := aDefault.FindStringSubmatch(usage); d != nil {
				usage = strings.TrimSuffix(usage, d[0])
				value = "`" + strings.Trim(d[1], `"`) + "`"
			}
			fmt.Fprintf(&b, "| `--%s` | %s | %s |\n", name, cell(value), cell(usage))
			name = ""
		}
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("found none in %q", help)
	}
	return b.String(), nil
}
