package cluster

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
