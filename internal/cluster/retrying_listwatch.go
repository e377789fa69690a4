package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/watchlist"
	"k8s.io/klog/v2"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// newInformer makes an informer that finds the API server again within about a
// second, however long that was away, and whatever version it has then. By itself an
// informer pauses for longer after each attempt that fails, up to half a minute.
func (r *Revisions) newInformer(lw toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	inner := toolscache.ToListerWatcherWithContext(lw)
	version := versionOf(inner.ListWithContext)
	if _, is := example.(*corev1.Service); is {
		inner = &relevantServices{ListerWatcherWithContext: inner}
	}
	informer := toolscache.NewSharedIndexInformer(&retryingListWatch{lw, inner, listing{of: r, now: version}}, example, resync, indexers)
	if err := informer.SetWatchErrorHandlerWithContext(logFailures()); err != nil {
		panic(err) // one that was made just now has not started
	}
	return informer
}

// failureEvery is how often one informer logs failures that have one reason.
const failureEvery = time.Minute

// logFailures returns what an informer calls when a list or a watch has failed. It begins
// again by itself, so the log has one line a minute, and none for a watch that has run its time.
func logFailures() toolscache.WatchErrorHandlerWithContext {
	var last time.Time
	var reason metav1.StatusReason
	return func(ctx context.Context, r *toolscache.Reflector, err error) {
		now, this := time.Now(), apierrors.ReasonForError(err)
		if errors.Is(err, io.EOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || this == reason && now.Sub(last) < failureEvery {
			return
		}
		last, reason = now, this
		klog.FromContext(ctx).Error(err, "can't list or watch objects; trying again", "kind", r.TypeDescription())
	}
}

// retryingListWatch is a ListerWatcher that waits for the API server instead of failing
// for want of it.
type retryingListWatch struct {
	toolscache.ListerWatcher
	inner   toolscache.ListerWatcherWithContext
	listing listing
}

// The pauses between attempts to reach the API server.
const (
	firstAttempt = 100 * time.Millisecond
	lastAttempt  = time.Second
)

func (p *retryingListWatch) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	return waitForCRD(ctx, func() (runtime.Object, error) {
		if err := p.listing.from(ctx, o.ResourceVersion); err != nil {
			return nil, err
		}
		return p.inner.ListWithContext(ctx, o)
	})
}

func (p *retryingListWatch) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return waitForCRD(ctx, func() (watch.Interface, error) {
		if err := p.listing.from(ctx, o.ResourceVersion); err != nil {
			return nil, err
		}
		w, err := p.inner.WatchWithContext(ctx, o)
		if err != nil {
			return nil, err
		}
		return p.listing.watched(w), nil
	})
}

// IsWatchListSemanticsUnSupported passes on what client-go asks of the client.
func (p *retryingListWatch) IsWatchListSemanticsUnSupported() bool {
	return watchlist.DoesClientNotSupportWatchListSemantics(p.ListerWatcher)
}

// waitForCRD calls do until the API server has answered it.
func waitForCRD[T any](ctx context.Context, do func() (T, error)) (T, error) {
	pause := firstAttempt
	for {
		out, err := do()
		if err == nil || !notFound(err) {
			return out, err
		}
		if pause == firstAttempt {
			klog.FromContext(ctx).Info("the API server can't be reached; trying again", "err", err)
		}
		if !wait.Sleep(ctx, pause) {
			return out, err
		}
		pause = min(2*pause, lastAttempt)
	}
}

// notFound reports whether an error means that the API server is not there, or
// not yet: the network's word, or its own.
func notFound(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err)
}

// AwaitAPI returns when the API server says that it is ready, or with the error
// of ctx. What keeps it waiting is logged once.
func AwaitAPI(ctx context.Context, cfg *rest.Config) error {
	api, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	last := ""
	for {
		_, err := api.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			return nil
		}
		if err.Error() != last {
			last = err.Error()
			klog.FromContext(ctx).Info("the API server is not ready; trying again", "server", cfg.Host, "err", err)
		}
		if !wait.Sleep(ctx, lastAttempt) {
			return ctx.Err()
		}
	}
}
