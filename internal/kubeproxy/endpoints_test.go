package kubeproxy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestEndpointStates(t *testing.T) {
	const limit = 2 * time.Second
	web := ipam.Key{Namespace: "n", Name: "web"}
	start := time.Unix(1000, 0)
	gone, ready, ending := Endpoint{}, Endpoint{Port: 30000, Ready: true, Serving: true}, Endpoint{Port: 30000, Serving: true}
	edited, last := ready, ending
	edited.Before, last.Before = true, true
	portless := ready
	portless.Port = 0
	type step struct {
		after    time.Duration // since the start
		found    *Endpoint     // nil: there is no such Service
		forwards bool          // kube-proxy has said so before
		want     announce.EndpointState
		again    time.Duration
	}
	none := step{}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"an endpoint at the first call is long present", []step{{0, &ready, false, "", 0}, {1, &ready, false, "", 0}}},
		{"a new endpoint waits for kube-proxy", []step{none, {1, &ready, false, announce.Arriving, 0}, {2, &ready, true, "", 0}}},
		{"without a health check port there is nothing to wait for", []step{none, {1, &portless, false, "", 0}}},
		{"a terminating endpoint counts for a while if it serves", []step{{0, &ready, false, "", 0}, {time.Second, &ending, false, announce.Terminating, limit},
			{2 * time.Second, &ending, false, announce.Terminating, time.Second}, {3 * time.Second, &ending, false, "", 0}, {9 * time.Second, &ending, false, "", 0}}},
		{"an endpoint that no longer serves does not count", []step{{0, &ready, false, "", 0}, {1, &gone, false, "", 0}}},
		{"a terminating endpoint that stops serving does not count", []step{{0, &ready, false, "", 0}, {1, &ending, false, announce.Terminating, limit}, {2, &gone, false, "", 0}}},
		{"a terminating endpoint that never had traffic does not count", []step{none, {1, &ready, false, announce.Arriving, 0}, {2, &ending, false, "", 0}}},
		{"an endpoint that is ready again while terminating waits for kube-proxy", []step{{0, &ready, false, "", 0}, {1, &ending, false, announce.Terminating, limit}, {2, &ready, false, announce.Arriving, 0}}},
		{"a change of the traffic policy to Local is no arrival", []step{none, {1, &edited, false, "", 0}, {2, &ready, false, "", 0}}},
		{"nor does it drop an endpoint that terminates", []step{none, {1, &last, false, announce.Terminating, limit}}},
		{"the endpoint of a Service that is created again waits", []step{{0, &ready, false, "", 0}, none, {2, &ready, false, announce.Arriving, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			endpoints := NewEndpoints(limit)
			for i, s := range c.steps {
				found := map[ipam.Key]Endpoint{}
				if s.found != nil {
					found[web] = *s.found
				}
				if s.forwards {
					endpoints.known[web].forwards = true
				}
				got, again := endpoints.Follow(start.Add(s.after), found)
				if got[web] != s.want || again != s.again {
					t.Errorf("step %d: %q, again in %s; want %q, %s", i+1, got[web], again, s.want, s.again)
				}
			}
		})
	}
	if got, _ := NewEndpoints(0).Follow(start, map[ipam.Key]Endpoint{web: ready}); got[web] != "" {
		t.Errorf("with no time to wait: %q", got[web])
	}
}

func TestKubeProxyIsAskedUntilItAnswersOrTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := ipam.Key{Name: "answers"}
		never := ipam.Key{Name: "never"}
		endpoints := NewEndpoints(2 * time.Second)
		endpoints.SetNodeAddresses([]netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")})
		start := time.Now()
		endpoints.ask = func(_ context.Context, at netip.AddrPort) bool {
			return at == netip.MustParseAddrPort("[2001:db8::11]:1") && time.Since(start) >= 500*time.Millisecond
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- endpoints.Run(ctx) }()
		endpoints.Follow(start, nil)
		found := map[ipam.Key]Endpoint{answers: {Port: 1, Ready: true}, never: {Port: 2, Ready: true}}
		endpoints.Follow(start, found)
		for _, c := range []struct {
			after   time.Duration
			arrives map[ipam.Key]announce.EndpointState
		}{
			{500 * time.Millisecond, map[ipam.Key]announce.EndpointState{never: announce.Arriving}},
			{2 * time.Second, nil},
		} {
			<-endpoints.Changed
			if took := time.Since(start); took < c.after || took > c.after+endpointPollInterval {
				t.Errorf("told after %s, want %s", took, c.after)
			}
			got, _ := endpoints.Follow(time.Now(), found)
			if len(got) != len(c.arrives) || got[never] != c.arrives[never] {
				t.Errorf("after %s: %v", c.after, got)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestHealthyReadsKubeProxysHealthCheck(t *testing.T) {
	var code atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(code.Load())) }))
	at := netip.MustParseAddrPort(strings.TrimPrefix(server.URL, "http://"))
	for status, want := range map[int]bool{http.StatusOK: true, http.StatusServiceUnavailable: false} {
		code.Store(int32(status))
		if got := healthy(t.Context(), at); got != want {
			t.Errorf("%d: %t", status, got)
		}
	}
	server.Close()
	if healthy(t.Context(), at) {
		t.Error("no program is there, and it is healthy")
	}
}
