package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/overview"
	"github.com/steelyard-lb/steelyard/internal/serving"
)

// newPages returns pages as addPage has them served, of that reader.
func newPages(t *testing.T, read func(context.Context) (overview.Objects, error)) http.Handler {
	t.Helper()
	renderer, err := overview.NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(pagePattern, serving.OnlyFor([]string{"example.com"}, &pages{
		leases: func(context.Context) ([]coordinationv1.Lease, error) {
			return nil, errors.New("connection refused to 10.0.0.1")
		},
		read: read, renderer: renderer, log: slog.New(slog.DiscardHandler),
		scene: func() overview.Scene { return overview.Scene{Now: time.Now(), Replica: "here"} },
	}))
	return mux
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestThePageComesFromTheCaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("lan", "10.0.0.1"), waiting("a", 1), waiting("b", 2),
			&v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: "10.0.0.1"}, Spec: v1beta1.L2ClaimSpec{Address: "10.0.0.1", Node: "node7"}},
			&v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node8"}},
			&v1beta1.BGPSession{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Status: v1beta1.BGPSessionStatus{Node: "node9", Peer: "tor", State: "Active"}},
			&v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Status: v1beta1.BGPPeerStatus{Conditions: []metav1.Condition{
				{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: "NotFound", Message: "no Secret mystery"}}}},
		)
		b.settle(t)
		b.leader = nil // a standby shows the same
		w := ask(newPages(t, b.overview), "GET", "/")
		for _, want := range []string{"lan", "node7", "node8", "node9", "n/b", "PoolExhausted", "no Secret mystery"} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("the page does not tell of %s", want)
			}
		}
	})
}

func TestThePageIsServedSafely(t *testing.T) {
	pages := newPages(t, func(context.Context) (overview.Objects, error) { return overview.Objects{}, nil })
	w := ask(pages, "GET", "/")
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	for header, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
	} {
		if !strings.HasPrefix(w.Header().Get(header), want) {
			t.Errorf("%s is %q, want %q", header, w.Header().Get(header), want)
		}
	}
	for target, code := range map[string]int{"/other": http.StatusNotFound, "/index.html": http.StatusNotFound} {
		if got := ask(pages, "GET", target).Code; got != code {
			t.Errorf("GET %s: %d", target, got)
		}
	}
	rebound := httptest.NewRequest("GET", "http://evil.example/", nil)
	refused := httptest.NewRecorder()
	if pages.ServeHTTP(refused, rebound); refused.Code != http.StatusMisdirectedRequest || strings.Contains(refused.Body.String(), "Steelyard</h1>") {
		t.Errorf("by a name of a foreign site it answers %d: %s", refused.Code, refused.Body)
	}
	if body := w.Body.String(); !strings.Contains(body, "may be old") || strings.Contains(body, "10.0.0.1") {
		t.Error("it does not say that the API server is away, or says more than it should")
	}
	if got := ask(pages, "POST", "/").Code; got != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", got)
	}
	for query, refreshes := range map[string]bool{"": false, "?refresh=10": true, "?refresh=0": false, "?refresh=1": false, `?refresh="><script>`: false} {
		if got := strings.Contains(ask(pages, "GET", "/"+query).Body.String(), `http-equiv="refresh" content="10"`); got != refreshes {
			t.Errorf("GET /%s refreshes: %t", query, got)
		}
	}
}

func TestThePageIsMadeAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		pages := newPages(t, func(context.Context) (overview.Objects, error) { reads++; return overview.Objects{}, nil })
		for range 50 {
			ask(pages, "GET", "/?x=1")
			time.Sleep(50 * time.Millisecond)
		}
		if reads != 3 {
			t.Errorf("made %d times in 2.5 s, want 3", reads)
		}
	})
}

func TestAPageThatCannotBeReadIsUnavailable(t *testing.T) {
	failing := errors.New("token abc")
	pages := newPages(t, func(context.Context) (overview.Objects, error) { return overview.Objects{}, failing })
	if w := ask(pages, "GET", "/"); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "abc") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	failing = nil
	if w := ask(pages, "GET", "/"); w.Code != http.StatusOK {
		t.Errorf("it stays so: %d", w.Code)
	}
}
