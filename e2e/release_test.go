package e2e

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
	"github.com/steelyard-lb/steelyard/e2e/lab/kubelet"
)

// releases makes releases by "make release", and publishes them as the release
// workflow does, in a registry on the loopback of this machine and of the cluster's
// hosts: $TO of this checkout, of the version that CHANGELOG.md begins with; and, with
// the word both, $FROM of the tag before, or, where there is none, of the commit before,
// as a candidate for $TO. $TO_CHART and $FROM_CHART are the charts' versions. $RELEASES
// holds their files, in folders of these names; $REGISTRY is where images and charts are.
// A rack's nodes pull nothing: it gets the programs of the images unpacked.
func (s *story) releases(ts *testscript.TestScript, neg bool, args []string) {
	both := slices.Equal(args, []string{"both"})
	if neg || len(args) != 0 && !both {
		ts.Fatalf("usage: releases [both]")
	}
	root, err := filepath.Abs("..")
	ts.Check(err)
	r := publisher{ts: ts, root: root, folder: filepath.Join(ts.Getenv("WORK"), "releases")}
	if k, ok := s.stage.(*kindStage); ok {
		r.serve(namespacesOf(k)...)
	} else {
		r.rack = s.rack(ts).Name
		r.serve(r.rack + "-control")
	}
	ts.Setenv("RELEASES", r.folder)
	ts.Setenv("REGISTRY", r.at)
	to := nextVersion(ts, root)
	if both {
		tag, sources := r.before(to)
		r.publish("FROM", tag, sources)
	}
	r.publish("TO", to, root)
}

// publisher makes releases and puts them into a registry of its own.
type publisher struct {
	ts           *testscript.TestScript
	root, folder string // the sources; where the files of releases go
	at           string // registry and path
	rack         string // whose nodes run the images' programs; "": the nodes pull them
}

// before returns the tag and the sources of the release before: of the newest tag; where there
// is none, of the commit before, and in a checkout without history of this one, as a candidate.
func (r *publisher) before(to string) (tag, sources string) {
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", r.root}, args...)...).Output()
		if err != nil {
			r.ts.Logf("git %s: %v", strings.Join(args, " "), err)
		}
		return string(out)
	}
	if newest, _, _ := strings.Cut(git("tag", "--sort=-v:refname", "--merged", "HEAD", "v[0-9]*"), "\n"); newest != "" && newest != to {
		return newest, r.sourcesOf(newest)
	}
	if commit := strings.TrimSpace(git("rev-parse", "--quiet", "--verify", "HEAD~1")); commit != "" {
		return to + "-rc.1", r.sourcesOf(commit)
	}
	return to + "-rc.1", r.root
}

// sourcesOf checks a commit out.
func (r *publisher) sourcesOf(commit string) string {
	dir := filepath.Join(r.ts.Getenv("WORK"), "from")
	output(r.ts, "git", "-C", r.root, "worktree", "add", "--detach", dir, commit)
	r.ts.Defer(func() {
		if out, err := exec.Command("git", "-C", r.root, "worktree", "remove", "--force", dir).CombinedOutput(); err != nil {
			r.ts.Logf("remove the sources of %s: %v\n%s", commit, err, out)
		}
	})
	return dir
}

// publish makes a release of sources, and sets variables for it whose names begin
// with name.
func (r *publisher) publish(name, tag, sources string) {
	dist, version := filepath.Join(r.folder, tag), strings.TrimPrefix(tag, "v")
	// The machine's architecture alone: the others take minutes. One at a time: the programs
	// are built into one place.
	output(r.ts, "flock", sources, "make", "-C", sources, "release", "TAG="+tag, "VERSION="+tag, "PUSH="+r.at, "DIST="+dist, "RELEASE_ARCHES="+runtime.GOARCH, "PLATFORMS=linux-"+runtime.GOARCH)
	output(r.ts, helmProgram(r.ts), "push", filepath.Join(dist, "steelyard-"+version+".tgz"), "oci://"+r.at+"/charts", "--plain-http")
	images, err := os.ReadFile(filepath.Join(dist, "images.txt"))
	r.ts.Check(err)
	for image := range strings.FieldsSeq(string(images)) {
		if r.rack != "" {
			r.unpack(image, kubelet.Unpacked("/run/steelyard-rack/"+r.rack, image))
		}
	}
	r.ts.Setenv(name, tag)
	r.ts.Setenv(name+"_CHART", version)
}

// unpack pulls an image, and writes its files; a link leads to the first, its program.
func (r *publisher) unpack(image, link string) {
	folder := filepath.Join(r.folder, "unpacked", filepath.Base(link))
	var program string
	pulled(r.ts, image, func(h *tar.Header, text []byte) {
		file := filepath.Join(folder, h.Name)
		r.ts.Check(errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, text, h.FileInfo().Mode())))
		if program == "" {
			program = file
		}
	})
	r.ts.Check(errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(program, link)))
}

// pulled pulls an image, and calls see with each of its files.
func pulled(ts *testscript.TestScript, image string, see func(*tar.Header, []byte)) {
	reference, err := name.ParseReference(image)
	ts.Check(err)
	pulled, err := remote.Image(reference, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	ts.Check(err)
	layers, err := pulled.Layers()
	ts.Check(err)
	for _, layer := range layers {
		packed, err := layer.Uncompressed()
		ts.Check(err)
		for files := tar.NewReader(packed); ; {
			h, err := files.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			ts.Check(err)
			text, err := io.ReadAll(files)
			ts.Check(err)
			see(h, text)
		}
		ts.Check(packed.Close())
	}
}

// namespacesOf are the networks of a cluster's nodes.
func namespacesOf(k *kindStage) []string {
	var out []string
	for _, node := range []string{"node1", "node2", "node3"} {
		out = append(out, "/proc/"+k.processes[node]+"/ns/net")
	}
	return out
}

// serve serves an empty registry at one address of loopback, here and in other
// network namespaces, until the story ends.
func (r *publisher) serve(namespaces ...string) {
	own, err := net.Listen("tcp", "127.0.0.1:0")
	r.ts.Check(err)
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	r.ts.Defer(func() { _ = server.Close() })
	listeners := []net.Listener{own}
	for _, ns := range namespaces {
		l, err := hosts.Listen(context.Background(), ns, "tcp", own.Addr().String())
		r.ts.Check(err)
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		go func() { _ = server.Serve(l) }() // ends when the server is closed
	}
	r.at = own.Addr().String() + "/steelyard-lb"
}

// nextVersion returns the version that CHANGELOG.md begins with.
func nextVersion(ts *testscript.TestScript, root string) string {
	text, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	ts.Check(err)
	m := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+)\b`).FindSubmatch(text)
	if m == nil {
		ts.Fatalf("CHANGELOG.md does not begin with a version")
	}
	return "v" + string(m[1])
}

// output runs a command of this machine, which must succeed.
func output(ts *testscript.TestScript, argv ...string) string {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		ts.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// helmProgram is the Helm that the chart is tested with.
func helmProgram(ts *testscript.TestScript) string {
	return strings.TrimSpace(output(ts, "go", "-C", filepath.Join("..", "charts"), "tool", "-n", "helm"))
}

// helm runs Helm as the cluster's administrator.
func (s *story) helm(ts *testscript.TestScript, neg bool, args []string) {
	line := s.line("exec", slices.Concat([]string{"control", "--", helmProgram(ts)}, args)...)
	if k, ok := s.stage.(*kindStage); ok {
		line = slices.Concat([]string{helmProgram(ts), "--kubeconfig", k.kubeconfig}, args)
	}
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	fmt.Fprint(ts.Stdout(), string(out))
	if (err == nil) == neg {
		ts.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
