// Package engine finds a container engine, or starts Docker's by hand where there
// is none: without systemd, in a network namespace of its own, so that its
// bridges, addresses and firewall rules are its own, and can't conflict with what
// the machine has.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

const (
	// Namespace is the network namespace of an engine that was started by hand.
	Namespace = "steelyard-kind"
	// run holds the running engine's files; data is what it keeps: images.
	run, data = "/run/steelyard-kind", "/var/lib/steelyard-kind"
	// outer and inner are this machine's address and the engine's on the cable
	// between them, by which people on this machine reach published ports.
	outer, inner = "169.254.77.1", "169.254.77.2"
)

// Engine is a container engine that answers.
type Engine struct {
	// Own tells that it was started by hand, in Namespace.
	Own bool
	// Address is where this machine reaches ports that containers publish.
	Address string
	// CgroupV1 tells that containers have cgroups of version 1.
	CgroupV1 bool
}

// Find finds an engine that runs: one of ours, else the one that docker finds.
// It fails with fs.ErrNotExist if there is none.
func Find(ctx context.Context) (*Engine, error) {
	own, theirs := &Engine{Own: true, Address: inner}, &Engine{Address: "127.0.0.1"}
	for _, e := range []*Engine{own, theirs} {
		if _, err := os.Stat(filepath.Join(run, "docker.sock")); e.Own && err != nil {
			continue
		}
		short, cancel := context.WithTimeout(ctx, 30*time.Second) // a busy one is slow
		version, err := e.Docker(short, "info", "--format", "{{.CgroupVersion}}")
		cancel()
		if err == nil {
			e.CgroupV1 = strings.TrimSpace(version) == "1"
			return e, nil
		}
	}
	return nil, fmt.Errorf("container engine: %w", fs.ErrNotExist)
}

// Start starts Docker's engine by hand. runtime is a program that takes runc's
// place where this machine lacks a capability (see command bounded).
func Start(ctx context.Context, runtime string) (*Engine, error) {
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		return nil, fmt.Errorf("no container engine runs, and none is installed (Debian has docker.io): %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("no container engine runs, and only root may start one")
	}
	if err := cable(ctx); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(run, 0o711); err != nil {
		return nil, err
	}
	if pid, runs, err := process(); err != nil {
		return nil, err
	} else if runs {
		return nil, fmt.Errorf("the engine (dockerd, %d) runs and does not answer", pid)
	}
	if err := os.Remove(pidFile()); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that crashed
		return nil, err
	}
	log, err := os.Create(filepath.Join(run, "dockerd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not "ip netns exec": that would hide the cgroups, which are below /sys.
	cmd := exec.Command("nsenter", "--net=/run/netns/"+Namespace, dockerd, "--host=unix://"+filepath.Join(run, "docker.sock"),
		"--data-root="+data, "--exec-root="+filepath.Join(run, "exec"), "--pidfile="+pidFile(), "--bridge=none",
		"--add-runtime=bounded="+runtime, "--default-runtime=bounded")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start dockerd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ready(ctx, ended, log.Name())
}

// ready waits until the engine that was started answers. ended tells that dockerd,
// which writes to log, has ended.
func ready(ctx context.Context, ended <-chan error, log string) (*Engine, error) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if e, err := Find(ctx); err == nil && e.Own {
			return e, e.suits(ctx)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-ended:
			text, _ := os.ReadFile(log)
			return nil, fmt.Errorf("dockerd ended: %v\n%s", err, text)
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("dockerd does not answer after a minute: see %s", log)
}

// suits tells why an engine can't hold a cluster: without overlays each of its
// containers would be a copy of its image.
func (e *Engine) suits(ctx context.Context) error {
	driver, err := e.Docker(ctx, "info", "--format", "{{.Driver}}")
	if driver = strings.TrimSpace(driver); err == nil && driver == "vfs" {
		err = fmt.Errorf("the engine has no overlay file system here, only %s", driver)
	}
	if err != nil {
		return errors.Join(err, Stop())
	}
	return nil
}

// cable makes the engine's namespace and connects it to this machine's.
func cable(ctx context.Context) error {
	if _, err := os.Stat("/run/netns/" + Namespace); err == nil {
		return nil
	}
	err := hosts.IP(ctx, "", fmt.Sprintf("netns add %s\nlink add name kind-engine type veth peer name machine netns %[1]s\n"+
		"address add %s/30 dev kind-engine\nlink set kind-engine up\n", Namespace, outer))
	if err != nil {
		return fmt.Errorf("make the engine's network namespace: %w", err)
	}
	return hosts.IP(ctx, Namespace, fmt.Sprintf("link set lo up\naddress add %s/30 dev machine\nlink set machine up\n", inner))
}

func pidFile() string { return filepath.Join(run, "dockerd.pid") }

// Left tells whether there is anything of an engine that was started by hand,
// running or not.
func Left() bool {
	_, err := os.Stat(run)
	return err == nil
}

// Stop ends the engine that was started by hand, if there is one, and removes its
// namespace. The images that it has stay on the disk.
func Stop() error {
	if !Left() {
		return nil
	}
	if err := end(); err != nil {
		return err
	}
	if err := hosts.Remove(Namespace); err != nil {
		return err
	}
	_ = os.Remove("/lib/modules") // nodes mount it; Docker makes it where there is none. Fails if it holds any
	return os.RemoveAll(run)
}

// process returns the number of the engine's process, and whether it runs.
func process() (pid int, runs bool, err error) {
	text, err := os.ReadFile(pidFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the number of dockerd: %w", err)
	}
	return pid, hosts.Alive(pid), nil
}

// end asks the engine to end, and waits until it has.
func end() error {
	pid, runs, err := process()
	if err != nil || !runs {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end dockerd: %w", err)
	}
	for stop := time.Now().Add(time.Minute); time.Now().Before(stop); time.Sleep(100 * time.Millisecond) {
		if !hosts.Alive(pid) {
			return nil
		}
	}
	return fmt.Errorf("dockerd (%d) has not ended after a minute", pid)
}

// Purge removes what a stopped engine of ours left on the disk. One that crashed
// may have left the folder mounted on itself.
func Purge() error {
	for unix.Unmount(data, unix.MNT_DETACH) == nil {
	}
	return os.RemoveAll(data)
}

// Command is a command that runs on the engine's machine: in its network
// namespace, with docker talking to it.
func (e *Engine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	if e.Own {
		argv = append([]string{"nsenter", "--net=/run/netns/" + Namespace}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = os.Environ()
	if e.Own {
		cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+filepath.Join(run, "docker.sock"))
	}
	return cmd
}

// Docker runs a command of docker and returns what it wrote.
func (e *Engine) Docker(ctx context.Context, args ...string) (string, error) {
	cmd := e.Command(ctx, append([]string{"docker"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), nil
}
