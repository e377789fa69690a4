package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// stopTimeout limits how long the speaker, once it is asked to stop, tries to find out why.
const stopTimeout = time.Second

// stopping returns a context that ends soon after ctx has: when it is known whether the node
// goes down. Then the routers must not keep its routes for the next speaker.
func (r *reconciler) stopping(ctx context.Context, direct client.Reader) context.Context {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		defer cancel()
		limited, done := context.WithTimeout(out, stopTimeout)
		defer done()
		if r.goesDown(limited, direct) {
			r.log.Info("the node goes down: no router is to keep its routes")
			r.sessions.Finish()
		}
	})
	return out
}

// goesDown reports whether the node goes down. What can't be read counts as a restart.
func (r *reconciler) goesDown(ctx context.Context, direct client.Reader) bool {
	node, pod := new(corev1.Node), new(corev1.Pod)
	switch err := r.reader.Get(ctx, client.ObjectKey{Name: r.node}, node); {
	case apierrors.IsNotFound(err):
		node = nil
	case err != nil:
		r.log.Warn("can't read the Node; this counts as a restart", "err", err)
		return false
	}
	if r.pod == "" {
		return intent.GoesDown(node, nil)
	}
	if err := direct.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: r.pod}, pod); err != nil {
		if !apierrors.IsNotFound(err) { // a deleted Pod may be gone already
			r.log.Warn("can't read this speaker's Pod; this counts as a restart", "pod", r.pod, "err", err)
		}
		pod = nil
	}
	return intent.GoesDown(node, pod)
}
