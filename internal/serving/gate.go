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

// Answer is what the API server says of a request. The zero value is Unauthenticated.
type Answer int

const (
	Unauthenticated Answer = iota // the API server does not know the token
	Forbidden                     // its bearer may not
	Allowed                       // its bearer may
)

// Review asks the API server whether the bearer of a token may do verb ("get") with
// a path ("/metrics"). An error means that the API server did not say.
type Review func(ctx context.Context, token, verb, path string) (Answer, error)

const (
	// allowedFor is for how long a token that may is let in without another review:
	// so long a token that was revoked still works.
	allowedFor = time.Minute
	// refusedFor is for how long one that may not is refused without another review.
	refusedFor = 10 * time.Second
	// reviewTimeout is how long a request waits for the API server. Prometheus gives
	// up after 10 s.
	reviewTimeout = 5 * time.Second
	// maxReviews is how many reviews go on at once.
	maxReviews = 8
	// maxAnswers is how many answers of each sort are remembered.
	maxAnswers = 1024
	// maxToken is the length of the longest token that is reviewed, in bytes.
	maxToken = 16 << 10
)

// Gate lets only those in whose token may, as the API server says.
type Gate struct {
	review  Review
	log     *slog.Logger
	reviews chan struct{} // holds one for each review that goes on
	failing atomic.Bool   // the last review failed

	mu sync.Mutex
	// Clients without a valid token can fill the memory of refusals, and nothing else.
	allowed, refused map[requestKey]remembered
}

// requestKey is the hash of a token, a verb and a path: no token is kept.
type requestKey [sha256.Size]byte

type remembered struct {
	answer Answer
	until  time.Time
}

// NewGate returns a Gate that asks review.
func NewGate(review Review, log *slog.Logger) *Gate {
	return &Gate{review: review, log: log, reviews: make(chan struct{}, maxReviews), allowed: map[requestKey]remembered{}, refused: map[requestKey]remembered{}}
}

// Only answers for next only requests whose bearer may make them. While the API
// server can't be asked it refuses all but those that it remembers.
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
			http.Error(w, "The API server can't be asked now whether you may see this; the log says why. Try again.", http.StatusServiceUnavailable)
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

// ask returns what the API server says of a request, now or a while ago.
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
		// One who went away says nothing about the API server.
		if q.Context().Err() == nil && !g.failing.Swap(true) {
			g.log.Warn("can't ask the API server who may see metrics", "err", err)
		}
		return Unauthenticated, err
	}
	if g.failing.Swap(false) {
		g.log.Info("the API server says again who may see metrics")
	}
	g.remember(about, answer, time.Now())
	return answer, nil
}

// ofServer has the API server review, after those who came before.
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

// tokenOf returns the bearer token of a request, or its password: a browser can ask
// people for no other thing. It returns "" if there is none.
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
