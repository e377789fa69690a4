package kubelet

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/steelyard-lb/steelyard/e2e/lab/programs"
)

// argv is the process of the Pod's first container, and where it runs; "": anywhere.
// There are no images but those of one program that were unpacked for the rack
// (Unpacked), which runs beside the image's other files: it is the image's, or the
// program that is built for the image's name, else agnhost, or a program of this
// machine if the container names a command.
func (p *pod) argv() (argv []string, folder string) {
	c := p.obj.Spec.Containers[0]
	argv = slices.Concat(c.Command, p.expanded(c.Args))
	image := programs.ImageName(c.Image)
	own, built := p.Programs[image]
	if unpacked, err := os.Readlink(Unpacked(p.Table.Folder, c.Image)); err == nil {
		own, built, folder = unpacked, true, filepath.Dir(unpacked)
	}
	if !built {
		image, own = "agnhost", p.Agnhost
	}
	switch {
	case len(argv) == 0 && !built:
		return []string{own, "netexec", "--http-port=8080", "--udp-port=8080"}, folder
	case len(c.Command) == 0:
		return append([]string{own}, argv...), folder
	case path.Base(argv[0]) == image:
		argv[0] = own
	}
	return argv, folder
}

// Unpacked is the link to the program of an image, by the image's whole reference, if
// a test has unpacked it for the rack in a folder. Pods do not see that folder itself.
func Unpacked(folder, image string) string {
	return filepath.Join(folder, "images", url.PathEscape(image))
}

// env are the variables of the Pod's container. Of what they may be read from a rack has
// some fields of the Pod.
func (p *pod) env() map[string]string {
	fields := map[string]string{
		"metadata.name": p.obj.Name, "metadata.namespace": p.obj.Namespace, "spec.nodeName": p.obj.Spec.NodeName,
		"status.hostIP": p.node.V4.String(), "status.podIP": p.v4.String(),
	}
	out := map[string]string{}
	for _, e := range p.obj.Spec.Containers[0].Env {
		switch {
		case e.ValueFrom == nil:
			out[e.Name] = e.Value
		case e.ValueFrom.FieldRef != nil:
			out[e.Name] = fields[e.ValueFrom.FieldRef.FieldPath]
		}
	}
	return out
}

// expanded replaces $(NAME) in arguments by the variable, where there is one; "$$" is a "$".
func (p *pod) expanded(args []string) []string {
	env := p.env()
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = reference.ReplaceAllStringFunc(a, func(found string) string {
			if found == "$$" {
				return "$"
			}
			if value, ok := env[found[2:len(found)-1]]; ok {
				return value
			}
			return found
		})
	}
	return out
}

var reference = regexp.MustCompile(`\$\$|\$\([-._a-zA-Z][-._a-zA-Z0-9]*\)`)
