package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
	"github.com/steelyard-lb/steelyard/e2e/lab/relay"
)

// The API server, and the relay in front of it.
const (
	apiAddress   = "192.0.2.3:6443"
	relayAddress = "192.0.2.3:6444"
)

// controllerServer is where the controllers find the API server.
func (r *Rack) controllerServer() string {
	if r.Relay {
		return relayAddress
	}
	return apiAddress
}

func (r *Rack) relayProcess() hosts.Process {
	return hosts.Process{Host: "control", Name: "relay", Argv: []string{filepath.Join(r.Bin, "rack"), "relay", "--name", r.Name}}
}

// Delay makes all that passes between the controllers and the API server from
// now on wait for d, in each direction; 0 ends it. The rack needs its Relay.
func (r *Rack) Delay(d time.Duration) error {
	if !r.Relay {
		return fmt.Errorf("rack %s has no relay: it must be made with one (rack up --relay)", r.Name)
	}
	if d < 0 || d > time.Minute {
		return fmt.Errorf("a delay of %s: want 0 to 1m", d)
	}
	return writeFile(r.path("delay"), []byte(d.String()))
}

// delay is what Delay said last.
func (r *Rack) delay() (time.Duration, error) {
	text, err := os.ReadFile(r.path("delay"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the delay: %w", err)
	}
	return time.ParseDuration(strings.TrimSpace(string(text)))
}

// RunRelay passes the controllers' connections on to the API server until ctx
// ends. It is the process relay of host control; a test has no use for it.
func RunRelay(ctx context.Context, name string, log *slog.Logger) error {
	r, err := Open(name)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", relayAddress)
	if err != nil {
		return fmt.Errorf("listen for the controllers: %w", err)
	}
	return relay.Relay{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", apiAddress)
		},
		Delay: func() time.Duration {
			d, err := r.delay()
			if err != nil {
				log.Error("passing data on at once", "err", err)
			}
			return d
		},
		Failed: func(err error) { log.Info("a connection broke", "err", err) },
	}.Serve(ctx, l)
}
