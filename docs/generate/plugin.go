package main

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// aCommand is a line of the list of commands in cobra's help.
var aCommand = regexp.MustCompile(`(?m)^  ([a-z][\w-]*) +\S`)

// pluginPage is the page of kubectl's plugin: what each command says of itself.
func pluginPage(program string) (string, error) {
	root, err := help(program)
	if err != nil {
		return "", err
	}
	_, list, found := strings.Cut(root, " [command]\n")
	list, _, _ = strings.Cut(list, "\nFlags:")
	if !found {
		return "", fmt.Errorf("found no commands in the help of %s", program)
	}
	var b strings.Builder
	b.WriteString(`# The plugin of kubectl

Made by "make generate" from the plugin's own help; don't edit it. Put ` + "`kubectl-steelyard`" + ` into your PATH and call it as
` + "`kubectl steelyard`" + `. Exit codes: 0 all is well, 1 the command failed, 2 there is something to look at.
[What it answers as data](plugin-answers.md) has a schema.

A release has it as an archive for Linux, macOS and Windows, with what completes its commands beside it; and ` + "`krew.yaml`" + `, for krew:

` + "```" + `sh skip="nothing is published yet, and krew was not tried"
$ curl -L https://github.com/steelyard-lb/steelyard/releases/latest/download/kubectl-steelyard-linux-amd64.tar.gz | tar -xzC /usr/local/bin kubectl-steelyard kubectl_complete-steelyard
$ kubectl krew install --manifest-url=https://github.com/steelyard-lb/steelyard/releases/latest/download/krew.yaml
` + "```" + `
`)
	_, global, _ := strings.Cut(root, "\nFlags:\n")
	global, _, _ = strings.Cut(global, "\n\n")
	fmt.Fprintf(&b, "\nAll commands have these flags, and kubectl's own, such as `--as` and `--token`:\n\n```text\n%s\n```\n", strings.TrimRight(global, "\n"))
	for _, m := range aCommand.FindAllStringSubmatch(list, -1) {
		text, err := help(program, m[1])
		if err != nil {
			return "", err
		}
		// The flags that all commands have are kubectl's.
		text, _, _ = strings.Cut(text, "\nGlobal Flags:")
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s\n```\n", m[1], strings.TrimSpace(text))
	}
	return b.String(), nil
}

// help returns what a command says of itself.
func help(program string, command ...string) (string, error) {
	cmd := exec.Command(program, append(command, "--help")...)
	cmd.Env = []string{"HOME=/root"} // a default must not come from the environment
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", fmt.Errorf("ask %s for its help (\"make build\" first): %w", program, err)
	}
	return string(out), nil
}
