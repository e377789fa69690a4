package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// made packs files in place of the real programs, for all platforms.
func made(t *testing.T) options {
	t.Helper()
	dir := t.TempDir()
	o := options{
		bin: filepath.Join(dir, "bin"), out: filepath.Join(dir, "dist"), sources: "../..", tag: "v1.2.3", homepage: "https://example.org/steelyard",
		platforms: []platform{{"linux", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}}, created: time.Unix(1700000000, 0).UTC(),
	}
	for _, p := range o.platforms {
		if err := errors.Join(os.MkdirAll(filepath.Join(o.bin, p.String()), 0o755), os.WriteFile(filepath.Join(o.bin, p.String(), p.program()), []byte("for "+p.String()), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func written(t *testing.T, o options) []byte {
	t.Helper()
	if err := o.write(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(o.out, "krew.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestKrewTakesTheManifest checks what krew checks before it installs a plugin,
// and what its index asks of one.
func TestKrewTakesTheManifest(t *testing.T) {
	var m manifest
	text := written(t, made(t))
	if err := yaml.UnmarshalStrict(text, &m); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, have, pattern string }{
		{"apiVersion", m.APIVersion, `krew\.googlecontainertools\.github\.com/v1alpha2`},
		{"kind", m.Kind, `Plugin`},
		{"name", m.Metadata.Name, `[a-z][a-z-]*`},
		{"version", m.Spec.Version, `v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?`},
		{"homepage", m.Spec.Homepage, `https://\S+`},
		{"shortDescription", m.Spec.ShortDescription, `[^\r\n]{1,50}`},
	} {
		if !regexp.MustCompile("^(?:" + c.pattern + ")$").MatchString(c.have) {
			t.Errorf("%s is %q, want %s", c.what, c.have, c.pattern)
		}
	}
	for line := range strings.Lines(m.Spec.Description + m.Spec.Caveats) {
		if len(line) > 81 {
			t.Errorf("a line is too long for a terminal: %s", line)
		}
	}
	seen := map[string]bool{}
	for _, p := range m.Spec.Platforms {
		l := p.Selector.MatchLabels
		if key := l["os"] + "/" + l["arch"]; len(l) != 2 || l["os"] == "" || l["arch"] == "" || seen[key] {
			t.Errorf("the selector %v is not one for a platform, or is there twice", l)
		} else {
			seen[key] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("there are %d platforms, want 3:\n%s", len(seen), text)
	}
}

// TestTheArchivesAreThoseOfTheManifest installs as krew does: the sum of what
// the address names must be right, and the program in it.
func TestTheArchivesAreThoseOfTheManifest(t *testing.T) {
	o := made(t)
	var m manifest
	if err := yaml.Unmarshal(written(t, o), &m); err != nil {
		t.Fatal(err)
	}
	for i, p := range m.Spec.Platforms {
		file, ok := strings.CutPrefix(p.URI, "https://example.org/steelyard/releases/download/v1.2.3/")
		if !ok || file != path.Base(p.URI) {
			t.Errorf("%s is not where a release's files are", p.URI)
		}
		text, err := os.ReadFile(filepath.Join(o.out, file))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(text); p.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: the sum is wrong", file)
		}
		files := unpacked(t, text)
		want := []string{"LICENSE:0644", p.Bin + ":0755"}
		if p.Selector.MatchLabels["os"] != "windows" {
			want = append(want, "kubectl_complete-steelyard:0755")
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, files.names); diff != "" {
			t.Errorf("%s: want -, have +:\n%s", file, diff)
		}
		if have, want := files.text[p.Bin], "for "+o.platforms[i].String(); have != want {
			t.Errorf("%s holds %q, want %q", file, have, want)
		}
	}
}

// content is what an archive holds.
type content struct {
	names []string // each with its mode, sorted
	text  map[string]string
}

func unpacked(t *testing.T, archive []byte) content {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	out := content{text: map[string]string{}}
	for files := tar.NewReader(zipped); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(out.names)
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		out.names = append(out.names, fmt.Sprintf("%s:%04o", h.Name, h.Mode))
		out.text[h.Name] = string(text)
	}
}

func TestEqualProgramsGiveEqualArchives(t *testing.T) {
	first, second := made(t), made(t)
	second.bin = first.bin
	if diff := cmp.Diff(string(written(t, first)), string(written(t, second))); diff != "" {
		t.Errorf("the sums differ:\n%s", diff)
	}
}

func TestAProgramThatIsNotThereIsAnError(t *testing.T) {
	o := made(t)
	o.platforms = append(o.platforms, platform{"linux", "riscv64"})
	if err := o.write(); err == nil || !strings.Contains(err.Error(), "linux-riscv64") {
		t.Errorf("%v", err)
	}
}
