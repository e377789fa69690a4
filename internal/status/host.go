package status

import (
	"context"
	"maps"
	"net/netip"
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
	"github.com/steelyard-lb/steelyard/internal/ports"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// checkInterval is the pause between two checks of the node.
const checkInterval = 10 * time.Second

// Host periodically checks properties of the node that only the node itself can see. It draws
// no conclusions: the Speaker object has the results for people and for the plugin.
type Host struct {
	proc    string // the directory of the kernel's settings
	proxy   string // URL
	ready   func(context.Context) (by string, err error)
	view    func() membership.View
	nulls   func() string                // why null routes are not in force
	token   func(context.Context) string // why the API server can't confine the speaker to its node's objects
	network func() (Network, error)
	ports   []string // that other programs have
	bgp     func() []ports.Use
	asked   time.Time // when bgp was last called

	programs []v1beta1.BGPProgram // what it returned then
	facts    atomic.Pointer[v1beta1.SpeakerHost]
	changed  chan struct{} // buffered 1

	unknown map[string]bool // the speakers that were unreachable at the last check
	down    map[string]bool // the speakers with a session that was not Up then
}

const (
	// bgpPort is that of BGP (RFC 4271 section 8.2.1).
	bgpPort = 179
	// bgpInterval is the pause between two looks for who else uses it: the kernel's table may
	// be long.
	bgpInterval = 30 * time.Second
)

// Network is what a node has on its links, among it the addresses that no Service may have.
type Network struct {
	Addrs      []v1beta1.HostAddress
	Gateways   []netip.Addr
	Unnumbered []string // links without an address on which addresses are announced
}

// NewHost returns a Host. nulls returns why null routes are not in force; "": they are. token
// is as Token returns it. network reads the node's links. taken are the ports that other programs have.
func NewHost(f *kubeproxy.Readiness, group *membership.Group, nulls func() string, token func(context.Context) string, network func() (Network, error), taken []string) *Host {
	return &Host{ports: first(maxPorts, taken, itself), bgp: func() []ports.Use { return ports.Uses(bgpPort) }, proc: "/proc/sys", proxy: kubeproxy.ProxyModeURL, ready: f.Check, view: group.View, nulls: nulls, token: token, network: network, changed: make(chan struct{}, 1)}
}

// Run checks the node once in checkInterval until ctx ends.
func (h *Host) Run(ctx context.Context) error {
	for {
		facts := h.check(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if old := h.facts.Swap(&facts); old == nil || !reflect.DeepEqual(*old, facts) {
			wait.Signal(h.changed)
		}
		if !wait.Sleep(ctx, checkInterval) {
			return nil
		}
	}
}

// check returns what it can find out; other fields stay empty.
func (h *Host) check(ctx context.Context) v1beta1.SpeakerHost {
	facts := v1beta1.SpeakerHost{
		Kernel:              h.setting("kernel/osrelease"),
		ProxyMode:           kubeproxy.ProxyMode(ctx, h.proxy),
		UnreachableSpeakers: first(maxUnreachable, h.unreachable(), itself),
		SessionsDown:        first(maxUnreachable, h.sessionsDown(), itself),
		NullRouteError:      printable.Message(h.nulls()),
		TokenError:          h.token(ctx),
		PortsTaken:          h.ports,
	}
	if before := h.facts.Load(); before != nil {
		facts.Addresses, facts.Gateways = before.Addresses, before.Gateways // until more is known
	}
	if now := time.Now(); now.Sub(h.asked) >= bgpInterval {
		h.asked, h.programs = now, bgpPrograms(h.bgp())
	}
	facts.BGPPrograms = h.programs
	n, err := h.network()
	facts.StrictReversePath = first(maxStrict, h.strict(n.Unnumbered), itself)
	if err == nil {
		facts.Addresses, facts.Gateways = first(maxHostAddresses, n.Addrs, addressOf), nil
		for _, a := range first(maxGateways, n.Gateways, withoutZone) {
			facts.Gateways = append(facts.Gateways, withoutZone(a).String())
		}
	}
	by, err := h.ready(ctx)
	facts.Forwarder = by
	if err != nil {
		facts.ProxyError = printable.Message(err.Error())
	}
	return facts
}

// bgpPrograms returns how other programs use BGP's port.
func bgpPrograms(uses []ports.Use) (out []v1beta1.BGPProgram) {
	for _, u := range uses {
		p := v1beta1.BGPProgram{Program: printable.Within(maxProgram, u.Program)}
		if u.Theirs.IsValid() {
			p.Router, p.Address = u.Theirs.WithZone("").String(), u.Ours.WithZone("").String()
		}
		out = append(out, p)
	}
	return out[:min(len(out), maxPrograms)]
}

func addressOf(a v1beta1.HostAddress) string { return a.Address }
func withoutZone(a netip.Addr) netip.Addr    { return a.WithZone("") }

// setting reads a setting of the kernel; "" if that fails.
func (h *Host) setting(name string) string {
	text, err := os.ReadFile(filepath.Join(h.proc, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// strict returns the links with strict reverse-path filtering, which is 1. The greater of the
// link's setting and of the one for all links applies. On an unnumbered link the kernel does
// the same at 2, which is loose elsewhere.
func (h *Host) strict(unnumbered []string) []string {
	const folder = "net/ipv4/conf"
	links, err := os.ReadDir(filepath.Join(h.proc, folder))
	if err != nil {
		return nil
	}
	of := func(link string) string { return h.setting(filepath.Join(folder, link, "rp_filter")) }
	all := of("all")
	var out []string
	for _, l := range links {
		name := l.Name()
		setting := max(of(name), all)
		if name != "all" && name != "default" && name != "lo" && (setting == "1" || setting == "2" && slices.Contains(unnumbered, name)) {
			out = append(out, name)
		}
	}
	return out // sorted, because ReadDir sorts
}

// unreachable returns the speakers that were unreachable at this check and at the previous
// one: at a start it takes a moment until they are known.
func (h *Host) unreachable() []string {
	unknown := map[string]bool{}
	for name, standing := range h.view().Standing {
		if standing == membership.Unknown {
			unknown[name] = true
		}
	}
	before := h.unknown
	h.unknown = unknown
	return slices.Sorted(maps.Keys(intersection(unknown, before)))
}

// sessionsDown returns the speakers with which a session was not Up at this check and at the
// previous one.
func (h *Host) sessionsDown() []string {
	down, view := map[string]bool{}, h.view()
	for name := range view.Down {
		down[name] = true
	}
	for segment, v := range view.Segments {
		for name := range v.Down {
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
