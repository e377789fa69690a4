package kubeproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
)

func nothing() string { return "" }

func TestSettled(t *testing.T) {
	refused := fmt.Errorf("ask: %w", syscall.ECONNREFUSED)
	for _, c := range []struct {
		name       string
		by         string
		err        error
		waited, up time.Duration
		want       bool
	}{
		{"the answer is yes", v1beta1.ForwarderReadyCheck, nil, 0, time.Second, true},
		{"the answer is no", v1beta1.ForwarderReadyCheck, errors.New("503"), 59 * time.Second, time.Hour, false},
		{"the answer is no for too long", v1beta1.ForwarderReadyCheck, errors.New("503"), time.Minute, time.Hour, true},
		{"nothing listens on a node that has just booted", v1beta1.ForwarderReadyCheck, refused, 0, 4 * time.Minute, false},
		{"nor on one that was never seen before", "", refused, 0, 4 * time.Minute, false},
		{"nothing listens there until the timeout", "", refused, time.Minute, 2 * time.Minute, true},
		{"nothing listens on a node that has long been up", v1beta1.ForwarderReadyCheck, refused, 0, 5 * time.Minute, true},
		{"there was no such program before the node booted", v1beta1.ForwarderNone, refused, 0, time.Second, true},
		{"Cilium forwarded before the node booted, and does not listen yet", v1beta1.ForwarderCilium, refused, 0, time.Second, false},
		{"or restarts", v1beta1.ForwarderCilium, refused, 0, time.Hour, false},
		{"Cilium says yes", v1beta1.ForwarderCilium, nil, 0, time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := settled(c.by, c.err, c.waited, c.up); got != c.want {
				t.Errorf("%t, want %t", got, c.want)
			}
		})
	}
}

func TestForwardingWaitsForTheAnswer(t *testing.T) {
	var asked atomic.Int32
	kubeProxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer kubeProxy.Close()
	var reported []string
	f := NewReadiness(kubeProxy.URL, "n", nothing, func(n cluster.Event) { reported = append(reported, n.Type+" "+n.Reason+" "+n.About.Name) }, slog.New(slog.DiscardHandler))
	if f.Ready() {
		t.Error("it forwards before any program was asked")
	}
	if err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !f.Ready() || asked.Load() != 3 {
		t.Errorf("it forwards: %t, after %d questions", f.Ready(), asked.Load())
	}
	if d := cmp.Diff([]string{"Warning NotForwarding n", "Normal Forwarding n"}, reported); d != "" {
		t.Error(d)
	}
	select {
	case <-f.Changed:
	default:
		t.Error("Changed was not signaled")
	}
	if f := NewReadiness("", "", nil, nil, nil); !f.Ready() || f.Run(t.Context()) != nil {
		t.Error("it waits with no program to ask")
	}
}
