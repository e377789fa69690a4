// Command plugin packs the built kubectl plugin for people: for each system an
// archive with the program, its license and its completion, and the manifest by
// which krew, the package manager of kubectl's plugins, installs it. Equal
// programs give equal archives.
package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// name of the plugin, as kubectl and krew call it.
const name = "steelyard"

// options are the flags.
type options struct {
	bin       string
	out       string
	sources   string // the repository
	platforms []platform
	tag       string
	created   time.Time
	homepage  string
}

// platform is a system that the plugin runs on, by Go's names, which are krew's.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "-" + p.arch }

// program is the file's name there.
func (p platform) program() string {
	if p.os == "windows" {
		return "kubectl-" + name + ".exe"
	}
	return "kubectl-" + name
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs, those of a platform in a folder OS-ARCH")
	flag.StringVar(&o.out, "out", "dist", "folder for what is written")
	flag.StringVar(&o.sources, "sources", ".", "folder of the repository")
	platforms := flag.String("platforms", "linux-amd64", "comma list of OS-ARCH")
	flag.StringVar(&o.tag, "tag", "", "tag of the release, as v1.2.3")
	created := flag.Int64("created", 0, "time of the files, in seconds since 1970: that of the commit, so that equal sources give equal archives")
	flag.StringVar(&o.homepage, "home", "https://github.com/steelyard-lb/steelyard", "where the releases are")
	flag.Parse()
	o.created = time.Unix(*created, 0).UTC()
	for text := range strings.SplitSeq(*platforms, ",") {
		system, arch, _ := strings.Cut(text, "-")
		o.platforms = append(o.platforms, platform{system, arch})
	}
	if err := o.write(); err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		os.Exit(1)
	}
}

// write makes the archives, and the manifest that has their sums.
func (o options) write() error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("make the folder of the archives: %w", err)
	}
	m := o.manifest()
	for _, p := range o.platforms {
		file := fmt.Sprintf("kubectl-%s-%s.tar.gz", name, p)
		sum, err := o.pack(p, filepath.Join(o.out, file))
		if err != nil {
			return err
		}
		m.Spec.Platforms = append(m.Spec.Platforms, build{
			Selector: selector{map[string]string{"os": p.os, "arch": p.arch}},
			URI:      o.homepage + "/releases/download/" + o.tag + "/" + file, SHA256: sum, Bin: p.program(),
		})
	}
	text, err := yaml.Marshal(m)
	if err != nil {
		return fmt.Errorf("write krew's manifest: %w", err)
	}
	path := filepath.Join(o.out, "krew.yaml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write krew's manifest: %w", err)
	}
	fmt.Printf("%s   install it with: kubectl krew install --manifest=%[1]s --archive=ARCHIVE\n", path)
	return nil
}

// file is one that goes into an archive.
type file struct {
	from, as string
	mode     int64
}

func (o options) files(p platform) []file {
	out := []file{
		{filepath.Join(o.bin, p.String(), p.program()), p.program(), 0o755},
		{filepath.Join(o.sources, "LICENSE"), "LICENSE", 0o644},
	}
	if p.os == "windows" {
		return out // what completes is a script of a shell
	}
	complete := "kubectl_complete-" + name
	return append(out, file{filepath.Join(o.sources, "cmd", "kubectl-"+name, complete), complete, 0o755})
}

// pack writes the archive of one platform, and returns its SHA-256.
func (o options) pack(p platform, path string) (string, error) {
	to, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("make an archive: %w", err)
	}
	defer func() { _ = to.Close() }() // the second time, unless something failed
	sum := sha256.New()
	zipped := gzip.NewWriter(io.MultiWriter(to, sum))
	archive := tar.NewWriter(zipped)
	for _, f := range o.files(p) {
		text, err := os.ReadFile(f.from)
		if err != nil {
			return "", fmt.Errorf("pack the plugin for %s: %w", p, err)
		}
		header := &tar.Header{Name: f.as, Mode: f.mode, Size: int64(len(text)), ModTime: o.created, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return "", fmt.Errorf("pack %s: %w", f.as, err)
		}
		if _, err := archive.Write(text); err != nil {
			return "", fmt.Errorf("pack %s: %w", f.as, err)
		}
	}
	for _, c := range []io.Closer{archive, zipped, to} {
		if err := c.Close(); err != nil {
			return "", fmt.Errorf("write %s: %w", path, err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
