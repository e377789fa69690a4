package serving

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Answer is the API server's decision on a request. The zero value is Unauthenticated.
type Answer int

const (
	Unauthenticated Answer = iota // the API server does not know the token
	Forbidden                     // the token's user may not
	Allowed                       // the token's user may
)

// Review asks the API server whether the user of a token may do verb ("get") on a path
// ("/metrics"). An error means that the API server did not decide.
type Review func(ctx context.Context, token, verb, path string) (Answer, error)

const (
	// allowedFor is how long a token that is allowed needs no other review. A revoked token
	// works for as long.
	allowedFor = time.Minute
	// refusedFor is how long a token is refused without another review.
	refusedFor = 10 * time.Second
	// reviewTimeout limits how long a request waits for the API server. Prometheus gives
	// up after 10 s.
	reviewTimeout = 5 * time.Second
	// maxReviews is how many reviews run concurrently.
	maxReviews = 8
	// maxAnswers is how many answers of each kind are remembered.
	maxAnswers = 1024
	// maxToken is the length of the longest token that is reviewed, in bytes.
	maxToken = 16 << 10
)

// Gate serves only requests that the API server allows for their token.
type Gate struct {
	review  Review
	log     *slog.Logger
	reviews chan struct{} // a semaphore: one item for each running review
	failing atomic.Bool   // the last review failed

	mu sync.Mutex
	// Clients without a valid token can only fill the map of refusals.
	allowed, refused map[requestKey]remembered
}

// requestKey is the hash of a token, a verb and a path. Tokens are not kept.
type requestKey [sha256.Size]byte

type remembered struct {
	answer Answer
	until  time.Time
}

// NewGate returns a Gate that decides by review.
func NewGate(review Review, log *slog.Logger) *Gate {
	return &Gate{review: review, log: log, reviews: make(chan struct{}, maxReviews), allowed: map[requestKey]remembered{}, refused: map[requestKey]remembered{}}
}

// Only passes on to next the requests that the API server allows. While the API server is
// unreachable it refuses all but those that it remembers as allowed.
func (g *Gate) Only(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodGet && q.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Nothing can be changed here.", http.StatusMethodNotAllowed)
			return
		}
		answer, err := g.ask(q)
		switch {
		case err != nil:
			http.Error(w, "The API server did not answer whether you may see this; the log says why. Try again.", http.StatusServiceUnavailable)
		case answer == Allowed:
			next.ServeHTTP(w, q)
		case answer == Forbidden:
			http.Error(w, "You may not see this: you need the verb "+strings.ToLower(q.Method)+" on the nonResourceURL "+q.URL.Path+", as the ClusterRole steelyard-metrics-reader has it.", http.StatusForbidden)
		default:
			w.Header().Add("WWW-Authenticate", "Bearer")
			w.Header().Add("WWW-Authenticate", `Basic realm="a token of the cluster, as password", charset="UTF-8"`)
			http.Error(w, "Send a token of the cluster: as bearer token, or as password with any name.", http.StatusUnauthorized)
		}
	})
}

// ask returns the API server's decision on a request, now or as remembered.
func (g *Gate) ask(q *http.Request) (Answer, error) {
	token := tokenOf(q)
	if token == "" || len(token) > maxToken {
		return Unauthenticated, nil
	}
	verb, path := strings.ToLower(q.Method), q.URL.Path
	about := requestKey(sha256.Sum256([]byte(token + "\x00" + verb + "\x00" + path)))
	if answer, ok := g.recall(about, time.Now()); ok {
		return answer, nil
	}
	ctx, cancel := context.WithTimeout(q.Context(), reviewTimeout)
	defer cancel()
	answer, err := g.ofServer(ctx, token, verb, path)
	if err != nil {
		// A client that has disconnected says nothing about the API server.
		if q.Context().Err() == nil && !g.failing.Swap(true) {
			g.log.Warn("the API server does not answer whether clients may see metrics", "err", err)
		}
		return Unauthenticated, err
	}
	if g.failing.Swap(false) {
		g.log.Info("the API server answers again whether clients may see metrics")
	}
	g.remember(about, answer, time.Now())
	return answer, nil
}

// ofServer has the API server review the request, once a place among maxReviews is free.
func (g *Gate) ofServer(ctx context.Context, token, verb, path string) (Answer, error) {
	select {
	case g.reviews <- struct{}{}:
		defer func() { <-g.reviews }()
		return g.review(ctx, token, verb, path)
	case <-ctx.Done():
		return Unauthenticated, ctx.Err()
	}
}

func (g *Gate) recall(about requestKey, now time.Time) (Answer, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, answers := range []map[requestKey]remembered{g.allowed, g.refused} {
		if r, ok := answers[about]; ok && now.Before(r.until) {
			return r.answer, true
		}
	}
	return Unauthenticated, false
}

func (g *Gate) remember(about requestKey, answer Answer, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	answers, lasts := g.refused, refusedFor
	if answer == Allowed {
		answers, lasts = g.allowed, allowedFor
	}
	if len(answers) >= maxAnswers {
		clear(answers)
	}
	answers[about] = remembered{answer, now.Add(lasts)}
}

// tokenOf returns the bearer token of a request, or its password, which is all that a
// browser can ask its user for; "" if there is none.
func tokenOf(q *http.Request) string {
	if _, password, ok := q.BasicAuth(); ok {
		return strings.TrimSpace(password)
	}
	scheme, token, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
