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
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/migrate"
	"github.com/steelyard-lb/steelyard/internal/schema"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// report is what is wrong with files.
type report struct {
	Objects  int      `json:"objects"`           // that were checked
	Unknown  []string `json:"unknown,omitempty"` // kinds of the objects that were not
	Findings []remark `json:"findings"`
}

// remark is one thing that is wrong.
type remark struct {
	File     string   `json:"file"` // and line
	Object   string   `json:"object"`
	Severity severity `json:"severity"`
	Reason   string   `json:"reason"`
	Message  string   `json:"message"`
	order    [2]int   // of the document, and of its line
}

// severity says how bad a remark is.
type severity string

const (
	// refusedBy means that the API server would not take the object.
	refusedBy severity = "error"
	// notProgrammed means that it would, and the object would not do what it says.
	notProgrammed severity = "warning"
)

// The reasons of remarks, beside those of conditions.
const (
	reasonRefused      = "Refused"      // by the schema or a rule of its kind
	reasonUnknownField = "UnknownField" // the API server would drop it
	reasonUnknownKind  = "UnknownKind"
)

func lint(t *tool) *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "lint -f FILE…",
		Short: "Check files without a cluster",
		Long: `Check files without a cluster: what the API server would refuse, fields that it
would drop, objects that would not be in force, Services that ask for what can't be
read or had, annotations that mean nothing, and objects of other load balancers.

All files are checked together, as if they were the whole configuration: an object
that they name and do not hold is reported as not found. Secrets are taken for
good. That no pool serves a Service is reported only if the files hold a pool.

Exit code 0: nothing was found; 1: a file could not be read; 2: something was found.`,
		Example: `  kubectl steelyard lint -f steelyard/
  helm template … | kubectl steelyard lint -f -`,
		Args: noArguments,
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, folder or - (standard input) to check; may be repeated")
	return t.command(c, func(context.Context, []string) (answer, error) {
		if len(files) == 0 {
			return nil, errors.New("say with -f which files to check (- is the standard input)")
		}
		docs, err := t.documents(files)
		if err != nil {
			return nil, err
		}
		return t.lintAll(docs)
	})
}

// linter checks documents one by one, and then together.
type linter struct {
	checker *schema.Checker
	world   world.Snapshot
	docs    map[string]int // places of documents by kind and name
	refused map[int]bool   // by place: the document is refused, and that is all there is to say
	report  report
	all     []document
}

func (t *tool) lintAll(docs []document) (answer, error) {
	checker, err := schema.New()
	if err != nil {
		return nil, err
	}
	annotationPrefixes, err := t.annotationPrefixes()
	if err != nil {
		return nil, err
	}
	l := linter{checker: checker, docs: map[string]int{}, refused: map[int]bool{}, all: docs, report: report{Findings: []remark{}}}
	l.world.Now, l.world.AnnotationPrefixes = t.now(), annotationPrefixes
	for i, d := range docs {
		if err := t.settle(d); err != nil {
			return nil, err
		}
		l.one(i, d)
	}
	l.together()
	l.unchecked()
	slices.SortStableFunc(l.report.Findings, func(a, b remark) int {
		return cmp.Or(cmp.Compare(a.order[0], b.order[0]), cmp.Compare(a.order[1], b.order[1]))
	})
	return l.report, nil
}

// find enters a remark on a field of a document.
func (l *linter) find(doc int, path string, s severity, reason, format string, args ...any) {
	d := l.all[doc]
	place := d.place(path)
	var line int
	if _, err := fmt.Sscanf(place[strings.LastIndex(place, ":")+1:], "%d", &line); err != nil {
		panic(err) // a place ends in a line
	}
	l.report.Findings = append(l.report.Findings, remark{
		File: place, Object: d.GetKind() + " " + d.GetName(), Severity: s, Reason: reason, Message: fmt.Sprintf(format, args...), order: [2]int{doc, line},
	})
}

// one checks a document by itself, and adds it to the world. There it counts as
// far as it can be read even if it is refused, so that others that name it are
// not blamed.
func (l *linter) one(i int, d document) {
	gvk := d.GroupVersionKind()
	switch {
	case l.checker.Knows(gvk):
		l.report.Objects++
		refused, dropped := l.checker.Check(d.Unstructured)
		for _, field := range dropped {
			l.find(i, field, notProgrammed, reasonUnknownField, "there is no field %s: the API server drops it", field)
		}
		for _, e := range refused {
			l.find(i, e.Field, refusedBy, reasonRefused, "%v", e)
		}
		l.refused[i] = len(refused) > 0
	case gvk.Group == v1beta1.Group:
		l.report.Objects++
		l.find(i, "kind", refusedBy, reasonUnknownKind, "there is no kind %s in %s", gvk.Kind, d.GetAPIVersion())
		return
	case migrate.ProductOf(gvk) != "":
		from := migrate.ProductOf(gvk)
		l.find(i, "apiVersion", notProgrammed, reasonUnknownKind,
			"%s is an object of %s, which Steelyard does not read: kubectl steelyard migrate --from %s -f … converts it", d.GetAPIVersion(), from, from)
		return
	case gvk.Kind == "Service" && d.GetAPIVersion() == "v1":
		l.report.Objects++
		l.service(i, d)
	case !slices.Contains(read, gvk.Kind):
		l.report.Unknown = append(l.report.Unknown, gvk.Kind)
	}
	name := d.GetKind() + " " + d.GetNamespace() + "/" + d.GetName()
	if first, twice := l.docs[name]; twice {
		l.find(i, "metadata.name", notProgrammed, "Duplicate", "%s also has this object: the last one applied counts", l.all[first].place(""))
	}
	l.docs[name] = i
	if _, err := l.world.Apply(d.Unstructured); err != nil && !l.refused[i] {
		l.find(i, "", refusedBy, reasonRefused, "%v", err)
	}
}

// read are kinds that lint does not check, and that it needs to check others.
var read = []string{"Namespace", "Node", "Secret"}

// unchecked reports which kinds of objects were not checked; that none was is a finding.
func (l *linter) unchecked() {
	slices.Sort(l.report.Unknown)
	l.report.Unknown = slices.Compact(l.report.Unknown)
	if l.report.Objects == 0 && len(l.report.Findings) == 0 && len(l.all) > 0 {
		l.find(0, "kind", notProgrammed, reasonUnknownKind, "these files hold no object that lint checks: neither one of %s nor a Service", v1beta1.Group)
	}
}

// service checks what a Service asks for by itself.
func (l *linter) service(i int, d document) {
	var svc corev1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object, &svc); err != nil {
		l.find(i, "spec", refusedBy, reasonRefused, "%v", err)
		return
	}
	for _, name := range intent.UnknownAnnotations(&svc) {
		l.find(i, "metadata.annotations["+name+"]", notProgrammed, v1beta1.ReasonUnknownAnnotation, "annotation %s means nothing: %s", name, intent.Suggestion(name))
	}
	for _, x := range l.world.AnnotationPrefixes.Ignored(&svc) {
		remedy := ""
		if x.Flag != "" {
			remedy = " (then give lint the same flag)"
		}
		field := "metadata.annotations"
		if x.Label {
			field = "metadata.labels"
		}
		l.find(i, field+"["+x.Name+"]", notProgrammed, v1beta1.ReasonUnknownAnnotation, "%s%s", x, remedy)
	}
}

// together checks what depends on several objects.
func (l *linter) together() {
	evaluation := l.world.Evaluate()
	for ref, v := range evaluation.Checked.Validations {
		i, ok := l.docs[ref.Kind+" /"+ref.Name]
		if !ok || l.refused[i] {
			continue
		}
		for _, f := range v.Faults() {
			field, _, _ := strings.Cut(f.Message, ": ")
			if !strings.HasPrefix(field, "spec") {
				field = ""
			}
			l.find(i, field, notProgrammed, f.Reason, "%s", f.Message)
		}
		for _, field := range v.NoEffect {
			l.find(i, field, notProgrammed, v1beta1.ReasonUnsupportedField, "%s does nothing in this version", field)
		}
	}
	l.externals(evaluation.Externals)
	for place, g := range evaluation.Grants {
		r := evaluation.Requests[place]
		depends := g.Reason != ipam.InvalidRequest && g.Reason != ipam.RequestConflict
		i, ok := l.docs["Service "+r.Service.String()]
		if !ok || g.Reason == "" || depends && len(evaluation.Pools) == 0 {
			continue
		}
		l.find(i, "metadata.name", notProgrammed, string(g.Reason), "%s", g.Message)
	}
}

// externals checks what Services have in spec.externalIPs of pools that announce such.
func (l *linter) externals(all []intent.External) {
	for _, x := range all {
		if i, ok := l.docs["Service "+x.Service.String()]; ok && x.Refused != "" {
			l.find(i, "spec.externalIPs", notProgrammed, world.ExternalIPRefused, "%s is of IPAddressPool %s, and no node would announce it: %s", x.Addr, x.Pool, x.Refused)
		}
	}
}

// annotationPrefixes returns the annotations that count by the flags alone.
func (t *tool) annotationPrefixes() (intent.AnnotationPrefixes, error) {
	if t.compat == unset {
		return nil, nil
	}
	d, err := intent.ParseAnnotationPrefixes(t.compat)
	if err != nil {
		return nil, fmt.Errorf("--compat-annotations: %w", err)
	}
	return d, nil
}

func (report) kind() string { return "LintReport" }

func (r report) clean() bool { return len(r.Findings) == 0 }

func (r report) draw(p *printer) {
	for _, f := range r.Findings {
		style := warnOne
		if f.Severity == refusedBy {
			style = badOne
		}
		p.line(bold(f.File), plain(": "), cell{string(f.Severity), style}, plainf(": %s: %s ", f.Object, f.Message), dimmed("["+f.Reason+"]"))
	}
	found := good("nothing to say")
	if len(r.Findings) > 0 {
		found = bad(counted(len(r.Findings), "finding"))
	}
	p.line(plainf("%s checked: ", counted(r.Objects, "object")), found)
	if len(r.Unknown) > 0 {
		p.line(dimmed("not checked: objects of kind " + strings.Join(r.Unknown, ", ")))
	}
}
