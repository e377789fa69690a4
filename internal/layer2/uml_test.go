package layer2

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// envUML is set in a process that runs in user-mode Linux.
const envUML = "STEELYARD_LAYER2_UML"

// umlEnded is what such a process says at its end, before the exit code.
const umlEnded = "user-mode Linux ends, exit code "

// TestMain lets a test run as the first process of user-mode Linux: a kernel in an
// ordinary process, with what the kernel of this machine may lack.
func TestMain(m *testing.M) {
	if os.Getenv(envUML) == "" || os.Getpid() != 1 {
		os.Exit(m.Run())
	}
	code := 1
	if err := bootUML(); err != nil {
		fmt.Println(err)
	} else {
		code = m.Run()
	}
	fmt.Println(umlEnded, code)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // it does not return
}

// bootUML does what an init does, as far as a test needs it.
func bootUML() error {
	must(os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
	must(os.Setenv("TMPDIR", "/run")) // /tmp is the machine's, and may hold this program
	for _, m := range []struct{ kind, on string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.on, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.on, err)
		}
	}
	// In this order: each needs those before it.
	modules := []string{"crc-ccitt.ko", "ipv6.ko", "llc.ko", "stp.ko", "garp.ko", "mrp.ko", "8021q.ko", "veth.ko"}
	found := make([]string, len(modules))
	err := filepath.WalkDir("/usr/lib/uml/modules", func(path string, _ fs.DirEntry, err error) error {
		if i := slices.Index(modules, filepath.Base(path)); i >= 0 {
			found[i] = path
		}
		return err
	})
	for _, path := range found {
		if path != "" && err == nil {
			err = loadModule(path)
		}
	}
	return err
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// withVLANs runs a test where the kernel has VLANs: here, or in user-mode Linux.
func withVLANs(t *testing.T, test func(*testing.T)) {
	if _, err := os.Stat("/proc/net/vlan/config"); err == nil || os.Getenv(envClient) != "" {
		test(t)
		return
	}
	uml, err := exec.LookPath("linux.uml")
	if err != nil {
		t.Skip("this machine's kernel has no VLANs (8021q), and user-mode Linux is not installed (make test-packages)")
	}
	t.Parallel()
	self := filepath.Join(t.TempDir(), "layer2.test") // as it is, but for the race detector, which can't run there
	build := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-c", "-o", self, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build this test: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "timeout", "--kill-after=5s", "100s", uml, "mem=256M", "rootfstype=hostfs", "ro", "init="+self, envUML+"=1", "panic=-1",
		"con=null", "con0=fd:0,fd:1", "--", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=90s")
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	switch text := string(out); {
	case !strings.Contains(text, umlEnded):
		t.Skipf("this machine's kernel has no VLANs (8021q), and user-mode Linux can't run a program here: %v\n%s", err, text)
	case !strings.Contains(text, umlEnded+" 0"):
		t.Errorf("in user-mode Linux: %v\n%s", err, text)
	default:
		t.Logf("in user-mode Linux:\n%s", text)
	}
}
