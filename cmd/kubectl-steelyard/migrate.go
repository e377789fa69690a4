package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kind "k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/migrate"
	"github.com/steelyard-lb/steelyard/internal/schema"
	"github.com/steelyard-lb/steelyard/internal/world/collect"
)

// migration are the flags of migrate.
type migration struct {
	from     string
	files    []string
	annotate bool
	force    bool
	pin      bool
	theirs   string // namespace
}

func migrates(t *tool) *cobra.Command {
	var m migration
	c := t.command(&cobra.Command{
		Use:   "migrate --from PEER [-f FILE…]",
		Short: "Convert another load balancer's configuration into Steelyard's, and keep the addresses",
		Long: `Convert another load balancer's configuration into Steelyard's, and keep the addresses.

It prints Steelyard's objects as YAML, ready to apply. Its comments list the steps to
switch, and the fields without an equivalent. With -o json or yaml it prints the
same as data. Nothing is written to the cluster but by --annotate.

Exit code 2 says that an address in use would be lost as it stands: see BREAKS.
--annotate then changes nothing, unless --force is given.`,
		Example: `  kubectl steelyard migrate --from metallb > steelyard.yaml
  kubectl steelyard migrate --from metallb -f their-objects.yaml -f services.yaml
  kubectl steelyard migrate --from metallb --annotate`,
		Args: noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) { return t.migrate(ctx, m) })
	flags := c.Flags()
	flags.StringVar(&m.from, "from", "", "where from: "+peerNames())
	flags.StringArrayVarP(&m.files, "filename", "f", nil, "read their objects, Services and Namespaces from this file, folder, or - (standard input), not from the cluster")
	flags.BoolVar(&m.annotate, "annotate", false, "give the cluster's Services our annotations, beside those that they have")
	flags.BoolVar(&m.force, "force", false, "with --annotate: also if an address in use would be lost (see BREAKS)")
	flags.StringVar(&m.theirs, "their-namespace", "", "the other load balancer's own namespace (default: its usual one, or the only one that holds its objects); what lies in others is left out")
	flags.BoolVar(&m.pin, "pin", false, "have each Service ask for the addresses that it holds")
	if err := c.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(strings.Split(peerNames(), ", "), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is not there
	}
	return c
}

func peerNames() string {
	var out []string
	for _, p := range migrate.Products() {
		out = append(out, string(p))
	}
	return strings.Join(out, ", ")
}

// plan is what migrate answers, and as text.
type plan struct {
	migrate.Plan
	text string
}

func (plan) kind() string { return "MigrationPlan" }

func (p plan) clean() bool { return p.Count(migrate.Blocking) == 0 }

func (p plan) draw(to *printer) { to.WriteString(p.text) }

func (t *tool) migrate(ctx context.Context, m migration) (answer, error) {
	peer := migrate.Product(m.from)
	if m.from == "" {
		at := strings.LastIndex(peerNames(), ", ")
		return nil, errors.New("say where from: --from " + peerNames()[:at] + " or " + peerNames()[at+2:])
	}
	if !slices.Contains(migrate.Products(), peer) {
		return nil, fmt.Errorf("--from %s: it can be %s", m.from, peerNames())
	}
	switch {
	case m.annotate && len(m.files) > 0:
		return nil, errors.New("--annotate is for the Services that the cluster holds, and -f reads files: leave one of them out")
	case m.force && !m.annotate:
		return nil, errors.New("--force goes with --annotate")
	}
	source, err := t.source(ctx, peer, m.files)
	if err != nil {
		return nil, err
	}
	if len(source.Objects) == 0 {
		where := "in the cluster: is it the right one (--context), and the right peer (--from)?"
		if len(m.files) > 0 {
			where = "in these files"
		}
		return nil, fmt.Errorf("there is no object of %s %s", peer, where)
	}
	source.Namespace, source.Pin = cmp.Or(t.system, collect.NamespaceDefault), m.pin
	if t.class != unset {
		source.Class = &t.class
	}
	source.Theirs = m.theirs
	if source.Rules, err = schema.New(); err != nil {
		return nil, err
	}
	p, err := migrate.Convert(peer, source)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := p.Write(&text); err != nil {
		return nil, err
	}
	if m.annotate {
		return t.annotate(ctx, p, m.force)
	}
	t.printError(p.Summary())
	return plan{p, text.String()}, nil
}

// source reads from files, or else from the cluster.
func (t *tool) source(ctx context.Context, peer migrate.Product, files []string) (migrate.Source, error) {
	var objects []unstructured.Unstructured
	var err error
	if len(files) > 0 {
		objects, err = t.objects(files)
	} else {
		objects, err = t.theirs(ctx, peer)
	}
	s := migrate.Source{Namespaces: map[string]map[string]string{}}
	for _, o := range objects {
		switch o.GroupVersionKind() {
		case corev1Kind("Service"):
			if o.GetNamespace() == "" {
				o.SetNamespace(metav1.NamespaceDefault) // as kubectl apply has it, of a file
			}
			var svc corev1.Service
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &svc); err != nil {
				return s, fmt.Errorf("read Service %s/%s: %w", o.GetNamespace(), o.GetName(), err)
			}
			s.Services = append(s.Services, svc)
		case corev1Kind("Namespace"):
			s.Namespaces[o.GetName()] = o.GetLabels()
		default:
			s.Objects = append(s.Objects, o)
		}
	}
	return s, err
}

// theirs reads a peer's objects, the Services and the Namespaces of the cluster.
func (t *tool) theirs(ctx context.Context, peer migrate.Product) ([]unstructured.Unstructured, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	switch installation, err := t.findHome(ctx, c); { // it may not be installed yet
	case err != nil:
		return nil, err
	case installation.Guessed:
		t.system = collect.NamespaceDefault // passwords go there, not to a namespace that any tenant can name
	}
	var out []unstructured.Unstructured
	there := map[kind.GroupResource]bool{}
	for _, r := range append(peer.Resources(), kind.GroupVersionResource{Version: "v1", Resource: "services"}, kind.GroupVersionResource{Version: "v1", Resource: "namespaces"}) {
		if there[r.GroupResource()] {
			continue // in another version
		}
		kind, err := c.RESTMapper().KindFor(r)
		if meta.IsNoMatchError(err) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look for %s: %w", r.GroupResource(), err)
		}
		var opts []client.ListOption
		if r.Resource == "configmaps" {
			opts = append(opts, client.MatchingFields{"metadata.name": "kubevip"})
		}
		if r.Resource == "pods" {
			opts = append(opts, client.InNamespace("kube-system")) // where static ones are
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(ctx, list, opts...); err != nil {
			return nil, fmt.Errorf("list %s: %w", r.GroupResource(), err)
		}
		there[r.GroupResource()] = true
		out = append(out, list.Items...)
	}
	return out, nil
}

// annotated tells which Services were given annotations.
type annotated struct {
	Services []string `json:"services"`
	Blocking []string `json:"blocking,omitempty"`
	Refused  bool     `json:"refused,omitempty"` // for what breaks nothing was annotated
}

func (annotated) kind() string { return "Annotated" }

func (a annotated) clean() bool { return len(a.Blocking) == 0 }

func (a annotated) draw(p *printer) {
	for _, s := range a.Services {
		p.line(plain("annotated Service " + s))
	}
	for _, b := range a.Blocking {
		p.line(bad("breaks: "), plain(b))
	}
	switch {
	case a.Refused:
		p.line(warn("nothing was annotated: mend that first, or say --force"))
	case len(a.Services) == 0:
		p.line(plain("no Service needs an annotation"))
	}
}

// annotate does the edits of a plan, if nothing breaks or force says so. Doing it
// twice does nothing.
func (t *tool) annotate(ctx context.Context, p migrate.Plan, force bool) (answer, error) {
	a := annotated{Services: []string{}}
	for _, n := range p.Notes {
		if n.Severity == migrate.Blocking {
			a.Blocking = append(a.Blocking, n.String())
		}
	}
	if len(a.Blocking) > 0 && !force {
		a.Refused = true
		return a, nil
	}
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	for _, e := range p.Edits {
		var svc corev1.Service
		if err := c.Get(ctx, client.ObjectKey{Namespace: e.Service.Namespace, Name: e.Service.Name}, &svc); err != nil {
			return nil, fmt.Errorf("read Service %s: %w", e.Service, err)
		}
		before := svc.DeepCopy()
		if svc.Annotations == nil {
			svc.Annotations = map[string]string{}
		}
		for k, v := range e.Annotations {
			svc.Annotations[k] = v
		}
		if e.ClearIP {
			svc.Spec.LoadBalancerIP = ""
		}
		if err := c.Patch(ctx, &svc, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return nil, fmt.Errorf("annotate Service %s: %w", e.Service, err)
		}
		a.Services = append(a.Services, e.Service.String())
	}
	return a, nil
}
