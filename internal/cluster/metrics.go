package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/steelyard-lb/steelyard/internal/serving"
)

// reviewsPerSecond is how many tokens and permissions the API server is asked about:
// otherManagers who reach the port of the metrics must not keep it busy.
const reviewsPerSecond = 20

// Metrics is how a program serves its metrics, and what is beside them: the flags.
type Metrics struct {
	Address  string // host:port, or "0": nowhere
	Secure   bool   // by HTTPS, to those who may
	CertPath string // folder of tls.crt and tls.key; "": a certificate of its own
}

// AddFlags adds the flags to those of a program.
func (m *Metrics) AddFlags(to *flag.FlagSet) {
	to.StringVar(&m.Address, "metrics-bind-address", "0", "address to serve metrics on, such as :7472; 0: none")
	to.BoolVar(&m.Secure, "metrics-secure", false, "serve metrics, and the controller's page beside them, by HTTPS and only to those who send a token (bearer token, or password with any name) that the API server lets get the nonResourceURL /metrics, or / for the page; with the ClusterRole steelyard-metrics-auth the program may ask it. An answer counts for a minute; while the API server can't be asked, others get 503")
	to.StringVar(&m.CertPath, "metrics-cert-path", "", "folder of tls.crt and tls.key, as a Secret of type kubernetes.io/tls is mounted, for --metrics-secure; they are read again when they change. Empty: the program makes a certificate for itself, which clients cannot verify")
}

// Validate reports what is wrong with the flags.
func (m Metrics) Validate() error {
	if m.CertPath == "" {
		return nil
	}
	if !m.Secure {
		return errors.New("--metrics-cert-path is of no use without --metrics-secure")
	}
	// Without the files the server would make a certificate of its own.
	if _, err := tls.LoadX509KeyPair(filepath.Join(m.CertPath, "tls.crt"), filepath.Join(m.CertPath, "tls.key")); err != nil {
		return fmt.Errorf("--metrics-cert-path: %w", err)
	}
	return nil
}

// Options returns what controller-runtime's server of metrics is to do. Health checks
// have a server of their own, which checks no token.
func (m Metrics) Options(cfg *rest.Config, log *slog.Logger) server.Options {
	o := server.Options{BindAddress: m.Address}
	if !m.Secure {
		return o
	}
	o.SecureServing, o.CertDir = true, m.CertPath
	o.TLSOpts = []func(*tls.Config){func(c *tls.Config) {
		c.MinVersion = tls.VersionTLS12
		c.NextProtos = []string{"http/1.1"} // a scrape has no use for HTTP/2, and floods would have
	}}
	o.FilterProvider = func(*rest.Config, *http.Client) (server.Filter, error) {
		review, err := reviewer(cfg)
		if err != nil {
			return nil, err
		}
		gate := serving.NewGate(review, log)
		return func(_ logr.Logger, next http.Handler) (http.Handler, error) { return gate.Only(next), nil }, nil
	}
	return o
}

// reviewer returns what asks the API server who bears a token, and what they may. It
// has a rate limit, which what the program is there for does not have.
func reviewer(cfg *rest.Config) (serving.Review, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = reviewsPerSecond, 2*reviewsPerSecond
	tokens, err := authenticationclient.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("set up token reviews: %w", err)
	}
	access, err := authorizationclient.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("set up access reviews: %w", err)
	}
	return func(ctx context.Context, token, verb, path string) (serving.Answer, error) {
		who, err := tokens.TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return serving.Unauthenticated, fmt.Errorf("review a token: %w", err)
		}
		if !who.Status.Authenticated {
			return serving.Unauthenticated, nil
		}
		user := who.Status.User
		extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
		for k, v := range user.Extra {
			extra[k] = authorizationv1.ExtraValue(v)
		}
		may, err := access.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: verb},
		}}, metav1.CreateOptions{})
		switch {
		case err != nil:
			return serving.Unauthenticated, fmt.Errorf("review what %s may: %w", user.Username, err)
		case may.Status.Allowed && !may.Status.Denied:
			return serving.Allowed, nil
		}
		return serving.Forbidden, nil
	}, nil
}
