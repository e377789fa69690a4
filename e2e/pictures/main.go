// Command pictures draws the pictures of docs/pictures that show running programs: the
// controller's page, what the plugin prints, a cut cable, the dashboard. It starts a
// rack and shows what is there; nothing in them is invented.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == "dial" { // this program again, on the rack's client
		dial(ctx, os.Args[2])
		return
	}
	name := flag.String("name", "pictures", "name of the rack that is made, and removed in the end")
	to := flag.String("to", "docs/pictures", "folder for the pictures")
	flag.Parse()
	if err := run(ctx, *name, *to); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

// studio is a rack whose programs are drawn.
type studio struct {
	rack *lab.Rack
	to   string
}

func run(ctx context.Context, name, to string) (err error) {
	if err := lab.Down(name); err != nil && !errors.As(err, new(*lab.NotFoundError)) {
		return err
	}
	rack, err := lab.Up(ctx, lab.Options{Name: name, SpeakerFlags: []string{"--metrics-bind-address=:7474"}}, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Down(name)) }()
	s := &studio{rack, to}
	p, err := s.startPrometheus(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	for _, step := range []func(context.Context) error{s.fill, s.terminals, s.page, s.cut} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return s.dashboard(ctx, p)
}

// fill gives the cluster something to show: the samples of the documentation, and a
// Service whose addresses the router learns.
func (s *studio) fill(ctx context.Context) error {
	const routed = `apiVersion: v1
kind: Service
metadata:
  name: routed
  annotations: {steelyard.dev/address-pool: routed}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`
	samples := filepath.Join(s.rack.Root, "config", "samples")
	for _, command := range []struct {
		input string
		args  string
	}{
		{"", "apply -f " + samples + "/layer2.yaml -f " + samples + "/bgp.yaml -f " + samples + "/service.yaml"},
		{routed, "apply -f -"},
		{"", "scale deployment web --replicas=2"},
		{"", "rollout status deployment/web --timeout=60s"},
	} {
		if _, err := s.on(ctx, "control", command.input, append([]string{"kubectl"}, strings.Fields(command.args)...)...); err != nil {
			return err
		}
	}
	return s.until(ctx, func() error {
		_, err := s.on(ctx, "control", "", s.plugin(), "status")
		return err
	})
}

// plugin is the path of kubectl's plugin.
func (s *studio) plugin() string { return filepath.Join(s.rack.Bin, "kubectl-steelyard") }

// terminals draws what the plugin prints.
func (s *studio) terminals(ctx context.Context) error {
	for file, args := range map[string][]string{"status": {"status"}, "explain": {"explain", "svc/web"}} {
		out, err := s.on(ctx, "control", "", append([]string{s.plugin()}, args...)...)
		if err != nil {
			return err
		}
		title := "kubectl steelyard " + strings.Join(args, " ")
		if err := s.save(file+".svg", terminal(title, out)); err != nil {
			return err
		}
	}
	return nil
}

// page has a browser show the controller's page.
func (s *studio) page(ctx context.Context) error {
	for scheme, setting := range map[string]string{"dark": "0", "light": "1"} {
		file, err := filepath.Abs(filepath.Join(s.to, "page-"+scheme+".png"))
		if err != nil {
			return err
		}
		args := []string{"chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1430",
			"--blink-settings=preferredColorScheme=" + setting, "--screenshot=" + file, "http://" + s.rack.MetricsAddress("controller") + "/"}
		if _, err := s.on(ctx, "control", "", args...); err != nil {
			return err
		}
	}
	return nil
}

// on runs a command on a host and returns what it prints.
func (s *studio) on(ctx context.Context, host, input string, args ...string) (string, error) {
	cmd := s.rack.Command(ctx, host, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// until repeats what fails, for half a minute.
func (s *studio) until(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := do()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *studio) save(file string, text string) error {
	return os.WriteFile(filepath.Join(s.to, file), []byte(text), 0o644)
}

// nodes are the rack's.
func (s *studio) nodes() []string {
	var out []string
	for i := range max(s.rack.Nodes, 1) {
		out = append(out, fmt.Sprintf("node%d", i+1))
	}
	return out
}
