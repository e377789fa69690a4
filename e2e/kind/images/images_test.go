package images

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func builder(t *testing.T) *Builder {
	return &Builder{Log: t.Logf, cache: t.TempDir(), version: "v1"}
}

func TestALayerHoldsItsFilesLinksAndFolders(t *testing.T) {
	b := builder(t)
	from := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(from, []byte("#!"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := b.files("key", []entry{{name: "/etc/x", text: "text"}, program("/bin/tool", from), {name: "/tool", link: "bin/tool"}, {name: "/uploads/"}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(r)
		got = append(got, strings.TrimSpace(h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname+string(text)))
	}
	want := "-rw-r--r-- etc/x text\n-rwxr-xr-x bin/tool #!\nLrw-r--r-- tool bin/tool\ndrwxr-xr-x uploads/"
	if strings.Join(got, "\n") != want {
		t.Errorf("%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
}

func TestAnArchiveCanBeReadBackAndIsMadeOnce(t *testing.T) {
	b := builder(t)
	l, err := b.files("key", []entry{{name: "/etc/x", text: "text"}})
	if err != nil {
		t.Fatal(err)
	}
	r := recipe{layers: []layer{l}, config: v1.Config{Cmd: []string{"sleep"}}}
	a := b.archive("client", "hosts", r.key())
	for range 2 { // the second finds it done
		if err := b.write(a.Path, map[string]recipe{a.Name: r, "steelyard-kind/router:1": r}); err != nil {
			t.Fatal(err)
		}
	}
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(a.Path) })
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range manifest {
		names = append(names, m.RepoTags...)
	}
	slices.Sort(names)
	if want := []string{a.Name, "steelyard-kind/router:1"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

func TestAnotherRecipeHasAnotherName(t *testing.T) {
	one := recipe{layers: []layer{{key: "a"}}, config: v1.Config{Cmd: []string{"sleep"}}}
	for name, other := range map[string]recipe{
		"another layer":   {layers: []layer{{key: "b"}}, config: one.config},
		"one more layer":  {layers: []layer{{key: "a"}, {key: "b"}}, config: one.config},
		"another command": {layers: one.layers, config: v1.Config{Cmd: []string{"true"}}},
	} {
		if one.key() == other.key() {
			t.Errorf("%s: the same key", name)
		}
	}
}

func TestWhatIsNotKeptIsRemoved(t *testing.T) {
	b := builder(t)
	for _, name := range []string{"node-1.tar", "node-2.tar", "layer-1.tar.new", "own-bounded"} {
		if err := os.WriteFile(filepath.Join(b.cache, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.prune(filepath.Join(b.cache, "node-2.tar")); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(b.cache, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
}
