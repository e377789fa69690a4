// Package steelyard holds the laws of the repository, as tests: who may import
// whom, one package document each, sizes, generated files, manifests.
package steelyard

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/steelyard-lb/steelyard/"

// shared are the packages that every package may import. They import the standard library only.
func shared() []string { return []string{"internal/printable", "internal/wait"} }

// law says what a room may import of this module, and which foreign packages
// it must not, with the reason. What it must never import, it must not link either:
// not by way of others.
type law struct {
	own      []string
	never    []string // prefixes
	onlyStd  bool
	neverStd []string // by itself: the standard library's own packages import these
	reason   string
}

// laws has one entry for each room; a new room needs one.
func laws() map[string]law {
	protocol := []string{"k8s.io/", "sigs.k8s.io/"}
	pure := []string{"os", "net", "log", "log/slog", "sync", "net/http", "os/exec", "sync/atomic"}
	clients := []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}
	whole := []string{module + "internal/world"}
	return map[string]law{
		"api/ipam/*":        {reason: "it is generated from the proto beside it"},
		"internal/ipam":     {onlyStd: true, neverStd: pure, reason: "it is a pure function"},
		"internal/announce": {own: []string{"internal/ipam"}, onlyStd: true, neverStd: pure, reason: "it is a pure function"},
		"internal/announced": {own: []string{"api/v1beta1", "internal/announce", "internal/health", "internal/intent", "internal/ipam"}, never: clients, neverStd: pure,
			reason: "it reports what others do, and reaches no API server"},
		"internal/history":  {own: []string{"api/v1beta1", "internal/intent"}, never: clients, neverStd: pure, reason: "it remembers and tells, and reads no clock"},
		"internal/failover": {own: []string{"internal/announce", "internal/membership"}, never: protocol, neverStd: pure, reason: "it is a pure state machine"},
		"internal/source":   {own: []string{"internal/ipam"}, onlyStd: true, neverStd: pure, reason: "it is a pure state machine"},
		"internal/source/client": {own: []string{"api/ipam/v1", "internal/ipam", "internal/leader", "internal/source"}, never: whole,
			reason: "it makes the calls that are decided on, and decides nothing"},
		"internal/source/ledger":   {own: []string{"internal/ipam"}, onlyStd: true, neverStd: pure, reason: "it is a pure value"},
		"internal/source/contract": {own: []string{"internal/ipam", "internal/source/ledger"}, onlyStd: true, reason: "tests of IPAMs use it"},
		"internal/source/adapter":  {own: []string{"api/ipam/v1", "internal/ipam", "internal/source/ledger", "internal/version"}, never: slices.Concat(protocol, whole), reason: "it speaks the protocol, and decides nothing"},
		"internal/dhcp":            {own: []string{"internal/ipam", "internal/source/ledger"}, never: protocol, neverStd: slices.DeleteFunc(slices.Clone(pure), func(p string) bool { return p == "net" }), reason: "it is a pure state machine; the packets' library has addresses of net"},
		"internal/dhcp/fake":       {own: []string{"internal/dhcp", "internal/ipam"}, never: protocol, reason: "tests use it"},
		"internal/dhcp/*":          {own: []string{"internal/ipam"}, never: protocol, reason: "a protocol knows nothing of Kubernetes"},
		"cmd/ipam-file":            {own: []string{"internal/ipam", "internal/source/adapter", "internal/source/ledger", "internal/version"}, never: slices.Concat(protocol, whole), reason: "it knows the protocol, and nothing of Kubernetes"},
		"cmd/ipam-dhcp":            {own: []string{"internal/dhcp", "internal/dhcp/socket", "internal/ipam", "internal/logs", "internal/source/adapter", "internal/source/ledger", "internal/version"}, never: slices.Concat(protocol, whole), reason: "it knows the protocols, and nothing of Kubernetes"},
		"internal/intent": {own: []string{"internal/ipam", "internal/announce", "internal/source", "api/v1beta1"}, never: clients, neverStd: pure,
			reason: "it turns objects into values and reaches no API server"},
		"internal/leader":    {own: []string{"internal/cluster", "internal/intent", "internal/version"}, reason: "it decides who leads, and nothing that a leader decides"},
		"internal/lease":     {own: []string{"internal/overlay", "api/v1beta1", "internal/cluster", "internal/failover", "internal/intent"}, reason: "it decides which Leases have expired, and not what follows"},
		"internal/ports":     {own: []string{}, never: clients, reason: "it looks at this machine alone"},
		"internal/rollout":   {onlyStd: true, neverStd: pure, reason: "it is a rule in time; who uses it reads the clock"},
		"internal/damper":    {own: []string{"internal/ipam"}, never: clients, neverStd: pure, reason: "it is a rule in time; who uses it reads the clock"},
		"internal/kubeproxy": {own: []string{"api/v1beta1", "internal/announce", "internal/cluster", "internal/ipam"}, reason: "it asks one program of the node"},
		"internal/status":    {own: []string{"internal/overlay", "api/v1beta1", "internal/announce", "internal/bfd", "internal/bgp", "internal/cluster", "internal/failover", "internal/history", "internal/intent", "internal/ipam", "internal/kubeproxy", "internal/layer2", "internal/membership", "internal/ports", "internal/version"}, reason: "it tells what was done, and decides nothing"},
		"internal/simulation": {own: []string{"internal/announce", "internal/failover", "internal/intent", "internal/ipam", "internal/lease", "internal/membership", "internal/planner", "internal/source", "internal/source/ledger", "api/v1beta1"},
			reason: "it is for tests: it drives what decides, and no protocol"},
		"internal/planner": {own: []string{"api/v1beta1", "internal/health", "internal/history", "internal/intent", "internal/ipam", "internal/overlay", "internal/printable", "internal/source"}, never: clients, neverStd: pure,
			reason: "it decides what is written, and writes nothing"},
		"internal/overlay": {own: []string{"internal/intent"}, never: clients, neverStd: pure[:3], reason: "it compares versions of objects, and reaches no API server"},
		"internal/doctor": {own: []string{"api/v1beta1", "internal/announce", "internal/health", "internal/intent", "internal/ipam", "internal/printable", "internal/version", "internal/world"}, never: clients, neverStd: pure,
			reason: "its checks are pure functions"},
		"internal/migrate": {own: []string{"api/v1beta1", "internal/intent", "internal/ipam", "internal/printable", "internal/schema", "internal/version"}, never: clients, neverStd: pure,
			reason: "it turns objects into objects and reaches no API server"},
		"internal/layer2":       {own: []string{"internal/announce", "internal/layer2/link", "internal/neighbor"}, never: protocol, reason: "a protocol knows nothing of Kubernetes"},
		"internal/neighbor":     {never: protocol, neverStd: pure[:1], reason: "frames in, frames out"},
		"internal/layer2/*":     {own: []string{"internal/announce"}, never: protocol, reason: "a protocol knows nothing of Kubernetes"},
		"internal/bgp":          {own: []string{"internal/announce", "internal/bfd", "internal/bgp/*", "internal/ports"}, never: protocol, reason: "a protocol knows nothing of Kubernetes"},
		"internal/bgp/*":        {own: []string{"internal/announce"}, never: protocol, reason: "a protocol knows nothing of Kubernetes"},
		"internal/bfd":          {onlyStd: true, reason: "others can use it, with sockets of their own"},
		"internal/bfd/*":        {own: []string{"internal/bfd"}, never: protocol, reason: "a protocol knows nothing of Kubernetes"},
		"internal/membership":   {own: []string{"internal/bfd"}, never: protocol, reason: "members are found on the wire"},
		"internal/membership/*": {own: []string{"internal/membership", "internal/failover", "internal/neighbor"}, never: protocol, reason: "members are found on the wire"},
		"internal/nullroute":    {never: protocol, reason: "the kernel's routes know nothing of Kubernetes"},
		"internal/health":       {own: []string{"api/v1beta1", "internal/intent"}, never: clients, neverStd: pure, reason: "it reads what objects say, and reaches no API server"},
		"internal/overview":     {own: []string{"api/v1beta1", "internal/health", "internal/printable"}, never: clients, neverStd: pure, reason: "it turns objects into a page, and reaches no API server"},
		"internal/overview/*":   {own: []string{"api/v1beta1", "internal/cluster", "internal/health", "internal/intent", "internal/overview", "internal/serving"}, never: whole, reason: "it reads what the page shows, and decides nothing"},
		"internal/announcer":    {own: []string{"api/v1beta1", "internal/announce", "internal/announced", "internal/cluster", "internal/damper", "internal/health", "internal/intent", "internal/ipam", "internal/leader", "internal/planner", "internal/wait"}, never: whole, reason: "it reads for package announced, and writes nothing"},
		"internal/report":       {own: []string{"api/v1beta1", "internal/announced", "internal/cluster", "internal/intent", "internal/ipam", "internal/leader", "internal/planner"}, never: whole, reason: "it writes what the planner says, and decides nothing"},
		"internal/writer":       {own: []string{"api/v1beta1", "internal/cluster", "internal/history", "internal/intent", "internal/leader", "internal/planner"}, never: whole, reason: "it writes what the planner says, and decides nothing"},
		"internal/readiness":    {own: []string{"internal/bgp"}, never: protocol, reason: "it is a rule in time; who uses it reads the clock"},
		"internal/debug":        {own: []string{"internal/announce", "internal/bgp", "internal/layer2", "internal/serving"}, never: protocol, reason: "it says what this node announces, also without Kubernetes"},
		"internal/privileges":   {never: protocol, reason: "it looks at this process alone"},
		"internal/serving":      {onlyStd: true, reason: "every program can use it"},
		"internal/static":       {own: []string{"internal/announce", "internal/failover", "internal/ipam"}, never: clients, neverStd: pure, reason: "it turns a file and reports into facts, and does no I/O"},
		"internal/static/*":     {own: []string{"internal/static"}, never: clients, reason: "it looks at one node alone"},
		"internal/reference":    {reason: "tests of the programs use it"},
		"internal/stories":      {onlyStd: true, reason: "tests of the pure packages use it"},
		"internal/browser":      {reason: "tests of pages use it"},
		"internal/growth":       {reason: "tests of every package use it"},
		"internal/version":      {onlyStd: true, reason: "every program can use it"},
		"internal/logs":         {onlyStd: true, reason: "every program can use it"},
		"internal/printable":    {onlyStd: true, neverStd: pure, reason: "every package can use it, also the pure ones"},
		"internal/wait":         {onlyStd: true, neverStd: pure, reason: "every package can use it"},
		"internal/world": {own: []string{"internal/announced", "internal/health", "internal/intent", "internal/ipam", "internal/announce", "api/v1beta1"}, never: clients, neverStd: pure,
			reason: "it asks those who decide, and reaches no API server"},
		"config/crd":            {onlyStd: true, reason: "it holds files"},
		"internal/schema":       {own: []string{"config/crd"}, never: clients, reason: "it reaches no API server"},
		"internal/world/*":      {own: []string{"api/v1beta1", "internal/cluster", "internal/health", "internal/history", "internal/intent", "internal/version", "internal/world"}, reason: "it reads a cluster, and decides nothing"},
		"internal/cluster":      {own: []string{"internal/overlay", "internal/intent", "internal/serving", "internal/version", "api/v1beta1"}, never: whole, reason: "it reads for the programs and decides nothing"},
		"cmd/kubectl-steelyard": {own: []string{"internal/doctor", "internal/health", "internal/history", "internal/printable", "internal/migrate", "internal/intent", "internal/ipam", "internal/announce", "internal/world", "internal/world/*", "internal/cluster", "internal/schema", "internal/version", "api/v1beta1"}, reason: "it decides as the programs do, by the same packages"},
		"api/v1beta1":           {never: clients, reason: "others import it"},
		"controller":            {own: []string{"internal/announcer", "internal/ipam", "internal/intent", "internal/leader", "internal/logs", "internal/planner", "internal/cluster", "internal/overview/page", "internal/report", "internal/source", "internal/source/client", "internal/version", "internal/writer", "api/v1beta1"}, never: whole, reason: "it announces nothing, and is no tool that looks at a whole cluster"},
		"speaker":               {own: []string{"internal/damper", "internal/debug", "internal/privileges", "internal/rollout", "internal/ports", "internal/overlay", "internal/readiness", "internal/intent", "internal/ipam", "internal/announce", "internal/cluster", "internal/layer2", "internal/layer2/link", "internal/bgp", "internal/bfd", "internal/bfd/*", "internal/failover", "internal/kubeproxy", "internal/lease", "internal/logs", "internal/membership", "internal/membership/*", "internal/nullroute", "internal/static", "internal/static/*", "internal/status", "internal/version", "api/v1beta1"}, never: whole, reason: "it is wiring, and no tool that looks at a whole cluster"},
		"e2e":                   {own: []string{"e2e/lab"}, reason: "it tries the built programs from outside"},
		"e2e/lab":               {own: []string{"e2e/lab/*"}, reason: "the rack knows the built programs only"},
		"e2e/lab/*":             {own: []string{"e2e/lab/*"}, reason: "the rack knows the built programs only"},
		"e2e/pictures":          {own: []string{"e2e/lab"}, reason: "it draws the built programs from outside"},
		"e2e/rack":              {own: []string{"e2e/lab"}, reason: "it is the rack's command line"},
		"config/images":         {reason: "it packs the built programs"},
		"config/plugin":         {reason: "it packs the built plugin"},
		"docs/site":             {never: clients, reason: "it reads files"},
		"docs/generate":         {never: clients, reason: "it reads files and the built programs"},
		"e2e/kind":              {own: []string{"e2e/kind/*"}, reason: "it is the command line of a kind cluster"},
		"e2e/kind/*":            {own: []string{"e2e/kind/*", "e2e/lab", "e2e/lab/hosts", "e2e/lab/programs"}, reason: "a cluster knows the built programs only"},
		"config/monitoring":     {reason: "it has tests only"},
		"e2e/bench":             {own: []string{"e2e/lab"}, reason: "it measures the built programs from outside"},
		".":                     {reason: "it holds the laws"},
	}
}

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string // of these, and of their own
	GoFiles    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	var all []pkg
	for _, dir := range []string{".", "e2e", "config/images"} { // modules
		out, err := exec.Command("go", "-C", dir, "list", "-json=ImportPath,Dir,Imports,Deps,GoFiles", "./...").Output()
		if err != nil {
			t.Fatalf("go list in %s: %v", dir, err)
		}
		for dec := json.NewDecoder(bytes.NewReader(out)); ; {
			var p pkg
			if err := dec.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
	}
	return all
}

// lawFor finds the law of a room, by its name or by its parent's pattern.
func lawFor(room string) (law, bool) {
	if l, ok := laws()[room]; ok {
		return l, true
	}
	l, ok := laws()[filepath.Dir(room)+"/*"]
	return l, ok
}

func allowed(room string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := filepath.Match(p, room)
		return err == nil && ok
	})
}

func TestEachRoomImportsOnlyWhatItMay(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath+"/", module)
		room = strings.TrimSuffix(room, "/")
		if room == "" {
			room = "."
		}
		l, ok := lawFor(room)
		if !ok {
			t.Errorf("room %s has no law: add it to laws()", room)
			continue
		}
		for _, linked := range p.Deps {
			if slices.ContainsFunc(l.never, func(n string) bool { return strings.HasPrefix(linked, n) }) && !slices.Contains(p.Imports, linked) {
				t.Errorf("%s must not link %s: %s", room, linked, l.reason)
			}
		}
		for _, imported := range p.Imports {
			own, isOwn := strings.CutPrefix(imported, module)
			isStd := !strings.Contains(strings.Split(imported, "/")[0], ".")
			isForbidden := slices.ContainsFunc(l.never, func(n string) bool { return strings.HasPrefix(imported, n) })
			switch {
			case isForbidden:
			case isOwn && !allowed(own, slices.Concat(l.own, shared())):
			case isStd && slices.Contains(l.neverStd, imported):
			case !isOwn && !isStd && l.onlyStd:
			default:
				continue
			}
			t.Errorf("%s must not import %s: %s", room, imported, l.reason)
		}
	}
}

func TestEachPackageHasOneDocument(t *testing.T) {
	for _, p := range packages(t) {
		var docs []string
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				docs = append(docs, name)
			}
		}
		if len(p.GoFiles) > 0 && len(docs) != 1 {
			t.Errorf("%s: want one file with a package document, have %d: %v", p.ImportPath, len(docs), docs)
		}
	}
}

// TestTheSpeakerAsksItsNodeDirectly has one file of the speaker and of its packages
// make requests: its client knows no proxy.
func TestTheSpeakerAsksItsNodeDirectly(t *testing.T) {
	for _, path := range goFiles(t) {
		dir := filepath.Dir(path)
		if dir != "speaker" && dir != "internal/kubeproxy" && dir != "internal/status" && dir != "internal/lease" || strings.HasSuffix(path, "_test.go") || path == "internal/kubeproxy/ask.go" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{"http.Client{", "http.DefaultClient", "http.DefaultTransport", "http.Get(", "http.Head(", "http.Post(", "http.PostForm("} {
			if bytes.Contains(text, []byte(other)) {
				t.Errorf("%s has %q: use package kubeproxy (internal/kubeproxy/ask.go)", path, other)
			}
		}
	}
}

func goFiles(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || path != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasPrefix(d.Name(), "zz_generated") && !strings.HasSuffix(path, ".pb.go"):
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGeneratedFilesAreFresh generates everything into a folder of its own and
// compares it with what is committed.
func TestGeneratedFilesAreFresh(t *testing.T) {
	dir := t.TempDir()
	path, err := exec.Command("go", "-C", "tools", "tool", "-n", "controller-gen").Output()
	if err != nil {
		t.Fatalf("build controller-gen: %v", err)
	}
	gen := exec.Command(strings.TrimSpace(string(path)), "object", "crd", "paths=./api/...",
		"output:crd:dir="+filepath.Join(dir, "crd"), "output:object:dir="+filepath.Join(dir, "object"))
	if out, err := gen.CombinedOutput(); err != nil {
		t.Fatalf("generate: %v\n%s", err, out)
	}
	if out, err := exec.Command("make", "times", "CRDS="+filepath.Join(dir, "crd")).CombinedOutput(); err != nil {
		t.Fatalf("make times: %v\n%s", err, out)
	}
	same := func(fresh, committed string) {
		want, err := os.ReadFile(fresh)
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(committed)
		if err != nil || !bytes.Equal(want, have) {
			t.Errorf("%s is stale: run \"make generate\" and commit the result", committed)
		}
	}
	crds, err := filepath.Glob(filepath.Join(dir, "crd", "*.yaml"))
	if err != nil || len(crds) == 0 {
		t.Fatalf("controller-gen wrote no kinds: %v", err)
	}
	list, err := os.ReadFile("config/crd/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, crd := range crds {
		same(crd, filepath.Join("config/crd", filepath.Base(crd)))
		if !strings.Contains(string(list), filepath.Base(crd)) {
			t.Errorf("config/crd/kustomization.yaml does not list %s", filepath.Base(crd))
		}
	}
	committed, err := filepath.Glob("config/crd/steelyard.dev_*.yaml")
	if err != nil || len(committed) != len(crds) {
		t.Errorf("config/crd holds %d kinds, the API has %d: %v", len(committed), len(crds), err)
	}
	same(filepath.Join(dir, "object", "zz_generated.deepcopy.go"), "api/v1beta1/zz_generated.deepcopy.go")
	proto, err := os.ReadFile("api/ipam/v1/ipam.proto")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ipam.proto"), proto, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "-C", "tools", "run", "./protogen", dir, "ipam.proto").CombinedOutput(); err != nil {
		t.Fatalf("generate the protocol: %v\n%s", err, out)
	}
	for _, name := range []string{"ipam.pb.go", "ipam_grpc.pb.go"} {
		same(filepath.Join(dir, name), filepath.Join("api/ipam/v1", name))
	}
}

// gobgp v3 parses what a router sends, and panics over it: no package may use it. Of v4 the
// packet code encodes; nor may any use its server.
func TestNoShippedProgramHoldsABGPServer(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./speaker", "./controller", "./cmd/kubectl-steelyard").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if !strings.Contains(string(out), module+"internal/bgp/fsm\n") {
		t.Fatal("the list lacks what the speaker has")
	}
	for dep := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(dep, "github.com/osrg/gobgp/") && !strings.HasPrefix(dep, "github.com/osrg/gobgp/v4/pkg/packet/") {
			t.Errorf("a program that is shipped holds %s", dep)
		}
	}
}

// What comes from a router is read by the speaker's own few lines only.
func TestTheSpeakerParsesNothingByGobgp(t *testing.T) {
	files, err := filepath.Glob("internal/bgp/fsm/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"bgp.Parse", "DecodeFromBytes"} {
			if !strings.HasSuffix(path, "_test.go") && strings.Contains(string(text), word) {
				t.Errorf("%s has %s", path, word)
			}
		}
	}
}
