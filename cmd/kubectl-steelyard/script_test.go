package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
)

// TestScripts runs testdata/*.txtar. A script has, beside testscript's own
// commands:
//
//	cluster FILE…         from here on the cluster holds the objects of these files
//	                      (those of testdata/clusters exist as well)
//	forbid KIND…          from here on the user may not read these kinds
//	without KIND…         from here on the API server does not have these kinds
//	unreachable           from here on the cluster is the one that the flags name
//	meanwhile FILE        the objects of this file are changed before the next write
//	speaker POD [FILE]    from here on the speaker in this Pod answers with the file, or not at all
//	input FILE            from here on this is the plugin's standard input
//	steelyard [-N] ARGS…  run the plugin on it; it must end with exit code N (0)
//
// What the plugin prints is what stdout, stderr and cmp look at; "env COLOR=1"
// has it drawn as on a terminal. STEELYARD_UPDATE=1 writes what cmp compares with
// again.
//
// The answer of each command that changes nothing is also asked for as data, and checked
// against the schema; that of others where the script asks for it.
func TestScripts(t *testing.T) {
	var kinds sync.Map
	t.Cleanup(func() { // after the scripts, which run beside one another
		for _, x := range answers() {
			if _, checked := kinds.Load(x.answer.kind()); !checked && !t.Failed() && flag.Lookup("test.run").Value.String() == "" {
				t.Errorf("no script has an answer of kind %s as data", x.answer.kind())
			}
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("STEELYARD_UPDATE") != "",
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"cluster": setCluster, "steelyard": runPlugin, "input": setInput, "forbid": setForbidden, "without": setMissing, "unreachable": setUnreachable, "meanwhile": setMeanwhile, "speaker": setSpeaker},
		Setup: func(e *testscript.Env) error {
			c, err := newCluster()
			e.Values[stageKey{}], e.Values[kindsKey{}] = &stage{WithWatch: c, spoken: map[string]string{}}, &kinds
			e.Setenv("KUBECONFIG", "none")
			return errors.Join(err, os.CopyFS(e.WorkDir, os.DirFS("testdata/clusters")))
		},
	})
}

// stage is the cluster of one script.
type stage struct {
	client.WithWatch
	stdin     string            // of the next commands
	forbidden []string          // kinds
	missing   []string          // kinds
	real      bool              // dial
	meanwhile []client.Object   // to be changed before the next write
	spoken    map[string]string // answers of speakers, by Pod
}

// RESTMapper knows what migrate looks for in this cluster.
func (s *stage) RESTMapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(corev1Kind("Namespace"), meta.RESTScopeRoot)
	m.Add(corev1Kind("Service"), meta.RESTScopeNamespace)
	for _, kind := range metallb() {
		m.Add(kind, meta.RESTScopeNamespace)
	}
	return m
}

// metallb are kinds of another load balancer that clusters may hold.
func metallb() []schema.GroupVersionKind {
	v := schema.GroupVersion{Group: "metallb.io", Version: "v1beta1"}
	return []schema.GroupVersionKind{v.WithKind("IPAddressPool"), v.WithKind("L2Advertisement")}
}

// clusterScheme knows all kinds that clusters may hold.
func clusterScheme() (*runtime.Scheme, error) {
	scheme, err := cluster.Scheme()
	if err != nil {
		return nil, err
	}
	for _, kind := range metallb() {
		scheme.AddKnownTypeWithName(kind, &unstructured.Unstructured{})
		scheme.AddKnownTypeWithName(kind.GroupVersion().WithKind(kind.Kind+"List"), &unstructured.UnstructuredList{})
	}
	return scheme, nil
}

// Patch has another client write first.
func (s *stage) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
	for _, other := range s.meanwhile {
		was := other.DeepCopyObject().(client.Object)
		if err := s.Get(ctx, client.ObjectKeyFromObject(other), was); err != nil {
			return err
		}
		other.SetResourceVersion(was.GetResourceVersion())
		if err := s.Update(ctx, other); err != nil {
			return err
		}
	}
	s.meanwhile = nil
	return s.WithWatch.Patch(ctx, o, patch, opts...)
}

// List refuses to list what is forbidden.
func (s *stage) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	kind, err := apiutil.GVKForObject(list, s.Scheme())
	if err != nil {
		return err
	}
	of := strings.TrimSuffix(kind.Kind, "List")
	if slices.Contains(s.missing, of) {
		return &meta.NoKindMatchError{GroupKind: kind.GroupVersion().WithKind(of).GroupKind(), SearchedVersions: []string{kind.Version}}
	}
	if err := s.refuse(kind.GroupVersion().WithKind(of)); err != nil {
		return err
	}
	return s.WithWatch.List(ctx, list, opts...)
}

// Get refuses to read what is forbidden.
func (s *stage) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	kind, err := apiutil.GVKForObject(o, s.Scheme())
	if err != nil {
		return err
	}
	if err := s.refuse(kind); err != nil {
		return err
	}
	return s.WithWatch.Get(ctx, key, o, opts...)
}

func (s *stage) refuse(kind schema.GroupVersionKind) error {
	if !slices.Contains(s.forbidden, kind.Kind) {
		return nil
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: kind.Group, Resource: strings.ToLower(kind.Kind) + "s"}, "", errors.New(`User "eve" cannot see it`))
}

type stageKey struct{}

// kindsKey is of the kinds of answers that were checked, of all scripts.
type kindsKey struct{}

func newCluster(objects ...client.Object) (client.WithWatch, error) {
	scheme, err := clusterScheme()
	if err != nil {
		return nil, err
	}
	sender := func(o client.Object) []string { return []string{o.(*corev1.Event).ReportingController} }
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithIndex(&corev1.Event{}, "reportingComponent", sender).WithStatusSubresource(
		&corev1.Service{}, &corev1.Node{}, &v1beta1.L2Claim{}, &v1beta1.Speaker{}, &v1beta1.BGPSession{},
	).Build(), nil
}

func setCluster(ts *testscript.TestScript, neg bool, files []string) {
	if neg || len(files) == 0 {
		ts.Fatalf("usage: cluster FILE…")
	}
	c, err := newCluster(objectsOf(ts, files)...)
	ts.Check(err)
	ts.Value(stageKey{}).(*stage).WithWatch = c
}

func setMissing(ts *testscript.TestScript, neg bool, kinds []string) {
	if neg {
		ts.Fatalf("usage: without KIND…")
	}
	ts.Value(stageKey{}).(*stage).missing = kinds
}

func setUnreachable(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: unreachable")
	}
	ts.Value(stageKey{}).(*stage).real = true
}

func setMeanwhile(ts *testscript.TestScript, neg bool, files []string) {
	if neg || len(files) == 0 {
		ts.Fatalf("usage: meanwhile FILE…")
	}
	ts.Value(stageKey{}).(*stage).meanwhile = objectsOf(ts, files)
}

func setSpeaker(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(stageKey{}).(*stage)
	switch {
	case !neg && len(args) == 2:
		s.spoken[args[0]] = ts.ReadFile(args[1])
	case !neg && len(args) == 1:
		delete(s.spoken, args[0])
	default:
		ts.Fatalf("usage: speaker POD [FILE]")
	}
}

// askSpeaker answers for the speaker in a Pod.
func (s *stage) askSpeaker(_ context.Context, pod *corev1.Pod, port uint16, path string) ([]byte, error) {
	text, answers := s.spoken[pod.Name]
	if !answers || path != "/debug/routes" {
		return nil, fmt.Errorf("nothing listens on port %d", port)
	}
	return []byte(text), nil
}

// objectsOf reads all objects of files.
func objectsOf(ts *testscript.TestScript, files []string) []client.Object {
	var objects []client.Object
	for _, file := range files {
		more, err := decode(ts.ReadFile(file))
		if err != nil {
			ts.Fatalf("%s: %v", file, err)
		}
		objects = append(objects, more...)
	}
	return objects
}

func setForbidden(ts *testscript.TestScript, neg bool, kinds []string) {
	if neg {
		ts.Fatalf("usage: forbid KIND…")
	}
	ts.Value(stageKey{}).(*stage).forbidden = kinds
}

func setInput(ts *testscript.TestScript, neg bool, files []string) {
	if neg || len(files) != 1 {
		ts.Fatalf("usage: input FILE")
	}
	ts.Value(stageKey{}).(*stage).stdin = ts.ReadFile(files[0])
}

// decode reads all objects of a YAML file.
func decode(text string) ([]client.Object, error) {
	scheme, err := clusterScheme()
	if err != nil {
		return nil, err
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	docs := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var out []client.Object
	for {
		doc, err := docs.Read()
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case len(bytes.TrimSpace(doc)) == 0:
			continue
		}
		o, _, err := decoder.Decode(doc, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
		obj, ok := o.(client.Object)
		if !ok {
			return nil, fmt.Errorf("%T is not an object", o)
		}
		out = append(out, obj)
	}
}

func runPlugin(ts *testscript.TestScript, neg bool, args []string) {
	want := exitFine
	if len(args) > 0 {
		if n, err := strconv.Atoi(args[0]); err == nil && n < 0 {
			want, args = -n, args[1:]
		}
	}
	if neg {
		ts.Fatalf("say with which exit code it must end: steelyard -2 …")
	}
	t := &tool{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(ts.Value(stageKey{}).(*stage).stdin), Out: ts.Stdout(), ErrOut: ts.Stderr()},
		flags:     genericclioptions.NewConfigFlags(true),
		connect:   func() (client.WithWatch, error) { return ts.Value(stageKey{}).(*stage), nil },
		ask:       ts.Value(stageKey{}).(*stage).askSpeaker,
		now:       func() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) },
		color:     ts.Getenv("COLOR") != "",
		folder:    ts.Getenv("WORK"),
	}
	if ts.Value(stageKey{}).(*stage).real {
		t.connect = t.dial
	}
	var out bytes.Buffer
	t.Out = io.MultiWriter(ts.Stdout(), &out)
	if have := t.run(context.Background(), args); have != want {
		ts.Fatalf("ended with exit code %d, want %d", have, want)
	}
	if want == exitFailed || len(args) == 0 || strings.HasPrefix(args[0], "_") || slices.Contains(args, "--help") {
		return
	}
	switch format := slices.Index(args, "json"); {
	case format > 0 && args[format-1] == "-o":
	case slices.Contains([]string{"status", "explain", "services", "claims", "sessions", "routes", "history", "doctor", "version", "simulate", "lint"}, args[0]), slices.Contains(args, "--dry-run"), slices.Contains(args, "--plan"):
		out.Reset()
		t.In, t.Out, t.ErrOut = strings.NewReader(ts.Value(stageKey{}).(*stage).stdin), &out, io.Discard
		if have := t.run(context.Background(), append(slices.Clone(args), "-o", "json")); have != want {
			ts.Fatalf("as data it ended with exit code %d, want %d", have, want)
		}
	default:
		return // once more it would do something else
	}
	kind, err := check(out.Bytes())
	if err != nil {
		ts.Fatalf("the answer is not as docs/reference/plugin-answers.schema.json says: %v\n%s", err, &out)
	}
	ts.Value(kindsKey{}).(*sync.Map).Store(kind, true)
}

func TestTheSamplesHaveNothingToSayOf(t *testing.T) {
	var out, failed strings.Builder
	tool := &tool{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &failed},
		flags:     genericclioptions.NewConfigFlags(true), now: time.Now, folder: filepath.Join("..", "..", "config"),
	}
	if code := tool.run(t.Context(), []string{"lint", "-f", "samples"}); code != exitFine {
		t.Errorf("lint ended with %d:\n%s%s", code, &out, &failed)
	}
}
