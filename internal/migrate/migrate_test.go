package migrate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/steelyard-lb/steelyard/internal/migrate"
	"github.com/steelyard-lb/steelyard/internal/schema"
	"github.com/steelyard-lb/steelyard/internal/stories"
)

var update = flag.Bool("update", false, "write what comes out into testdata; read it before you commit it")

// TestGolden turns the objects in each file of testdata, which begins with the
// peer's name, into ours.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < len(migrate.Products()) {
		t.Fatalf("there are %d files, and %d peers: %v", len(files), len(migrate.Products()), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in, want := fileOf(archive, "in.yaml"), fileOf(archive, "out.yaml")
			source := read(t, in.Data)
			for option := range strings.FieldsSeq(string(archive.Comment)) {
				source.Pin = source.Pin || option == "--pin"
			}
			have := convert(t, peerOf(file), source)
			if *update {
				want.Data = []byte(have)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), have); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
			rng := rand.New(rand.NewSource(1))
			source.Objects, source.Services = stories.Shuffle(source.Objects, rng), stories.Shuffle(source.Services, rng)
			if diff := cmp.Diff(have, convert(t, peerOf(file), source)); diff != "" {
				t.Errorf("another order, another end:\n%s", diff)
			}
		})
	}
}

// TestOursAreAccepted checks what comes out as the API server would: it is taken,
// or said not to be.
func TestOursAreAccepted(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source := read(t, fileOf(archive, "in.yaml").Data)
		plan, err := migrate.Convert(peerOf(file), source)
		if err != nil {
			t.Fatal(err)
		}
		printed(t, source, plan)
	}
}

var once = sync.OnceValues(schema.New)

// rules returns what the API server refuses.
func rules(t testing.TB) *schema.Checker {
	t.Helper()
	c, err := once()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// peerOf returns the peer of a file: what comes before the first underscore.
func peerOf(file string) migrate.Product {
	name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txtar"), "_")
	return migrate.Product(name)
}

func fileOf(a *txtar.Archive, name string) *txtar.File {
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		a.Files = append(a.Files, txtar.File{Name: name})
		i = len(a.Files) - 1
	}
	return &a.Files[i]
}

func convert(t *testing.T, p migrate.Product, s migrate.Source) string {
	t.Helper()
	plan, err := migrate.Convert(p, s)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := plan.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// read sorts the objects of a YAML text.
func read(t *testing.T, text []byte) migrate.Source {
	t.Helper()
	s := migrate.Source{Rules: rules(t), Namespace: "steelyard-system", Namespaces: map[string]map[string]string{}}
	for dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var o unstructured.Unstructured
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return s
		} else if err != nil {
			t.Fatal(err)
		}
		if o.GetKind() == "" {
			continue
		}
		if err := sorted(&s, o); err != nil {
			t.Fatal(err)
		}
	}
}

// sorted enters an object as the plugin does.
func sorted(s *migrate.Source, o unstructured.Unstructured) error {
	switch o.GetKind() {
	case "Service":
		var svc corev1.Service
		if o.GetNamespace() == "" {
			o.SetNamespace("default")
		}
		text, err := o.MarshalJSON()
		if err == nil {
			err = json.Unmarshal(text, &svc)
		}
		s.Services = append(s.Services, svc)
		return err
	case "Namespace":
		s.Namespaces[o.GetName()] = o.GetLabels()
	default:
		s.Objects = append(s.Objects, o)
	}
	return nil
}

// TestAFieldThatIsNotKnownIsNamed puts an unknown field at every place
// of every object of testdata where there can be one.
func TestAFieldThatIsNotKnownIsNamed(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source := read(t, fileOf(archive, "in.yaml").Data)
		for i, o := range source.Objects {
			if o.GetKind() == "DaemonSet" || o.GetKind() == "Pod" || o.GetKind() == "ConfigMap" {
				continue // kube-vip: not all of them is meant for it
			}
			for n, place := range places("spec", o.Object["spec"]) {
				changed := source
				changed.Objects = slices.Clone(source.Objects)
				changed.Objects[i] = *o.DeepCopy()
				places("spec", changed.Objects[i].Object["spec"])[n].at["surprise"] = "strange"
				plan, err := migrate.Convert(peerOf(file), changed)
				if err != nil {
					t.Fatal(err)
				}
				tried++
				// Either the field itself is named, or what holds it.
				named := func(x migrate.Note) bool {
					if !strings.HasSuffix(x.Object, o.GetName()) {
						return false
					}
					parent, _, inList := strings.Cut(x.Field, "].")
					return strings.Contains(x.Field+x.Value, "surprise") || strings.HasPrefix(place.path, x.Field) ||
						inList && x.Severity == migrate.NoEqual && strings.HasPrefix(place.path, parent)
				}
				if !slices.ContainsFunc(plan.Notes, named) {
					t.Errorf("%s: %s %s: %s.surprise was dropped silently", file, o.GetKind(), o.GetName(), place.path)
				}
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d places were tried", tried)
	}
}

// place is a map within an object.
type place struct {
	path string
	at   map[string]any
}

// places returns all maps within v that hold fields, v first. Labels are no fields.
func places(path string, v any) []place {
	var out []place
	switch v := v.(type) {
	case map[string]any:
		out = append(out, place{path, v})
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if k != "matchLabels" && k != "namespaceSelector" && k != "asPerRack" {
				out = append(out, places(path+"."+k, v[k])...)
			}
		}
	case []any:
		for i, x := range v {
			out = append(out, places(fmt.Sprintf("%s[%d]", path, i), x)...)
		}
	}
	return out
}

// TestEveryAddressThatAPoolHoldsIsKept tries clusters by chance: whatever MetalLB
// gave out, of its pools or of none, is kept.
func TestEveryAddressThatAPoolHoldsIsKept(t *testing.T) {
	for seed := range int64(200) {
		rng := rand.New(rand.NewSource(seed))
		var text strings.Builder
		for p := range 1 + rng.Intn(3) {
			fmt.Fprintf(&text, "---\napiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p%d, namespace: m}\nspec: {addresses: [10.0.%d.0/28], autoAssign: %t, avoidBuggyIPs: %t}\n", p, p, rng.Intn(2) == 0, rng.Intn(4) == 0)
		}
		text.WriteString("---\napiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata: {name: l2, namespace: m}\nspec: {}\n")
		for i := range rng.Intn(8) {
			fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d, namespace: d}\nspec: {type: LoadBalancer, ports: [{port: %d, protocol: TCP}]}\nstatus: {loadBalancer: {ingress: [{ip: 10.0.%d.%d}]}}\n",
				i, 80+i, rng.Intn(4), 1+rng.Intn(20))
		}
		source := read(t, []byte(text.String()))
		plan, err := migrate.Convert(migrate.MetalLB, source)
		if err != nil {
			t.Fatal(err)
		}
		if n := plan.Count(migrate.Blocking); n > 0 {
			t.Errorf("seed %d: %v\n%s", seed, plan.Notes, text.String())
		}
	}
}

func TestAPeerThatIsNotKnownIsRefused(t *testing.T) {
	if _, err := migrate.Convert("f5", migrate.Source{}); err == nil {
		t.Error("accepted")
	}
}
