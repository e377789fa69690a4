// Package page serves the page of package overview by HTTP, on every replica of the
// controller. It reads caches only, except for the speakers' Leases: a watch would
// receive every renewal, for a page that is rarely read.
package page

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/overview"
	"github.com/steelyard-lb/steelyard/internal/serving"
)

const (
	// lasts is how long a page is served again, so that clients of the port cannot
	// keep the controller busy.
	lasts = time.Second
	// refreshEvery is how often a page reloads itself on request.
	refreshEvery = 10 * time.Second
	// timeout is how long a page may wait for the caches.
	timeout = 5 * time.Second
	// leaseTimeout is how long it may wait for the Leases from the API server.
	leaseTimeout = time.Second
	// pattern is the method and path of the page.
	pattern = "GET /{$}"
)

// Options are the sources of a page.
type Options struct {
	Cached        client.Reader
	Direct        client.Reader // past the cache
	Configuration *cluster.Configuration
	Services      func(context.Context) ([]*corev1.Service, error)
	Class         string
	Namespace     string // Steelyard's own
	Exclusion     intent.Exclusion
	Replica       string      // the name of this replica
	Leads         func() bool // this replica assigns addresses
	Log           *slog.Logger
}

// Pages serves the page.
type Pages struct {
	Options
	renderer *overview.Renderer

	mu   sync.Mutex
	made map[time.Duration]madePage // by their refresh interval
}

// madePage is a page and when it was made.
type madePage struct {
	at   time.Time
	html []byte
}

// New returns pages.
func New(o Options) (*Pages, error) {
	renderer, err := overview.NewRenderer()
	if err != nil {
		return nil, err
	}
	return &Pages{Options: o, renderer: renderer}, nil
}

// AddTo makes mgr serve the page beside the metrics, for requests to one of these
// host names.
func (p *Pages) AddTo(ctx context.Context, mgr manager.Manager, hosts []string) error {
	for _, kind := range []client.Object{&v1beta1.Speaker{}, &corev1.Node{}} { // also on a replica that does not lead
		if _, err := mgr.GetCache().GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch for the page: %w", err)
		}
	}
	if err := mgr.AddMetricsServerExtraHandler(pattern, serving.OnlyFor(hosts, p)); err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	return nil
}

// read reads what the page shows from the caches.
func (p *Pages) read(ctx context.Context, now time.Time) (overview.Objects, error) {
	out := overview.Objects{Objects: health.Objects{Now: now, Namespace: p.Namespace}}
	read, err := p.Configuration.Read(ctx)
	if err != nil {
		return out, err
	}
	out.Pools = read.Objects.Pools
	for _, x := range read.Objects.Described() {
		if x.Kind != "IPAddressPool" { // pools have a table of their own
			out.Others = append(out.Others, overview.Configured{Kind: x.Kind, Name: x.Name, Conditions: x.Conditions})
		}
	}
	var claims v1beta1.L2ClaimList
	var sessions v1beta1.BGPSessionList
	var speakers v1beta1.SpeakerList
	var nodes corev1.NodeList
	for _, list := range []client.ObjectList{&claims, &sessions, &speakers, &nodes} {
		if err := cluster.List(ctx, p.Cached, list); err != nil {
			return out, err
		}
	}
	out.Claims, out.Sessions, out.Speakers = claims.Items, sessions.Items, speakers.Items
	out.Excluded = p.Exclusion.Reasons(nodes.Items)
	services, err := p.Services(ctx)
	if err != nil {
		return out, err
	}
	out.Services = make([]*corev1.Service, 0, len(services))
	for _, svc := range services {
		if intent.Ours(svc, p.Class) {
			out.Services = append(out.Services, svc)
		}
	}
	return out, nil
}

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	ctx, cancel := context.WithTimeout(q.Context(), timeout)
	defer cancel()
	var refresh time.Duration
	if q.URL.Query().Get("refresh") == fmt.Sprintf("%.0f", refreshEvery.Seconds()) {
		refresh = refreshEvery
	}
	html, err := p.page(ctx, refresh)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		p.Log.Warn("can't show the page", "err", err)
		http.Error(w, "The page can't be shown now; the controller's log says why.", http.StatusServiceUnavailable)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.renderer.Policy())
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if _, err := w.Write(html); err != nil {
		p.Log.Debug("can't answer GET /", "err", err)
	}
}

// page returns a page that is at most lasts old. Concurrent requests wait for one
// page.
func (p *Pages) page(ctx context.Context, refresh time.Duration) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if m, ok := p.made[refresh]; ok && now.Sub(m.at) < lasts {
		return m.html, nil
	}
	objects, err := p.read(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	asking, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	var leases coordinationv1.LeaseList
	if err := p.Direct.List(asking, &leases, client.InNamespace(p.Namespace)); err != nil {
		p.Log.Debug("can't list the speakers' Leases", "err", err)
		objects.Away = cmp.Or(string(apierrors.ReasonForError(err)), "no answer")
	} else {
		objects.Leases = append([]coordinationv1.Lease{}, leases.Items...) // nil would mean that they could not be read
	}
	html, err := p.renderer.Render(objects, overview.Scene{Replica: p.Replica, Leads: p.Leads(), Refresh: refresh})
	if err != nil {
		return nil, err
	}
	if p.made == nil {
		p.made = map[time.Duration]madePage{}
	}
	p.made[refresh] = madePage{now, html}
	return html, nil
}
