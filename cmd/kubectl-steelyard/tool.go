package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/world"
	"github.com/steelyard-lb/steelyard/internal/world/collect"
)

// tool is what all subcommands have in common.
type tool struct {
	genericiooptions.IOStreams
	flags   *genericclioptions.ConfigFlags
	connect func() (client.WithWatch, error)                                                     // to the cluster that the flags name
	ask     func(ctx context.Context, pod *corev1.Pod, port uint16, path string) ([]byte, error) // a speaker
	now     func() time.Time
	color   bool   // output may have colors
	folder  string // that the names of files are relative to; "": the current one

	output        string // -o
	system        string // Steelyard's own namespace; "": to be found
	class         string // "\x00": as the controller's Deployment says
	compat        string // likewise
	unschedulable string // likewise
	ignoreLabel   bool   // v1beta1.LabelExcludeNode has no effect, whatever the Deployment says
}

// unset is the value of a flag that was not given, where "" means something.
const unset = "\x00"

// addFlags adds what every subcommand understands: kubectl's own flags, of which
// the help text lists those that are used most, and ours.
func (t *tool) addFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	t.flags.AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		f.Hidden = !slices.Contains([]string{"kubeconfig", "context", "namespace"}, f.Name)
	})
	flags.StringVarP(&t.output, "output", "o", "table", "table, wide, name, json or yaml")
	flags.StringVar(&t.system, "steelyard-namespace", "", "namespace of Steelyard itself (default: where its controller is)")
	flags.StringVar(&t.class, "load-balancer-class", unset, "spec.loadBalancerClass of the Services that Steelyard serves, several by commas (default: what its controller's Deployment says)")
	flags.StringVar(&t.compat, "compat-annotations", unset, "whose annotations the controller also honors: metallb.io (default: as its Deployment says)")
	flags.BoolVar(&t.ignoreLabel, "ignore-exclude-label", false, "nodes with the label "+v1beta1.LabelExcludeNode+" announce (default: as the controller's Deployment says)")
	flags.StringVar(&t.unschedulable, "unschedulable", unset, "what unschedulable nodes do: ignore or drain (default: as the controller's Deployment says)")
	for _, name := range []string{"load-balancer-class", "compat-annotations", "ignore-exclude-label", "unschedulable"} {
		flags.Lookup(name).DefValue = ""
	}
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if !slices.Contains(formats(), t.output) {
			return fmt.Errorf("-o %s: there are %s", t.output, strings.Join(formats(), ", "))
		}
		return nil
	}
	fixed := func(values ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	for name, complete := range map[string]cobra.CompletionFunc{
		"output":              fixed(formats()...),
		"compat-annotations":  fixed("metallb.io"),
		"unschedulable":       fixed(string(intent.UnschedulableIgnore), string(intent.UnschedulableDrain)),
		"namespace":           t.names(corev1Kind("Namespace"), ""),
		"steelyard-namespace": t.names(corev1Kind("Namespace"), ""),
	} {
		if err := root.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // the flag is not there
		}
	}
}

// command completes c, so that it prints what answer finds, and ends with the
// exit code that follows from that.
func (t *tool) command(c *cobra.Command, find func(ctx context.Context, args []string) (answer, error)) *cobra.Command {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error { return usageError(cmd, check(cmd, args)) }
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := find(cmd.Context(), args)
		if err != nil {
			return err
		}
		if err := t.print(a); err != nil {
			return err
		}
		if !a.clean() {
			return errFound
		}
		return nil
	}
	return c
}

// noArguments is the check of the arguments of a command that takes none.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("accepts no arguments, received %q", strings.Join(args, " "))
	}
	return nil
}

// misused adds to what is wrong with a command line how the command is called.
func usageError(c *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	use := "COMMAND"
	if c.HasParent() {
		use = c.Use
	}
	return fmt.Errorf("%w; usage: kubectl steelyard %s (--help tells more)", err, use)
}

// dial returns a client for the cluster that kubectl's flags name.
func (t *tool) dial() (client.WithWatch, error) {
	config, err := t.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	scheme, err := cluster.Scheme()
	if err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(cluster.Connect(config, cluster.ManagerPlugin), client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return c, nil
}

// world reads the whole cluster.
func (t *tool) world(ctx context.Context) (*world.Snapshot, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	return t.look(ctx, c)
}

// look reads the whole cluster through c.
func (t *tool) look(ctx context.Context, c client.Reader) (*world.Snapshot, error) {
	installation, err := t.findHome(ctx, c)
	if err != nil {
		return nil, err
	}
	w, err := collect.Snapshot(ctx, c, t.system)
	if err != nil {
		return nil, err
	}
	w.Now = t.now()
	sure := installation.Namespace == collect.NamespaceDefault && len(installation.Others) == 0 // a controller there is ours
	if _, absent := w.Controller(); installation.Doubt != "" && (absent != "" || w.Leases == nil || !sure) {
		w.Unread = append(w.Unread, installation.Doubt)
	}
	if t.class != unset {
		w.Class, w.Guessed = t.class, false
	}
	w.Exclusion.IgnoreLabel = w.Exclusion.IgnoreLabel || t.ignoreLabel
	if t.unschedulable != unset {
		if err = w.Exclusion.Unschedulable.UnmarshalText([]byte(t.unschedulable)); err != nil {
			return nil, fmt.Errorf("--unschedulable: %w", err)
		}
	}
	if t.compat != unset {
		if w.AnnotationPrefixes, err = intent.ParseAnnotationPrefixes(t.compat); err != nil {
			return nil, fmt.Errorf("--compat-annotations: %w", err)
		}
	}
	return w, nil
}

// findHome finds out which namespace Steelyard is in, unless that was said or
// found already.
func (t *tool) findHome(ctx context.Context, c client.Reader) (collect.Installation, error) {
	if t.system != "" {
		return collect.Installation{Namespace: t.system}, nil
	}
	installation, err := collect.FindInstallation(ctx, c)
	t.system = installation.Namespace
	return installation, err
}

// namespace returns the namespace that the flags, or the kubeconfig, name.
func (t *tool) namespace() (string, error) {
	name, _, err := t.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("find the namespace: %w", err)
	}
	return name, nil
}

// names completes names of objects, each with the prefix before it. Those of
// kinds that are in namespaces are of the one that the flags name.
func (t *tool) names(kind schema.GroupVersionKind, prefix string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		c, err := t.connect()
		if err != nil {
			return nil, none // completion has no way to report it
		}
		var opts []client.ListOption
		if namespaced, err := c.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version); err == nil && namespaced.Scope.Name() == "namespace" {
			ns, err := t.namespace()
			if err != nil {
				return nil, none
			}
			opts = append(opts, client.InNamespace(ns))
		}
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(cmd.Context(), list, opts...); err != nil {
			return nil, none
		}
		var out []string
		for _, o := range list.Items {
			out = append(out, prefix+o.Name)
		}
		return out, none
	}
}

// corev1Kind is a kind of Kubernetes' core.
func corev1Kind(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Version: "v1", Kind: kind}
}
