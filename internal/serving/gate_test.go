package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeAPI answers reviews: the token "reader" may see /metrics; "tenant" is known and may
// see nothing.
type fakeAPI struct {
	asked int
	err   error
}

func (f *fakeAPI) review(_ context.Context, token, verb, path string) (Answer, error) {
	f.asked++
	switch {
	case f.err != nil:
		return Allowed, f.err // what comes with an error counts for nothing
	case token == "reader" && verb == "get" && path == "/metrics":
		return Allowed, nil
	case token == "reader", token == "tenant":
		return Forbidden, nil
	}
	return Unauthenticated, nil
}

// through sends a request through a Gate and returns the answer's code and body.
func through(g *Gate, change func(*http.Request)) *httptest.ResponseRecorder {
	q := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	change(q)
	w := httptest.NewRecorder()
	g.Only(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })).ServeHTTP(w, q)
	return w
}

func bearer(token string) func(*http.Request) {
	return func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+token) }
}

func TestGate(t *testing.T) {
	away := errors.New("connection refused")
	for name, c := range map[string]struct {
		change func(*http.Request)
		err    error
		want   int
		asked  int
	}{
		"no token":                            {func(*http.Request) {}, nil, http.StatusUnauthorized, 0},
		"an empty token":                      {bearer(""), nil, http.StatusUnauthorized, 0},
		"a token that no program knows":       {bearer("forged"), nil, http.StatusUnauthorized, 1},
		"a token that is too long":            {bearer(strings.Repeat("a", maxToken+1)), nil, http.StatusUnauthorized, 0},
		"a reader":                            {bearer("reader"), nil, http.StatusOK, 1},
		"a reader, by a browser":              {func(q *http.Request) { q.SetBasicAuth("me", "reader") }, nil, http.StatusOK, 1},
		"a reader's token as name":            {func(q *http.Request) { q.SetBasicAuth("reader", "") }, nil, http.StatusUnauthorized, 0},
		"the scheme in small letters":         {func(q *http.Request) { q.Header.Set("Authorization", "bearer reader") }, nil, http.StatusOK, 1},
		"another scheme":                      {func(q *http.Request) { q.Header.Set("Authorization", "Negotiate reader") }, nil, http.StatusUnauthorized, 0},
		"a token without a scheme":            {func(q *http.Request) { q.Header.Set("Authorization", "reader") }, nil, http.StatusUnauthorized, 0},
		"a token in the URL":                  {func(q *http.Request) { q.URL.RawQuery = "access_token=reader" }, nil, http.StatusUnauthorized, 0},
		"a tenant":                            {bearer("tenant"), nil, http.StatusForbidden, 1},
		"a reader elsewhere":                  {func(q *http.Request) { bearer("reader")(q); q.URL.Path = "/" }, nil, http.StatusForbidden, 1},
		"a reader with another verb":          {func(q *http.Request) { bearer("reader")(q); q.Method = http.MethodHead }, nil, http.StatusForbidden, 1},
		"a reader who writes":                 {func(q *http.Request) { bearer("reader")(q); q.Method = http.MethodPost }, nil, http.StatusMethodNotAllowed, 0},
		"a reader, the API server away":       {bearer("reader"), away, http.StatusServiceUnavailable, 1},
		"a foreign host, the API server away": {bearer("forged"), away, http.StatusServiceUnavailable, 1},
		"without token, the API server away":  {func(*http.Request) {}, away, http.StatusUnauthorized, 0},
	} {
		api := &fakeAPI{err: c.err}
		w := through(NewGate(api.review, slog.New(slog.DiscardHandler)), c.change)
		if w.Code != c.want || (w.Body.String() == "secret") != (c.want == http.StatusOK) || api.asked != c.asked {
			t.Errorf("%s: %d %q, asked %d times; want %d, %d times", name, w.Code, w.Body, api.asked, c.want, c.asked)
		}
		if challenge := w.Header().Values("WWW-Authenticate"); (len(challenge) == 2) != (c.want == http.StatusUnauthorized) {
			t.Errorf("%s: challenge %q", name, challenge)
		}
	}
}

// An answer is remembered for a limited time, whether or not the API server is reachable.
// Errors are not remembered.
func TestGateRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		g := NewGate(api.review, slog.New(slog.DiscardHandler))
		step := func(token string, want, asked int) {
			t.Helper()
			if w := through(g, bearer(token)); w.Code != want || api.asked != asked {
				t.Errorf("%s: %d, asked %d times in all; want %d, %d times", token, w.Code, api.asked, want, asked)
			}
		}
		step("reader", http.StatusOK, 1)
		step("tenant", http.StatusForbidden, 2)
		step("forged", http.StatusUnauthorized, 3)
		api.err = errors.New("away")
		time.Sleep(refusedFor - time.Second)
		step("reader", http.StatusOK, 3)
		step("tenant", http.StatusForbidden, 3)
		step("forged", http.StatusUnauthorized, 3)
		time.Sleep(2 * time.Second)
		step("tenant", http.StatusServiceUnavailable, 4)
		step("forged", http.StatusServiceUnavailable, 5)
		step("reader", http.StatusOK, 5)
		time.Sleep(allowedFor)
		step("reader", http.StatusServiceUnavailable, 6)
		api.err = nil
		step("reader", http.StatusOK, 7)
	})
}

// Unknown clients can neither fill the memory nor evict the answers of allowed ones.
func TestGateIsBounded(t *testing.T) {
	api := &fakeAPI{}
	g := NewGate(api.review, slog.New(slog.DiscardHandler))
	through(g, bearer("reader"))
	for i := range 3 * maxAnswers {
		through(g, bearer(fmt.Sprintf("forged-%d", i)))
		if len(g.refused) > maxAnswers {
			t.Fatalf("%d refusals are remembered", len(g.refused))
		}
	}
	before := api.asked
	if w := through(g, bearer("reader")); w.Code != http.StatusOK || api.asked != before {
		t.Errorf("the reader is forgotten: %d, asked %d times", w.Code, api.asked-before)
	}
}

// In a flood a few reviews run at a time, and requests wait for a limited time, those that
// are allowed like others.
func TestGateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, tooMany atomic.Int64
		g := NewGate(func(ctx context.Context, _, _, _ string) (Answer, error) {
			if now.Add(1) > maxReviews {
				tooMany.Add(1)
			}
			<-ctx.Done()
			now.Add(-1)
			return Unauthenticated, ctx.Err()
		}, slog.New(slog.DiscardHandler))
		begun := time.Now()
		codes := make(chan int)
		const flood = 10 * maxReviews
		for i := range flood {
			go func() { codes <- through(g, bearer(fmt.Sprint(i))).Code }()
		}
		for range flood {
			if code := <-codes; code != http.StatusServiceUnavailable {
				t.Errorf("%d, want 503", code)
			}
		}
		if took := time.Since(begun); tooMany.Load() != 0 || took != reviewTimeout {
			t.Errorf("%d reviews beyond %d at once; the last answer after %s", tooMany.Load(), maxReviews, took)
		}
	})
}

// The log has one line when the API server stops answering, and one when it answers again.
func TestGateLogsChanges(t *testing.T) {
	var log strings.Builder
	api := &fakeAPI{err: errors.New("away")}
	g := NewGate(api.review, slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		through(g, bearer("reader"))
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	api.err = nil
	through(g, bearer("reader"))
	api.err = context.Canceled
	through(g, func(q *http.Request) { bearer("tenant")(q); *q = *q.WithContext(gone) })
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || strings.Count(got, "level=INFO") != 1 || strings.Contains(got, "reader") {
		t.Errorf("the log says\n%s", got)
	}
}
