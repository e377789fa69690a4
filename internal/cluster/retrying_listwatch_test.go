package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/steelyard-lb/steelyard/internal/logs"
)

func TestAListerWaitsForTheAPIServerAndPassesOnWhatItSays(t *testing.T) {
	refused := &url.Error{Op: "Get", URL: "https://api", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "", errors.New("no"))
	for _, c := range []struct {
		name  string
		first error
		calls int
		err   error
	}{
		{"an API server that is not there is waited for", refused, 9, nil},
		{"one that says that it is not ready is waited for", apierrors.NewServiceUnavailable("starting"), 9, nil},
		{"a refusal is passed on", forbidden, 1, forbidden},
		{"a version that is too old is passed on", apierrors.NewResourceExpired("too old"), 1, apierrors.NewResourceExpired("too old")},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, calls := time.Now(), 0
				_, err := waitForCRD(t.Context(), func() (int, error) {
					if calls++; time.Since(start) < 5*time.Second {
						return 0, c.first
					}
					return 0, nil
				})
				if calls != c.calls || (err == nil) != (c.err == nil) || err != nil && err.Error() != c.err.Error() {
					t.Errorf("%d calls and %v, want %d and %v", calls, err, c.calls, c.err)
				}
				if waited := time.Since(start); waited > 5*time.Second+lastAttempt {
					t.Errorf("found it after %s", waited)
				}
			})
		})
	}
}

func TestAnInformerLogsOneFailureAMinute(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("no"))
	broken := apierrors.NewInternalError(errors.New("broken"))
	for _, c := range []struct {
		name   string
		errs   []error // one each 10 s
		logged int
	}{
		{"one failure has one line", []error{forbidden}, 1},
		{"the same again within a minute has none", []error{forbidden, forbidden, forbidden, forbidden, forbidden, forbidden}, 1},
		{"after a minute it has another", slices.Repeat([]error{forbidden}, 7), 2},
		{"another reason has its own", []error{forbidden, broken, broken}, 2},
		{"a watch that ends is no failure", []error{io.EOF, apierrors.NewResourceExpired("too old")}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				ctx := klog.NewContext(t.Context(), logr.FromSlogHandler(logs.New(&out, slog.LevelInfo, logs.Text).Handler()))
				reflector := toolscache.NewReflector(&toolscache.ListWatch{}, &corev1.Secret{}, toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), 0)
				failed := logFailures()
				for _, err := range c.errs {
					failed(ctx, reflector, err)
					time.Sleep(10 * time.Second)
				}
				if n := strings.Count(out.String(), "\n"); n != c.logged {
					t.Errorf("%d lines, want %d:\n%s", n, c.logged, &out)
				}
				if c.logged > 0 && !strings.Contains(out.String(), "kind=*v1.Secret") {
					t.Errorf("it names no kind: %s", &out)
				}
			})
		})
	}
}

func TestAListerStopsWaitingWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := waitForCRD(ctx, func() (int, error) { return 0, apierrors.NewServiceUnavailable("starting") })
		if !apierrors.IsServiceUnavailable(err) {
			t.Errorf("have %v", err)
		}
	})
}
