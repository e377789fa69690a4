package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/internal/static"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// askInterval is the pause between two questions to the API server.
	askInterval = 200 * time.Millisecond
	// askTimeout is how long an answer may take: its check of etcd alone may take two seconds.
	askTimeout = 3 * time.Second
	// failures is after how many answers other than 200 in a row it is not ready. That nothing
	// listens counts at once.
	failures = 3
)

// APIServer asks the API server of this node whether it is ready. Make one with NewAPIServer.
type APIServer struct {
	config  func() static.Health
	log     *slog.Logger
	known   atomic.Bool
	ready   atomic.Bool
	changed chan struct{} // buffered 1
	failed  int
	asked   static.Health // that client is for
	client  *http.Client
}

// NewAPIServer returns an APIServer that has not been asked yet.
func NewAPIServer(config func() static.Health, log *slog.Logger) *APIServer {
	return &APIServer{config: config, log: log, changed: make(chan struct{}, 1)}
}

// Known reports whether it is known if the API server is ready.
func (s *APIServer) Known() bool { return s.known.Load() }

// Ready reports whether the API server is ready.
func (s *APIServer) Ready() bool { return s.ready.Load() }

// Changed gets a value after Ready has changed.
func (s *APIServer) Changed() <-chan struct{} { return s.changed }

// Run asks again and again until ctx ends.
func (s *APIServer) Run(ctx context.Context) error {
	for {
		err := s.ask(ctx, s.config())
		if ctx.Err() != nil {
			return nil
		}
		s.record(err)
		if !wait.Sleep(ctx, askInterval) {
			return nil
		}
	}
}

// record takes in an answer; nil: it is ready.
func (s *APIServer) record(err error) {
	if err == nil {
		s.failed = 0
	} else if s.failed++; errors.Is(err, syscall.ECONNREFUSED) || !s.Known() {
		s.failed = max(s.failed, failures)
	}
	before, known := s.ready.Load(), s.known.Load()
	if err == nil {
		s.ready.Store(true)
	} else if s.failed >= failures {
		s.ready.Store(false)
	}
	s.known.Store(true)
	if now := s.ready.Load(); now != before || !known {
		s.log.Info("the API server of this node", "ready", now, "err", err)
		wait.Signal(s.changed)
	}
}

// ask asks once.
func (s *APIServer) ask(ctx context.Context, h static.Health) error {
	if s.client == nil || s.asked != h {
		s.asked, s.client = h, client(h)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL, nil)
	if err != nil {
		return err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // it was read
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: it must answer without a token: let anonymous requests get it", res.Status)
	case res.StatusCode != http.StatusOK:
		return errors.New(res.Status)
	}
	return err
}

func client(h static.Health) *http.Client {
	config := &tls.Config{ServerName: h.ServerName, InsecureSkipVerify: h.CA == "", MinVersion: tls.VersionTLS12}
	if h.CA != "" {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM([]byte(h.CA)) // Parse has checked it
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
