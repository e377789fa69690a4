package lab

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// maxControllers keeps their ports of metrics clear of others.
const maxControllers = 9

// Controllers lists the processes on host control that are replicas of the
// controller: controller, controller-2, ….
func (r *Rack) Controllers() []string {
	var names []string
	if !r.NoSteelyard {
		for i := range r.Options.Controllers {
			names = append(names, controllerName(i))
		}
	}
	return names
}

func controllerName(i int) string {
	if i == 0 {
		return "controller"
	}
	return fmt.Sprintf("controller-%d", i+1)
}

// MetricsAddress is where a replica of the controller serves /metrics, for
// clients on host control; empty for a process that is none.
func (r *Rack) MetricsAddress(controller string) string {
	i := slices.Index(r.Controllers(), controller)
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", 7472+i)
}

func (r *Rack) controllers() []hosts.Process {
	var all []hosts.Process
	for _, name := range r.Controllers() {
		p := r.steelyard("control", "controller", "controller", append([]string{"--metrics-bind-address", r.MetricsAddress(name)}, r.ControllerFlags...)...)
		p.Name = name
		all = append(all, p)
	}
	return all
}

// leading is the gauge of the replica that is active.
var leading = regexp.MustCompile(`(?m)^steelyard_leader 1$`)

// ActiveController returns the replica of the controller that calls itself
// active. It is an error if none does, or more than one; one that does not
// answer counts as not active.
func (r *Rack) ActiveController(ctx context.Context) (string, error) {
	var active, silent []string
	for _, name := range r.Controllers() {
		page, err := r.Command(ctx, "control", "curl", "-sS", "--max-time", "2", "http://"+r.MetricsAddress(name)+"/metrics").CombinedOutput()
		switch {
		case err != nil:
			silent = append(silent, fmt.Sprintf("%s: %s", name, strings.TrimSpace(string(page))))
		case leading.Match(page):
			active = append(active, name)
		}
	}
	switch {
	case len(active) == 1:
		return active[0], nil
	case len(active) > 1:
		return "", fmt.Errorf("several replicas are active: %s", strings.Join(active, ", "))
	case len(silent) > 0:
		return "", fmt.Errorf("no replica is active; silent: %s", strings.Join(silent, "; "))
	}
	return "", errors.New("no replica is active")
}
