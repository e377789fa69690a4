package main

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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// pageLasts is for how long a page is given to everybody who asks: whoever can
	// reach the port must not be able to keep the controller busy.
	pageLasts = time.Second
	// pageRefresh is how often a page loads itself anew for those who want that.
	pageRefresh = 10 * time.Second
	// pagePatience is how long a page may wait for the caches.
	pagePatience = 5 * time.Second
	// leasePatience is how long it may wait for the API server's word on the Leases.
	leasePatience = time.Second
	// pagePattern is where the page is.
	pagePattern = "GET /{$}"
)

// pages serves the page of package overview, on every replica. It reads caches only,
// but for the speakers' Leases: who watches them hears of each renewal, and few
// look at the page.
type pages struct {
	read     func(context.Context) (overview.Objects, error)
	leases   func(context.Context) ([]coordinationv1.Lease, error) // of Steelyard's namespace, past the cache
	scene    func() overview.Scene
	renderer *overview.Renderer
	log      *slog.Logger

	mu   sync.Mutex
	made map[time.Duration]madePage // by how often they load themselves anew
}

// madePage is a page and its time.
type madePage struct {
	at   time.Time
	html []byte
}

// addPage has mgr serve the page beside the metrics.
func addPage(ctx context.Context, mgr manager.Manager, r *reconciler, replica string, hosts []string) error {
	renderer, err := overview.NewRenderer()
	if err != nil {
		return err
	}
	// Nobody else in the controller reads Speakers.
	if _, err := mgr.GetCache().GetInformer(ctx, &v1beta1.Speaker{}, cache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("watch Speakers: %w", err)
	}
	p := &pages{
		read: r.overview,
		leases: func(ctx context.Context) ([]coordinationv1.Lease, error) {
			var list coordinationv1.LeaseList
			err := r.direct.List(ctx, &list, client.InNamespace(r.namespace))
			return list.Items, err
		},
		scene: func() overview.Scene {
			return overview.Scene{Now: time.Now(), Replica: replica, Leads: r.leading() != nil}
		},
		renderer: renderer, log: r.log,
	}
	if err := mgr.AddMetricsServerExtraHandler(pagePattern, serving.OnlyFor(hosts, p)); err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	return nil
}

// overview reads what the page shows, from the caches.
func (r *reconciler) overview(ctx context.Context) (overview.Objects, error) {
	out := overview.Objects{Objects: health.Objects{Now: time.Now(), Home: r.namespace}}
	read, err := r.configuration.Read(ctx)
	if err != nil {
		return out, err
	}
	out.Pools = read.Objects.Pools
	out.Others = configured(read.Objects)
	var claims v1beta1.L2ClaimList
	var sessions v1beta1.BGPSessionList
	var speakers v1beta1.SpeakerList
	for _, list := range []client.ObjectList{&claims, &sessions, &speakers} {
		if err := cluster.List(ctx, r.client, list); err != nil {
			return out, err
		}
	}
	out.Claims, out.Sessions, out.Speakers = claims.Items, sessions.Items, speakers.Items
	services, err := r.services(ctx)
	if err != nil {
		return out, err
	}
	out.Services = make([]*corev1.Service, 0, len(services))
	for _, svc := range services {
		if intent.Ours(svc, r.class) {
			out.Services = append(out.Services, svc)
		}
	}
	return out, nil
}

// configured returns what the configuration objects say of themselves; pools are
// shown otherwise.
func configured(o intent.Objects) []overview.Configured {
	var out []overview.Configured
	add := func(kind, name string, conditions []metav1.Condition) {
		out = append(out, overview.Configured{Kind: kind, Name: name, Conditions: conditions})
	}
	for i := range o.L2 {
		add("L2Advertisement", o.L2[i].Name, o.L2[i].Status.Conditions)
	}
	for i := range o.BGP {
		add("BGPAdvertisement", o.BGP[i].Name, o.BGP[i].Status.Conditions)
	}
	for i := range o.Peers {
		add("BGPPeer", o.Peers[i].Name, o.Peers[i].Status.Conditions)
	}
	for i := range o.Profiles {
		add("BFDProfile", o.Profiles[i].Name, o.Profiles[i].Status.Conditions)
	}
	for i := range o.Communities {
		add("Community", o.Communities[i].Name, o.Communities[i].Status.Conditions)
	}
	return out
}

// ServeHTTP is of http.Handler.
func (p *pages) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	ctx, cancel := context.WithTimeout(q.Context(), pagePatience)
	defer cancel()
	var refresh time.Duration
	if q.URL.Query().Get("refresh") == fmt.Sprintf("%.0f", pageRefresh.Seconds()) {
		refresh = pageRefresh
	}
	html, err := p.page(ctx, refresh)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		p.log.Warn("can't show the page", "err", err)
		http.Error(w, "The page can't be shown now; the controller's log says why.", http.StatusServiceUnavailable)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.renderer.Policy())
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if _, err := w.Write(html); err != nil {
		p.log.Debug("can't answer GET /", "err", err)
	}
}

// page returns a page that is at most pageLasts old. Those who ask while one is
// made wait for that one.
func (p *pages) page(ctx context.Context, refresh time.Duration) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m, ok := p.made[refresh]; ok && time.Since(m.at) < pageLasts {
		return m.html, nil
	}
	objects, err := p.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	scene := p.scene()
	scene.Refresh = refresh
	asking, cancel := context.WithTimeout(ctx, leasePatience)
	defer cancel()
	if leases, err := p.leases(asking); err != nil {
		p.log.Debug("can't list the speakers' Leases", "err", err)
		objects.Away = cmp.Or(string(apierrors.ReasonForError(err)), "no answer")
	} else {
		objects.Leases = append([]coordinationv1.Lease{}, leases...) // not nil: they could be read
	}
	html, err := p.renderer.Render(objects, scene)
	if err != nil {
		return nil, err
	}
	if p.made == nil {
		p.made = map[time.Duration]madePage{}
	}
	p.made[refresh] = madePage{time.Now(), html}
	return html, nil
}
