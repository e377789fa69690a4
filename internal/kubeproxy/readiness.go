// Package kubeproxy finds out what kube-proxy says on this node: whether it forwards
// at all (/healthz), in which mode it works (/proxyMode), and whether it sends to a
// Service's endpoints here (the Service's health check port).
package kubeproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// pollInterval is the pause between two questions.
	pollInterval = 250 * time.Millisecond
	// pollTimeout is how long to wait for a node to become ready: not for ever, since
	// the question may be the wrong one.
	pollTimeout = time.Minute
	// booting is how long after its boot a node may not run all it will run.
	booting = 5 * time.Minute
)

// Readiness finds out whether this node forwards what is sent to addresses of
// Services: a node that comes back must have kube-proxy's rules before it draws
// traffic. Once it does, it counts as doing so.
type Readiness struct {
	url     string // to ask; empty: it does
	node    string
	record  func(cluster.Event)
	log     *slog.Logger
	Changed chan struct{} // buffered 1
	yes     atomic.Bool
}

// NewReadiness returns what asks at url until this node, of that name, forwards. An
// empty url: it counts as ready at once.
func NewReadiness(url, node string, record func(cluster.Event), log *slog.Logger) *Readiness {
	f := &Readiness{url: url, node: node, record: record, log: log, Changed: make(chan struct{}, 1)}
	f.yes.Store(url == "")
	return f
}

func (f *Readiness) Ready() bool { return f.yes.Load() }

// Run asks until there is an answer.
func (f *Readiness) Run(ctx context.Context) error {
	if f.Ready() {
		return nil
	}
	var up unix.Sysinfo_t
	if err := unix.Sysinfo(&up); err != nil {
		return fmt.Errorf("read for how long this node has been up: %w", err)
	}
	start := time.Now()
	for reported := false; ; {
		err := f.Ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if waited := time.Since(start); settled(err, waited, time.Duration(up.Uptime)*time.Second+waited) {
			f.finish(err, waited, reported)
			return nil
		}
		if !reported {
			reported = true
			f.report(corev1.EventTypeWarning, v1beta1.ReasonNotForwarding, fmt.Sprintf("no BGP routes are offered before this node forwards, for %s at most: %v", pollTimeout, err))
		}
		if !wait.Sleep(ctx, pollInterval) {
			return nil
		}
	}
}

// settled reports whether to ask no more: the answer is yes, or it has taken too
// long, or nothing listens, on a node that has not just booted. So a
// cluster without kube-proxy doesn't wait at every restart of a speaker.
func settled(err error, waited, up time.Duration) bool {
	return err == nil || waited >= pollTimeout || errors.Is(err, syscall.ECONNREFUSED) && up >= booting
}

// finish has the routes offered.
func (f *Readiness) finish(err error, waited time.Duration, reported bool) {
	f.yes.Store(true)
	wait.Signal(f.Changed)
	switch {
	case err != nil:
		f.report(corev1.EventTypeWarning, v1beta1.ReasonForwardingUnknown, fmt.Sprintf("BGP routes are offered although nothing reports that this node forwards; set --ready-check to what can tell, or to nothing: %v", err))
	case reported:
		f.report(corev1.EventTypeNormal, v1beta1.ReasonForwarding, fmt.Sprintf("this node forwards, after %s: BGP routes are offered", waited.Round(time.Millisecond)))
	}
}

// report logs, and tells the Node; events name it as those of the kubelet do.
func (f *Readiness) report(kind, reason, text string) {
	f.log.Info("readiness to forward", "reason", reason, "text", text)
	f.record(cluster.Event{
		About: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: f.node, UID: types.UID(f.node)},
		Type:  kind, Reason: reason, Action: "Announce", Message: text,
	})
}

// Ask returns nil if the answer is yes, or nothing listens.
func (f *Readiness) Ask(ctx context.Context) error {
	if f.url == "" {
		return nil
	}
	_, err := get(ctx, f.url, time.Second)
	return err
}
