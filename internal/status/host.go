package status

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/kubeproxy"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// lookEvery is the pause between two looks at the node.
const lookEvery = 10 * time.Second

// Host looks, now and then, at what of the node can't be seen from elsewhere. It
// decides nothing: the Speaker object tells, and people, or the plugin, read it.
type Host struct {
	proc    string // where the kernel's settings are
	proxy   string // URL
	ready   func(context.Context) error
	view    func() membership.View
	nulls   func() string                // why null routes are not in force
	token   func(context.Context) string // why the API server can't hold the speaker to what is its own
	facts   atomic.Pointer[v1beta1.SpeakerHost]
	changed chan struct{} // buffered 1

	silent map[string]bool // who was unheard at the last look
	down   map[string]bool // with whom a session was not Up then
}

// NewHost returns what looks at this node while Run does. The function nulls says why
// null routes are not in force; "": they are. token is as Token returns it.
func NewHost(f *kubeproxy.Readiness, group *membership.Group, nulls func() string, token func(context.Context) string) *Host {
	return &Host{proc: "/proc/sys", proxy: kubeproxy.ProxyModeURL, ready: f.Ask, view: group.View, nulls: nulls, token: token, changed: make(chan struct{}, 1)}
}

// Run looks at the node again and again until ctx ends.
func (h *Host) Run(ctx context.Context) error {
	for {
		facts := h.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if old := h.facts.Swap(&facts); old == nil || !reflect.DeepEqual(*old, facts) {
			wait.Signal(h.changed)
		}
		if !wait.Sleep(ctx, lookEvery) {
			return nil
		}
	}
}

// look takes what it can find out; what it can't stays empty.
func (h *Host) look(ctx context.Context) v1beta1.SpeakerHost {
	facts := v1beta1.SpeakerHost{
		Kernel:              h.setting("kernel/osrelease"),
		ProxyMode:           kubeproxy.ProxyMode(ctx, h.proxy),
		StrictReversePath:   first(maxStrict, h.strict()),
		UnreachableSpeakers: first(maxUnheard, h.unheard()),
		SessionsDown:        first(maxUnheard, h.sessionsDown()),
		NullRouteError:      printable.Message(h.nulls()),
		TokenError:          h.token(ctx),
	}
	if err := h.ready(ctx); err != nil {
		facts.ProxyError = printable.Message(err.Error())
	}
	return facts
}

// setting reads a setting of the kernel; "": it can't be read.
func (h *Host) setting(name string) string {
	text, err := os.ReadFile(filepath.Join(h.proc, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// strict returns the links with strict reverse-path filtering: the greater of
// the link's own setting and of that for all counts, and 1 is strict.
func (h *Host) strict() []string {
	const folder = "net/ipv4/conf"
	links, err := os.ReadDir(filepath.Join(h.proc, folder))
	if err != nil {
		return nil
	}
	of := func(link string) string { return h.setting(filepath.Join(folder, link, "rp_filter")) }
	all := of("all")
	var out []string
	for _, l := range links {
		if name := l.Name(); name != "all" && name != "default" && name != "lo" && max(of(name), all) == "1" {
			out = append(out, name)
		}
	}
	return out // sorted, as ReadDir has it
}

// unheard returns the speakers that were not heard at this look nor at the one
// before: at a start it takes a moment.
func (h *Host) unheard() []string {
	silent := map[string]bool{}
	for name, standing := range h.view().Standing {
		if standing == membership.Unknown {
			silent[name] = true
		}
	}
	before := h.silent
	h.silent = silent
	return slices.Sorted(maps.Keys(intersection(silent, before)))
}

// sessionsDown returns with which speakers a session was not Up at this look nor at the
// one before.
func (h *Host) sessionsDown() []string {
	down, view := map[string]bool{}, h.view()
	for _, name := range view.Down {
		down[name] = true
	}
	for segment, v := range view.Segments {
		for _, name := range v.Down {
			down[name+" on "+segment.String()] = true
		}
	}
	before := h.down
	h.down = down
	return slices.Sorted(maps.Keys(intersection(down, before)))
}

func intersection(a, b map[string]bool) map[string]bool {
	out := map[string]bool{}
	for name := range a {
		if b[name] {
			out[name] = true
		}
	}
	return out
}
