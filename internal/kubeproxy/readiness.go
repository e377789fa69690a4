// Package kubeproxy asks kube-proxy on this node whether it forwards at all (/healthz), in
// which mode it works (/proxyMode), and whether it sends to a Service's endpoints here (the
// Service's health check port). Where there is no kube-proxy it finds the program that forwards
// in its place, and asks that.
//
// It decides when to stop waiting for kube-proxy. It does not decide which routes are
// advertised meanwhile: the speaker does.
package kubeproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	// pollInterval is the pause between two requests.
	pollInterval = 250 * time.Millisecond
	// pollTimeout is how long to wait for a node to become ready. It is limited, since the
	// URL may be wrong.
	pollTimeout = time.Minute
	// booting is how long after its boot a node may not run all its programs yet.
	booting = 5 * time.Minute
)

// Readiness finds out whether this node forwards packets for addresses of Services: a node
// that returns must have kube-proxy's rules before it attracts traffic. Once ready it stays
// so.
type Readiness struct {
	url     string // to ask; empty: ready at once
	node    string
	record  func(cluster.Event)
	log     *slog.Logger
	Changed chan struct{} // buffered 1
	yes     atomic.Bool
	no      atomic.Bool // it has said so, or not answered

	former func() string // which program forwarded on this node before: as Former returns it
	begin  sync.Once
	mu     sync.Mutex
	by     forwarder
}

// NewReadiness returns a Readiness that asks at url until this node forwards, or, where nothing
// listens there, the program that forwards in place of kube-proxy. With an empty url it is
// ready at once. former is called once, by the first Check.
func NewReadiness(url, node string, former func() string, record func(cluster.Event), log *slog.Logger) *Readiness {
	f := &Readiness{url: url, node: node, former: former, by: forwarder{known: known()}, record: record, log: log, Changed: make(chan struct{}, 1)}
	f.yes.Store(url == "")
	return f
}

// Ready reports whether this node forwards, or the wait for that has ended.
func (f *Readiness) Ready() bool { return f.yes.Load() }

// Waiting reports whether this node was asked, and does not forward yet.
func (f *Readiness) Waiting() bool { return f.no.Load() && !f.Ready() }

// Run asks until the node is ready, the wait ends, or ctx does.
func (f *Readiness) Run(ctx context.Context) error {
	if f.Ready() {
		return nil
	}
	var up unix.Sysinfo_t
	if err := unix.Sysinfo(&up); err != nil {
		return fmt.Errorf("read this node's uptime: %w", err)
	}
	start := time.Now()
	for reported := false; ; {
		by, err := f.Check(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if waited := time.Since(start); settled(by, err, waited, time.Duration(up.Uptime)*time.Second+waited) {
			f.finish(err, waited, reported)
			return nil
		}
		if !reported {
			reported = true
			f.no.Store(true)
			wait.Signal(f.Changed)
			f.report(corev1.EventTypeWarning, v1beta1.ReasonNotForwarding, fmt.Sprintf("no BGP routes are offered before this node forwards, for %s at most: %v", pollTimeout, err))
		}
		if !wait.Sleep(ctx, pollInterval) {
			return nil
		}
	}
}

// settled reports whether to stop asking the program that forwards: the answer is yes,
// pollTimeout has passed, or there is no such program. Nothing listens where kube-proxy should
// on a node that has been up for some time: then it is not waited for at each restart either.
func settled(by string, err error, waited, up time.Duration) bool {
	away := errors.Is(err, syscall.ECONNREFUSED) && by == v1beta1.ForwarderReadyCheck && up >= booting
	return err == nil || waited >= pollTimeout || away || by == v1beta1.ForwarderNone
}

// finish marks the node as ready.
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

// report logs, and records an event on the Node, which it names as the kubelet's events do.
func (f *Readiness) report(kind, reason, text string) {
	f.log.Info("readiness to forward", "reason", reason, "text", text)
	f.record(cluster.Event{
		About: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: f.node, UID: types.UID(f.node)},
		Type:  kind, Reason: reason, Action: "Announce", Message: text,
	})
}

// Check returns which program forwards on this node, "" if that is not known yet or there is no
// URL to ask at, and nil if it says that it does.
func (f *Readiness) Check(ctx context.Context) (by string, err error) {
	if f.url == "" {
		return "", nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin.Do(func() { f.by.name = f.former() })
	if _, err = get(ctx, f.url, time.Second); !absent(err) {
		f.by.answered()
		return f.by.name, err
	}
	var up unix.Sysinfo_t
	if err := unix.Sysinfo(&up); err != nil {
		return "", fmt.Errorf("read this node's uptime: %w", err)
	}
	err = f.by.instead(ctx, err, time.Now(), time.Duration(up.Uptime)*time.Second >= booting)
	return f.by.name, err
}
