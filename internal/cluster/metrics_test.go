package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/steelyard-lb/steelyard/internal/serving"
)

func answerJSON(t *testing.T, w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(w).Encode(what); err != nil {
		t.Error(err)
	}
}

// Who bears the token is asked, with all that the API server says of them, whether they
// may; nothing that is odd lets any program in.
func TestReviewer(t *testing.T) {
	user := authenticationv1.UserInfo{Username: "eve", UID: "u", Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"x": {"y"}}}
	known := authenticationv1.TokenReviewStatus{Authenticated: true, User: user}
	for name, c := range map[string]struct {
		who     authenticationv1.TokenReviewStatus
		may     authorizationv1.SubjectAccessReviewStatus
		refused string // a path that the API server refuses
		want    serving.Answer
		err     bool
	}{
		"one who may":                        {who: known, may: authorizationv1.SubjectAccessReviewStatus{Allowed: true}, want: serving.Allowed},
		"one who may not":                    {who: known, want: serving.Forbidden},
		"one who may, and may not":           {who: known, may: authorizationv1.SubjectAccessReviewStatus{Allowed: true, Denied: true}, want: serving.Forbidden},
		"no program, who might":              {who: authenticationv1.TokenReviewStatus{Error: "expired"}, may: authorizationv1.SubjectAccessReviewStatus{Allowed: true}, want: serving.Unauthenticated},
		"the program may not review tokens":  {who: known, may: authorizationv1.SubjectAccessReviewStatus{Allowed: true}, refused: "tokenreviews", err: true},
		"the program may not review access":  {who: known, may: authorizationv1.SubjectAccessReviewStatus{Allowed: true}, refused: "subjectaccessreviews", err: true},
		"a server that says nothing of them": {want: serving.Unauthenticated},
	} {
		var asked *authorizationv1.SubjectAccessReview
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			switch {
			case c.refused != "" && strings.HasSuffix(q.URL.Path, c.refused):
				http.Error(w, "no", http.StatusForbidden)
			case q.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews":
				var in authenticationv1.TokenReview
				if err := json.NewDecoder(q.Body).Decode(&in); err != nil || in.Spec.Token != "secret" {
					t.Errorf("%s: token %q: %v", name, in.Spec.Token, err)
				}
				answerJSON(t, w, authenticationv1.TokenReview{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}, Status: c.who})
			case q.URL.Path == "/apis/authorization.k8s.io/v1/subjectaccessreviews":
				asked = new(authorizationv1.SubjectAccessReview)
				if err := json.NewDecoder(q.Body).Decode(asked); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				answerJSON(t, w, authorizationv1.SubjectAccessReview{TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}, Status: c.may})
			default:
				t.Errorf("%s: asked %s", name, q.URL)
			}
		}))
		cfg := &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
		review, err := reviewer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		have, err := review(t.Context(), "secret", "get", "/metrics")
		if have != c.want || (err != nil) != c.err {
			t.Errorf("%s: %v, %v; want %v", name, have, err, c.want)
		}
		want := authorizationv1.SubjectAccessReviewSpec{
			User: "eve", UID: "u", Groups: []string{"g"}, Extra: map[string]authorizationv1.ExtraValue{"x": {"y"}},
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		}
		if asked != nil && !cmp.Equal(want, asked.Spec) {
			t.Errorf("%s: -want +have\n%s", name, cmp.Diff(want, asked.Spec))
		}
		server.Close()
		if _, err := review(t.Context(), "secret", "get", "/metrics"); err == nil {
			t.Errorf("%s: no error with the API server away", name)
		}
	}
}

// certificate writes one for localhost into a folder, as a mounted Secret has it.
func certificate(t *testing.T, folder string) *x509.CertPool {
	t.Helper()
	cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"tls.crt": cert, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(cert) {
		t.Fatal("no certificate")
	}
	return pool
}

// The server has the certificate of --metrics-cert-path, lets no program in while the API
// server is away, and speaks no HTTP.
func TestMetricsAreServedSecurely(t *testing.T) {
	folder := t.TempDir()
	pool := certificate(t, folder)
	away := httptest.NewServer(nil)
	away.Close()
	cfg := &rest.Config{Host: away.URL}
	m := Metrics{Address: "127.0.0.1:0", Secure: true, CertPath: folder}
	s, err := server.NewServer(m.Options(cfg, slog.New(slog.DiscardHandler)), cfg, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Start(t.Context()) }()
	t.Cleanup(func() { // after the context has ended
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var addr string
	for addr == "" {
		addr = s.(interface{ GetBindAddr() string }).GetBindAddr()
		time.Sleep(time.Millisecond)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}, DisableKeepAlives: true}}
	for token, want := range map[string]int{"": http.StatusUnauthorized, "any": http.StatusServiceUnavailable} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			q.Header.Set("Authorization", "Bearer "+token)
		}
		a, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		if a.Body.Close(); a.StatusCode != want {
			t.Errorf("token %q: %s, want %d", token, a.Status, want)
		}
	}
	if a, err := client.Get("http://" + addr + "/metrics"); err == nil && a.StatusCode != http.StatusBadRequest {
		t.Errorf("by HTTP: %s", a.Status)
	}
}

func TestMetricsValidate(t *testing.T) {
	folder := t.TempDir()
	good := Metrics{Address: ":7472", Secure: true, CertPath: folder}
	if err := good.Validate(); err == nil || !strings.Contains(err.Error(), "tls.crt") {
		t.Errorf("want an error that names the missing file: %v", err)
	}
	certificate(t, folder)
	for _, m := range []Metrics{good, {}, {Secure: true}} {
		if err := m.Validate(); err != nil {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if err := (Metrics{CertPath: folder}).Validate(); err == nil {
		t.Error("a certificate without --metrics-secure is let pass")
	}
}
