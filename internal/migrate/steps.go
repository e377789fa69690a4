package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// namespace returns the namespace of the product's objects, or its usual one, as a
// word of a shell.
func (d *draft) namespace(usual string) string {
	var all []string
	for n := range d.homes {
		if n != "" {
			all = append(all, n)
		}
	}
	if len(all) != 1 {
		return usual
	}
	return printable.Shell(all[0])
}

// usual is the commands to switch from one product.
type usual struct {
	stopController string   // stops assigning and removing addresses
	stopSpeakers   string   // stops announcing; "": stopController does
	before         []string // further steps before the switch
	after          []string // further steps at the end
	never          string   // what would lose addresses
	remove         string
	compat         bool // our controller understands the product's annotations
}

// annotate returns the command that makes the edits of the plan, and no others.
func (d *draft) annotate() string {
	command := "kubectl steelyard migrate --from " + string(d.product) + " --annotate"
	if d.source.Pin {
		command += " --pin"
	}
	if d.source.Class != nil {
		command += " --load-balancer-class=" + printable.Shell(*d.source.Class)
	}
	return command
}

// usual returns the steps for most products: the addresses are in the status of the
// Services, where our controller finds and keeps them.
func (d *draft) usual(u usual) []string {
	steps := []string{"Read BREAKS, NO EQUAL and CHANGED below, and mend in this file what matters to you."}
	steps = append(steps, u.before...)
	steps = append(steps,
		"Install Steelyard's kinds, nothing else yet, and apply this file. No program acts on it yet.\n"+
			d.makeNamespace()+"kubectl apply -f "+version.File("crds.yaml")+" && kubectl apply -f THIS-FILE")
	if cmds := d.secretCommands(); len(cmds) > 0 {
		steps = append(steps, "Copy the passwords of BGP sessions; Steelyard reads Secrets in its own namespace only.\n"+strings.Join(cmds, "\n"))
	}
	if len(d.plan.Edits) > 0 {
		text := fmt.Sprintf("Give %s our annotations, beside those that they have (the commands are at the end of this file).\n%s", count(len(d.plan.Edits), "Service"), d.annotate())
		if u.compat {
			text += "\nOr start Steelyard's controller with --compat-annotations=metallb.io, which understands theirs, for as long as you like."
		}
		steps = append(steps, text)
	}
	steps = append(steps, "Stop what gives out addresses now. From here on a new Service waits. "+u.never+"\n"+u.stopController)
	install := "Install Steelyard. Its controller finds the addresses in the Services' status and keeps them."
	if d.plan.Class != "" {
		install += fmt.Sprintf("\nGive both programs the flag --load-balancer-class=%s, the class of these Services.", printable.Shell(d.plan.Class))
	}
	install += "\nkubectl apply -f " + version.File("steelyard.yaml")
	stop := "Stop what announces addresses now."
	switch {
	case u.stopSpeakers == "":
		steps = append(steps, install)
	case d.facts["bgp"]:
		// Two sessions from one node to one router would end each other.
		steps = append(steps, stop+" Routers see the routes go, and come again in seconds, with the next step; keep that short.\n"+u.stopSpeakers, install)
	default:
		// On the local network both may answer: each node forwards.
		steps = append(steps, install, stop+" Until then both answer, which does no harm: every node that answers forwards.\n"+u.stopSpeakers)
	}
	steps = append(steps, "Look: every address is where it was, and a node announces it.\nkubectl get services -A; kubectl get l2claims.steelyard.dev,bgpsessions.steelyard.dev; kubectl steelyard doctor")
	steps = append(steps, u.after...)
	return append(steps, u.remove)
}

// makeNamespace returns the command that creates Steelyard's namespace, if Secrets
// are needed there before it is installed.
func (d *draft) makeNamespace() string {
	if len(d.secrets)+len(d.passwords) == 0 {
		return ""
	}
	return "kubectl create namespace " + printable.Shell(d.source.Namespace) + "     # if it is not there\n"
}

// secretCommands returns the commands that copy passwords without showing them.
func (d *draft) secretCommands() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(d.secrets)) {
		s := d.secrets[name]
		out = append(out, fmt.Sprintf("kubectl get secret %s -n %s -o jsonpath=%s | base64 -d |\n  kubectl create secret generic %s -n %s --type kubernetes.io/basic-auth --from-file password=/dev/stdin",
			printable.Shell(s.Name), printable.Shell(s.Namespace), printable.Shell("{.data."+strings.ReplaceAll(s.key, ".", `\.`)+"}"), printable.Shell(name), printable.Shell(d.source.Namespace)))
	}
	return out
}
