package page

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

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/serving"
)

// newPages returns pages as AddTo has them served. Of the cluster there are these
// Services only, and the API server is away.
func newPages(t *testing.T, services func() ([]*corev1.Service, error)) http.Handler {
	t.Helper()
	scheme, err := cluster.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	cached := fake.NewClientBuilder().WithScheme(scheme).Build()
	away := interceptor.NewClient(cached, interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return errors.New("connection refused to 10.0.0.1")
	}})
	pages, err := New(Options{
		Cached: cached, Direct: away, Configuration: cluster.NewConfiguration(cluster.Listed(cached, "n")),
		Services: func(context.Context) ([]*corev1.Service, error) { return services() },
		Leads:    func() bool { return false }, Replica: "here", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(pattern, serving.OnlyFor([]string{"example.com"}, pages))
	return mux
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestThePageIsServedSafely(t *testing.T) {
	pages := newPages(t, func() ([]*corev1.Service, error) { return nil, nil })
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
		pages := newPages(t, func() ([]*corev1.Service, error) { reads++; return nil, nil })
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
	pages := newPages(t, func() ([]*corev1.Service, error) { return nil, failing })
	if w := ask(pages, "GET", "/"); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "abc") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	failing = nil
	if w := ask(pages, "GET", "/"); w.Code != http.StatusOK {
		t.Errorf("it stays so: %d", w.Code)
	}
}
