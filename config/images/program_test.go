package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// built builds a program for an architecture, as the Makefile names it.
func built(t *testing.T, arch, source string) []byte {
	t.Helper()
	dir := t.TempDir()
	file, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(file, []byte("package main\n\n"+source+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, file)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+strings.TrimSuffix(arch, "v7"), "GOARM=7")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build a program for %s: %v\n%s", arch, err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A program that an image can't run is not packed.
func TestWhatCantRunIsNotPacked(t *testing.T) {
	grep, err := exec.LookPath("grep")
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := os.ReadFile(grep)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, arch, says string
		program          []byte
	}{
		{"of another architecture", "s390x", "is for EM_AARCH64, and not for s390x", built(t, "arm64", "func main() {}")},
		{"of another byte order", "ppc64le", "and not for ppc64le", built(t, "ppc64", "func main() {}")},
		{"with libraries", runtime.GOARCH, "needs libraries", libraries},
		{"no program", "amd64", "read the program", []byte("#!/bin/sh\n")},
		{"nothing", "amd64", "make images", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options{bin: t.TempDir(), out: t.TempDir(), arches: []string{c.arch}, tag: "v1.2.3", programs: []string{"controller"}}
			err := os.Mkdir(filepath.Join(o.bin, c.arch), 0o755)
			if c.program != nil {
				err = errors.Join(err, os.WriteFile(filepath.Join(o.bin, c.arch, "controller"), c.program, 0o755))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := o.writeAll(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("want a refusal that says %q, have %v", c.says, err)
			}
		})
	}
}

// What is packed as the speaker has, run by a user other than root, the
// capabilities of its file: always where the kernel may give new privileges,
// and else where the container runtime has them until it runs the file. That is
// why its manifest allows "privilege escalation".
func TestTheFileBringsItsCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	o := made(t, runtime.GOARCH)
	arch := runtime.GOARCH
	text := built(t, arch, `import ("fmt"; "os"; "regexp")

func main() {
	status, err := os.ReadFile("/proc/self/status")
	fmt.Printf("%s %v", regexp.MustCompile("CapEff.*").Find(status), err)
}`)
	if err := os.WriteFile(filepath.Join(o.bin, arch, "speaker"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	image, err := o.image(programs()[1], arch)
	if err != nil {
		t.Fatal(err)
	}
	// A container runtime unpacks it so.
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "speaker")
	each(t, image, func(h *tar.Header, r io.Reader) {
		packed, err := io.ReadAll(r)
		err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(file, packed, 0o755), os.Chmod(file, 0o755))
		if err == nil {
			err = unix.Setxattr(file, "security.capability", []byte(h.PAXRecords["SCHILY.xattr.security.capability"]), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	become := []string{"setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all,+net_raw,+net_admin"}
	for _, c := range []struct {
		name, want string
		argv       []string
	}{
		{"new privileges are allowed", "CapEff:\t0000000000003000", []string{"--", "env"}},
		{"they are not, and the runtime has them (containerd, CRI-O)", "CapEff:\t0000000000003000", []string{"--no-new-privs", "--"}},
		{"they are not, and the runtime has none (Docker)", "CapEff:\t0000000000000000", []string{"--", "setpriv", "--no-new-privs", "--"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := slices.Concat(become, c.argv, []string{file})
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			if err != nil || strings.TrimSuffix(string(out), " <nil>") != c.want {
				t.Errorf("want %q, have %q, %v", c.want, out, err)
			}
		})
	}
}
