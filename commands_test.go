package steelyard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// taken are names that other products' kinds go by: singulars, plurals and short
// names of Calico, Cilium, MetalLB, Whereabouts, PureLB, OpenELB and Kubernetes
// that are like ours. (kube-vip has no kinds.) kubectl asks the first group by the
// alphabet that has one.
var taken = []string{
	"ippool", "ippools", "lbippool", "lbippools", "ipp", "cipp", "ipamblock", "ipamblocks", "ipamconfig", "ipamhandle", "bgpconfiguration", "bgpconfigurations", "bgpfilter", "bgpfilters",
	"l2announcement", "bgpp", "cbgpadvert", "cbgpcluster", "cbgpnode", "cbgpnodeoverride", "cbgppeer", "sg", "sgs", "lbna", "lbnas", "eip", "eips", "bgpconf", "bgpconfs",
	"servicel2status", "servicel2statuses", "servicebgpstatus", "bgpsessionstate", "bgpsessionstates", "configurationstate", "addresspool", "addresspools",
	"cm", "cs", "ep", "ev", "limits", "ns", "no", "pvc", "pv", "po", "rc", "quota", "sa", "svc", "crd", "crds", "ds", "deploy", "rs", "sts", "hpa", "cj", "csr", "ing", "netpol", "pdb", "pc", "sc", "ip", "leases",
}

// names are those of our kinds.
type names struct {
	Plural, Singular string
	ShortNames       []string
}

func ourNames(t *testing.T) []names {
	t.Helper()
	files, err := filepath.Glob("config/crd/steelyard.dev_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no kinds: %v", err)
	}
	var out []names
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd struct{ Spec struct{ Names names } }
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		out = append(out, crd.Spec.Names)
	}
	return out
}

func TestShortNamesDoNotCollideWithOthers(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range ourNames(t) {
		for _, short := range n.ShortNames {
			if slices.Contains(taken, short) || seen[short] {
				t.Errorf("the short name %s of %s is another project's", short, n.Plural)
			}
			seen[short] = true
		}
	}
}

// command is kubectl with a verb that takes a kind, and what follows it, over the
// end of a line as well.
var command = regexp.MustCompile(`kubectl(?:\s+(?:-n|--namespace|--context|--as)[ =]\S+)*\s+(get|delete|describe|patch|annotate|label|edit|wait|replace|explain)\s+((?:-\S+\s+)*)([A-Za-z0-9,./%-]+)([^\n|;&` + "`" + `]*)`)

// TestCommandsNameOurKindsInFull reads every command in documents, manifests and
// texts of programs. MetalLB, Calico and Cilium have kinds of the same names:
// "kubectl delete bgppeers" deletes Calico's.
func TestCommandsNameOurKindsInFull(t *testing.T) {
	short := map[string]bool{"ippool": true, "ippools": true}
	for _, n := range ourNames(t) {
		short[n.Plural], short[n.Singular] = true, true
		for _, s := range n.ShortNames {
			short[s] = true
		}
	}
	found := 0
	check := func(where, text string) {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			for kind := range strings.SplitSeq(m[3], ",") {
				kind, _, _ = strings.Cut(kind, "/")
				name, rest, _ := strings.Cut(strings.TrimRight(kind, "."), ".")
				if strings.HasPrefix(rest, "steelyard.dev") || m[1] == "explain" && strings.Contains(m[4], "--api-version=steelyard.dev/") {
					found++
				} else if short[strings.ToLower(name)] {
					t.Errorf("%s: %q: another product may have this kind: write %s.steelyard.dev", where, strings.TrimSpace(m[0]), name)
				}
			}
		}
	}
	for _, path := range textFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(path) != ".go" {
			check(path, string(text))
			continue
		}
		for where, literal := range literals(t, path) {
			check(where, literal)
		}
	}
	if found < 50 {
		t.Errorf("only %d commands name a kind of ours: are they read at all?", found)
	}
}

// textFiles are those in which a command may stand that a user types.
func textFiles(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == "dist" || d.Name() == "testdata" || path != "." && path != ".github" && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case path == "CHANGELOG.md" || path == "commands_test.go" || strings.HasSuffix(path, "_test.go"):
		case slices.Contains([]string{".md", ".go", ".sh", ".txt", ".yaml", ".yml", ".tpl", ".html"}, filepath.Ext(path)):
			out = append(out, path)
		}
		return nil
	})
	if err != nil || len(out) < 100 {
		t.Fatalf("%d files: %v", len(out), err)
	}
	return out
}

// literals returns the texts of a Go file, by their places. Texts that are added
// up are one.
func literals(t *testing.T, path string) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		text, ok := textOf(e)
		if ok {
			out[fset.Position(e.Pos()).String()] = text
		}
		return !ok
	})
	return out
}

// textOf returns what is written of an expression that makes a text; a part that
// is not written stands as "VALUE".
func textOf(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "", false
		}
		left, okLeft := textOf(e.X)
		right, okRight := textOf(e.Y)
		if !okLeft && !okRight {
			return "", false
		}
		if !okLeft {
			left = "VALUE"
		}
		if !okRight {
			right = "VALUE"
		}
		return left + right, true
	}
	return "", false
}
